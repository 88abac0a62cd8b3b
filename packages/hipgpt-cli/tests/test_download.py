"""Tiny Shakespeare: once, checked, and with advice when it cannot be had."""

import hashlib
from pathlib import Path

import pytest

from hipgpt_cli import download
from hipgpt_cli.errors import UserError


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A file in place of the network, with its own hash."""
    source = tmp_path / "served.txt"
    source.write_text("To be, or not to be")
    monkeypatch.setattr(download, "SHAKESPEARE_URL", source.as_uri())
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    monkeypatch.setattr(download, "SHAKESPEARE_SHA256", digest)
    return source


def test_downloads_once(served, tmp_path):
    path = download.shakespeare()
    assert path == tmp_path / "cache" / "shakespeare.txt"
    assert path.read_text() == "To be, or not to be"
    served.unlink()
    assert download.shakespeare() == path


def test_another_content_is_refused_and_not_kept(served, tmp_path):
    served.write_text("an error page")
    with pytest.raises(UserError, match=r"is not Tiny Shakespeare.*--data stdlib"):
        download.shakespeare()
    assert not (tmp_path / "cache").exists()


def test_a_damaged_cache_is_downloaded_again(served, tmp_path):
    download.shakespeare().write_text("damaged")
    assert download.shakespeare().read_text() == "To be, or not to be"


def test_offline_says_what_to_do(served):
    served.unlink()
    with pytest.raises(
        UserError, match=r"could not be downloaded .*--data stdlib needs no network"
    ):
        download.shakespeare()


def test_the_real_text_has_the_hash():
    """The constant is that of the text in the workspace's data, where there is one."""
    real = Path(__file__).parents[4] / "shared" / "data" / "tinyshakespeare.txt"
    if not real.is_file():
        pytest.skip("there is no ../shared/data/tinyshakespeare.txt beside the repository")
    data = real.read_bytes()
    assert hashlib.sha256(data).hexdigest() == download.SHAKESPEARE_SHA256
    assert len(data) == download.SHAKESPEARE_BYTES


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "home/.cache/hipgpt"),
        ("linux", {"XDG_CACHE_HOME": "{}/xdg"}, "xdg/hipgpt"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache/hipgpt"),
        ("linux", {"XDG_CACHE_HOME": "{}/xdg", "HIPGPT_CACHE": "{}/own"}, "own"),
        ("darwin", {}, "home/Library/Caches/hipgpt"),
        ("win32", {"LOCALAPPDATA": "{}/local"}, "local/hipgpt/Cache"),
        ("win32", {}, "home/AppData/Local/hipgpt/Cache"),
    ],
)
def test_cache_folder(platform, variables, expected, monkeypatch, tmp_path):
    """Each system's own place, and one variable that goes before all."""
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for name in ("HIPGPT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    assert download.cache_folder() == tmp_path / expected
