"""The folder of a run: names, newest, retention."""

from datetime import UTC, datetime

import pytest

from hipgpt_cli.errors import UserError
from hipgpt_cli.retention import Keep
from hipgpt_cli.runs import Run, check_name, copy_inputs, dropped_on_error, find_run, new_run

NOON = datetime(2026, 11, 21, 9, 15, tzinfo=UTC)


def make(path, steps, updated=None):
    """A run with checkpoints of these steps."""
    run = Run(path)
    run.checkpoint_folder.mkdir(parents=True)
    for step in steps:
        run.checkpoint(step).write_bytes(b"x")
    run.write_config({})
    if updated is not None:
        config = run.read_config() | {"updated": updated}
        run.config.write_text(__import__("json").dumps(config))
    return run


def test_default_names_are_readable_and_unique(tmp_path):
    names = [new_run(tmp_path / "runs", None, "shakespeare", NOON).name for _ in range(3)]
    assert names == [
        "20261121-0915-shakespeare",
        "20261121-0915-shakespeare-2",
        "20261121-0915-shakespeare-3",
    ]


def test_latest_names_the_newest_and_retention_goes_by_step(tmp_path):
    """The oldest steps go, whatever the file system's times say; nothing else is touched."""
    import os

    run = make(tmp_path / "r", [2, 4, 6, 8])
    os.utime(run.checkpoint(2), (4e9, 4e9))
    foreign = run.checkpoint_folder / "step-00000001-mine.msgpack"
    foreign.write_text("a copy that the user keeps")
    run.saved(8, Keep(2))
    assert [step for step, _ in run.checkpoints()] == [6, 8]
    assert foreign.exists()
    assert run.latest.read_text() == "step-00000008.msgpack\n"
    assert run.newest_checkpoint() == run.checkpoint(8)


@pytest.mark.parametrize("latest", [None, "", "step-00000099.msgpack", "../../secret", "\x00"])
def test_without_a_good_latest_the_last_step_counts(tmp_path, latest):
    run = make(tmp_path / "r", [2, 10])
    if latest is not None:
        run.latest.write_text(latest)
    assert run.newest_checkpoint() == run.checkpoint(10)


def test_checkpoint_of_a_step(tmp_path):
    run = make(tmp_path / "r", [2, 4])
    assert run.checkpoint_at(2) == run.checkpoint(2)
    with pytest.raises(UserError, match="no checkpoint of step 3; it has 2, 4"):
        run.checkpoint_at(3)


def test_newest_run_is_the_one_updated_last(tmp_path):
    make(tmp_path / "z", [1], "2026-01-01T00:00:00+00:00")
    make(tmp_path / "a", [1], "2026-02-01T00:00:00+00:00")
    make(tmp_path / "m", [], "2026-03-01T00:00:00+00:00")  # not trained yet
    assert find_run(tmp_path, None).name == "a"


def test_no_such_run_lists_what_there_is(tmp_path):
    make(tmp_path / "one", [1])
    with pytest.raises(UserError, match=r"there is no run two in .*; there is one"):
        find_run(tmp_path, "two")
    with pytest.raises(UserError, match="hipgpt train makes one"):
        find_run(tmp_path / "nowhere", None)


def test_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match="is not a run of hipgpt"):
        find_run(tmp_path, "x")


@pytest.mark.parametrize("text", ['{"format": "other", "version": 1}', '{"format": "hipgpt-run"}'])
def test_another_format_or_version_is_refused(tmp_path, text):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").write_text(text)
    with pytest.raises(UserError, match="this hipgpt reads 'hipgpt-run', version 1"):
        Run(tmp_path / "x").read_config()


def test_clear_takes_only_what_a_run_writes(tmp_path):
    run = make(tmp_path / "r", [1])
    run.tokens.write_bytes(b"")
    (run.path / "notes.txt").write_text("mine")
    run.clear()
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]


def _write_then_stop(path):
    path.write_bytes(b"x")
    raise KeyboardInterrupt


def test_an_early_error_takes_the_run_away_again(tmp_path):
    run = new_run(tmp_path / "runs", "r", "text")
    with pytest.raises(KeyboardInterrupt), dropped_on_error(run):
        _write_then_stop(run.tokens)
    assert list(tmp_path.iterdir()) == []


def test_a_late_error_leaves_the_run(tmp_path):
    run = make(tmp_path / "r", [1])
    with pytest.raises(KeyboardInterrupt), dropped_on_error(run):
        raise KeyboardInterrupt
    assert run.checkpoint(1).exists()


def test_a_branch_gets_its_own_tokenizer_and_tokens(tmp_path):
    source, target = make(tmp_path / "a", [1]), make(tmp_path / "b", [])
    source.tokenizer.write_text("{}")
    source.tokens.write_bytes(b"\1\0")
    copy_inputs(source, target)
    source.tokens.unlink()
    assert target.tokens.read_bytes() == b"\1\0"
    assert target.tokenizer.read_text() == "{}"


@pytest.mark.parametrize("name", ["a", "run 2", "x.y-z_1", "日本"])
def test_good_names(name):
    assert check_name(name) == name
