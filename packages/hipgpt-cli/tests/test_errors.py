"""One sentence and the right status for every way to fail."""

import errno

import click
import pytest

from hipgpt_cli import errors
from hipgpt_cli.errors import StoppedError, UserError, describe
from hipgpt_model.config import GPTConfig


def raised(function):
    """What a call raises, with its traceback."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001
        return error
    pytest.fail("nothing was raised")


def test_user_error_is_its_sentence():
    assert describe(UserError("x is empty")) == ("Error: x is empty", 1)


def test_usage_error_has_status_2():
    assert describe(click.UsageError("no such thing")) == ("Error: no such thing", 2)


def test_full_disk_names_the_file():
    sentence, status = describe(OSError(errno.ENOSPC, "No space left on device", "a.bin"))
    assert sentence == "Error: a.bin: no room left to write it (no space left on device)"
    assert status == 1


def test_missing_file():
    error = raised(lambda: open("nowhere.txt"))  # noqa: SIM115, PTH123
    assert describe(error) == ("Error: nowhere.txt: no such file or directory", 1)


def test_a_librarys_own_sentence_is_told_as_it_is():
    error = raised(lambda: GPTConfig(vocab_size=0))
    assert describe(error)[0].startswith("Error: vocab_size must be an integer, at least 1")


def test_an_error_from_elsewhere_is_called_a_defect():
    sentence, status = describe(raised(lambda: int("x")))
    assert "a defect in hipgpt" in sentence
    assert "HIPGPT_DEBUG=1" in sentence
    assert status == 1


def test_stop_by_signal():
    assert describe(StoppedError(15, "Stopped.")) == ("Stopped.", 143)
    assert describe(KeyboardInterrupt()) == ("Stopped.", 130)


def test_out_of_memory_says_what_needs_less():
    sentence, status = describe(MemoryError())
    assert "--batch" in sentence
    assert status == 1


def test_debug_shows_the_traceback(run, monkeypatch):
    quiet = run("train", "--data", "nowhere.txt")
    monkeypatch.setenv("HIPGPT_DEBUG", "1")
    loud = run("train", "--data", "nowhere.txt")
    assert "Traceback" not in quiet.stderr
    assert quiet.exit_code == loud.exit_code == 1


def test_debug_writes_a_traceback_to_standard_error(monkeypatch, capfd):
    monkeypatch.setenv("HIPGPT_DEBUG", "1")

    def fail():
        raise UserError("so it is")

    with pytest.raises(SystemExit) as exit_:
        errors.exit_on_error(fail)
    assert exit_.value.code == 1
    shown = capfd.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("Error: so it is\n")


def test_a_closed_pipe_is_quiet(capfd):
    def fail():
        raise BrokenPipeError

    with pytest.raises(SystemExit) as exit_:
        errors.exit_on_error(fail)
    assert exit_.value.code == 1
    assert capfd.readouterr().err == ""
