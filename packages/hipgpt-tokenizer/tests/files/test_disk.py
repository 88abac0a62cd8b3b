"""Saving is all or nothing."""

import os
import stat

import pytest

from hipgpt_tokenizer import Tokenizer
from hipgpt_tokenizer.files import disk


def test_saving_is_atomic(tmp_path, small, monkeypatch):
    path = tmp_path / "tokenizer.json"
    small.save(path)
    before = path.read_bytes()

    def fail(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        Tokenizer.train("other", 256).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saving_follows_a_link_and_keeps_usual_rights(tmp_path, small):
    real = tmp_path / "real.json"
    link = tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    small.save(link)
    assert link.is_symlink()
    assert Tokenizer.load(real) == small
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(real.stat().st_mode) == 0o666 & ~umask


def test_a_missing_file_is_the_usual_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Tokenizer.load(tmp_path / "none.json")
