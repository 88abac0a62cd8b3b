"""All of a file or nothing of it."""

import os
import stat

import pytest

from hipgpt_cli.errors import UserError
from hipgpt_cli.files import read_json_object, replacing, write_json, write_text


def _write_half(file):
    file.write(b"new, but only hal")
    raise RuntimeError


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as file:
        _write_half(file)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_readable_like_any_other(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"name": "é"})
    assert read_json_object(path) == {"name": "é"}
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_failing_disk_names_the_file_not_the_temporary_one(tmp_path):
    with pytest.raises(OSError) as caught, replacing(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a.txt")


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\x00", "[" * 100_000])
def test_damaged_json_is_told_in_one_sentence(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        read_json_object(path)
