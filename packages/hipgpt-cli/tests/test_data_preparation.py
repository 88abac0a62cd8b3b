"""Preparation: the bytes depend on texts and settings alone, however often it was killed.

The odd thing: a crash is a process that ends at once at one chosen call to the system, and every
such call of a whole preparation is tried in turn.
"""

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from hipgpt_cli import data_documents, data_writer
from hipgpt_cli.data_encoding import is_held_out, passages, sections
from hipgpt_cli.data_files import FileSource
from hipgpt_cli.data_preparation import Settings, prepare
from hipgpt_cli.errors import UserError
from hipgpt_model.data_folder import open_folder
from hipgpt_model.data_manifest import MANIFEST, json_checksum
from hipgpt_tokenizer import Tokenizer

SETTINGS = Settings(validation=0.2, shard_tokens=700)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train("the quick brown fox " * 50, 270, special_tokens=["<|endoftext|>"])


@pytest.fixture
def texts(tmp_path):
    """A file of 120 documents."""
    rng = random.Random(1)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
    path = tmp_path / "texts.jsonl"
    with path.open("w") as file:
        for _ in range(120):
            text = " ".join(rng.choices(words, k=rng.randrange(3, 60)))
            file.write(json.dumps({"text": text}) + "\n")
    return path


def made(folder):
    """Everything in a folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def go(texts, tokenizer, folder, settings=SETTINGS, **options):
    folder.mkdir(exist_ok=True)
    return prepare(FileSource([texts], "text"), tokenizer, folder, settings, **options)


def test_every_text_is_there_once_on_its_side(tmp_path, texts, tokenizer):
    folder = tmp_path / "data"
    go(texts, tokenizer, folder, workers=1)
    data = open_folder(folder)
    data.verify()
    assert len(data.manifest.of_split("train")) > 3
    ids = {"train": [], "validation": []}
    for entry in data.manifest.shards:
        words = np.fromfile(folder / entry.file, "<u2", offset=128)
        ids[entry.split] += words.tolist()
        assert len(words) == 700 or entry == data.manifest.of_split(entry.split)[-1]
    found = {
        split: tokenizer.decode(words).split("<|endoftext|>")[:-1] for split, words in ids.items()
    }
    all_texts = [json.loads(line)["text"] for line in texts.read_text().splitlines()]
    for split, held_out in (("train", False), ("validation", True)):
        expected = [text for text in all_texts if is_held_out(text, 0.2) == held_out]
        assert found[split] == expected
    assert sum(entry.documents for entry in data.manifest.shards) == 120
    total = sum(len(text.encode()) for text in all_texts)
    assert sum(entry.text_bytes for entry in data.manifest.shards) == total
    assert not (folder / data_writer.STATE).exists()


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_processes_changes_no_byte(tmp_path, texts, tokenizer, workers, monkeypatch):
    go(texts, tokenizer, tmp_path / "one", workers=1)
    monkeypatch.setattr(data_documents, "CHUNK_BYTES", 500)
    go(texts, tokenizer, tmp_path / "more", workers=workers)
    assert made(tmp_path / "one") == made(tmp_path / "more")


def test_new_texts_move_no_old_one(tmp_path, texts, tokenizer):
    def held_out(folder):
        data = open_folder(folder)
        ids = data.token_data(8).read(data.token_data(8).train_tokens, data.tokens)
        return tokenizer.decode(ids.tolist()).split("<|endoftext|>")[:-1]

    go(texts, tokenizer, tmp_path / "before", workers=1)
    with texts.open("a") as file:
        file.writelines(json.dumps({"text": f"new {number}"}) + "\n" for number in range(50))
    go(texts, tokenizer, tmp_path / "after", workers=1)
    before, after = held_out(tmp_path / "before"), held_out(tmp_path / "after")
    assert after[: len(before)] == before
    assert all(text.startswith("new") for text in after[len(before) :])


def test_a_plain_text_is_split_in_sections_and_loses_nothing():
    text = "".join(f"Line number {number} of a text.\n" for number in range(5000))
    parts = list(sections(text))
    assert "".join(parts) == text
    assert all(8192 <= len(part) < 8300 for part in parts[:-1])
    found = passages(text, 0.3, in_sections=True)
    assert "".join(passage for _, passage in found) == text
    assert all(one[0] != two[0] for one, two in itertools.pairwise(found))
    assert len(found) > 2
    assert len(passages(text, 0.3, in_sections=False)) == 1
    longer = passages(text + "And more.\n" * 3000, 0.3, in_sections=True)
    assert longer[: len(found) - 1] == found[:-1]


def crashing(texts, tokenizer, folder, call):
    """Prepare in a process that ends at call number `call`; return whether it came to its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    count = 0

    def counted(function):
        def wrapper(*args, **kwargs):
            nonlocal count
            count += 1
            if count == call:
                os._exit(9)
            result = function(*args, **kwargs)
            count += 1
            if count == call:
                os._exit(9)
            return result

        return wrapper

    try:
        data_writer.SECONDS_BETWEEN_STATES = 0
        data_documents.CHUNK_BYTES = 1500
        for name in ("replace", "unlink"):
            setattr(Path, name, counted(getattr(Path, name)))
        for name in ("fsync", "truncate"):
            setattr(os, name, counted(getattr(os, name)))
        go(texts, tokenizer, folder, workers=1)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - this process must never go on
        os._exit(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a crash is played in a forked process")
def test_a_crash_at_every_call_to_the_system_leaves_what_can_be_gone_on_with(
    tmp_path, texts, tokenizer
):
    go(texts, tokenizer, tmp_path / "whole", workers=1)
    expected = made(tmp_path / "whole")
    call, ended = 0, False
    while not ended:
        call += 5  # every fifth point, before or after a call
        folder = tmp_path / f"crash-{call}"
        ended = crashing(texts, tokenizer, folder, call)
        again = 0
        while not (folder / MANIFEST).is_file():  # crash while going on, too, then let it be
            again += 1
            crashing(texts, tokenizer, folder, 7 if again < 3 else 10**9)
        assert {name: data for name, data in made(folder).items() if name != "state.json"} == (
            expected
        )
    assert call > 50


def test_kill_minus_nine_at_any_time(tmp_path, words):
    """The command itself, with worker processes, killed again and again."""
    text = tmp_path / "text.jsonl"
    with text.open("w") as file:
        for number in range(2500):
            file.write(json.dumps({"text": f"{number} {words[:2000]}"}) + "\n")
    options = ["--vocab-size", "300", "--shard-tokens", "400000", "--workers", "2"]
    script = (
        "import sys; from hipgpt_cli import data_writer; data_writer.SECONDS_BETWEEN_STATES = 0.05;"
        "from hipgpt_cli.main import main; main()"
    )

    def command(out):
        arguments = ["data", "prepare", str(text), "--out", str(out), *options]
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True
        )

    whole = command(tmp_path / "whole")
    begun = time.monotonic()
    assert whole.communicate()[0].count("Saved") == 1
    lasts = time.monotonic() - begun
    rng = random.Random(3)
    for _ in range(4):
        process = command(tmp_path / "killed")
        time.sleep(rng.uniform(0.3, 0.9) * lasts)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = command(tmp_path / "killed")
    last.communicate()
    found = made(tmp_path / "killed")
    found.pop("state.json", None)
    assert found == made(tmp_path / "whole")


class StopError(Exception):
    pass


@pytest.fixture
def stopped(tmp_path, texts, tokenizer, monkeypatch):
    """The folder of a preparation that was stopped half way."""
    monkeypatch.setattr(data_writer, "SECONDS_BETWEEN_STATES", 0)
    monkeypatch.setattr(data_documents, "CHUNK_BYTES", 1500)

    def stop(stage, done, total, note):
        if done > total / 2:
            raise StopError

    with pytest.raises(StopError):
        go(texts, tokenizer, tmp_path / "data", workers=1, progress=stop)
    return tmp_path / "data"


def test_what_is_gone_on_with_must_be_the_same(texts, tokenizer, stopped):
    for settings, what in (
        (Settings(0.3, 700), "validation part"),
        (Settings(0.2, 600), "size of shards"),
        (Settings(0.2, 700, 9), "limit of tokens"),
    ):
        with pytest.raises(UserError, match=f"with another {what}; give the same options"):
            go(texts, tokenizer, stopped, settings, workers=1)
    other = Tokenizer.train("other text " * 9, 260, special_tokens=["<|endoftext|>"])
    with pytest.raises(UserError, match="with another tokenizer"):
        go(texts, other, stopped, workers=1)
    assert go(texts, tokenizer, stopped, workers=1).resumed
    stopped.rename(stopped.with_name("done"))


def test_a_source_that_has_changed_is_another(texts, tokenizer, stopped):
    with texts.open("a") as file:
        file.write('{"text": "one more"}\n')
    with pytest.raises(UserError, match="with another source"):
        go(texts, tokenizer, stopped, workers=1)


def checksummed(values):
    values.pop("checksum")
    return {**values, "checksum": json_checksum(values)}


@pytest.mark.parametrize("damage", ["shard", "part", "state", "foreign", "keys", "numbers"])
def test_damaged_files_of_a_stopped_preparation_are_refused(texts, tokenizer, stopped, damage):
    state = stopped / "state.json"
    values = json.loads(state.read_text())
    if damage == "shard":
        (stopped / "train-00000.tokens").unlink()
    elif damage == "part":
        for part in stopped.glob("*.part"):
            os.truncate(part, 130)
    elif damage == "state":
        state.write_text("{")
    elif damage == "foreign":
        state.write_text("{}")
    elif damage == "keys":
        del values["splits"]
        state.write_text(json.dumps(checksummed(values)))
    else:
        values["splits"]["train"]["tokens"] = "many"
        state.write_text(json.dumps(checksummed(values)))
    with pytest.raises(UserError, match=r"--reset starts over|not valid JSON"):
        go(texts, tokenizer, stopped, workers=1)


def test_500_damaged_states_are_refused_or_lead_to_the_same_bytes(
    tmp_path, texts, tokenizer, stopped
):
    good = (stopped / "state.json").read_bytes()
    rng = random.Random(4)
    refused = 0
    for _ in range(500):
        bad = bytearray(good)
        at = rng.randrange(len(bad))
        if rng.random() < 0.5:
            bad[at] ^= 1 << rng.randrange(8)
        else:
            del bad[at : at + rng.randrange(1, 200)]
        (stopped / "state.json").write_bytes(bad)
        try:
            state = data_writer.State(stopped, json.loads(good)["settings"])
        except UserError:
            refused += 1
        else:  # a space or a line end
            assert state.splits == json.loads(good)["splits"]
            assert state.after == json.loads(good)["after"]
    assert refused > 400


def test_no_text_for_validation_is_told_with_the_remedy(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("a short text\n")
    with pytest.raises(UserError, match=r"nothing fell to validation .* --validation 0\.1"):
        go(tmp_path / "a.txt", tokenizer, tmp_path / "data", Settings(0.01, 100), workers=1)
    assert not (tmp_path / "data").exists()
    (tmp_path / "b.jsonl").write_text("\n")
    with pytest.raises(UserError, match="there is no text"):
        go(tmp_path / "b.jsonl", tokenizer, tmp_path / "data", workers=1)


def test_a_limit_of_tokens_ends_it_early_and_always_at_the_same_place(
    tmp_path, texts, tokenizer, monkeypatch
):
    monkeypatch.setattr(data_documents, "CHUNK_BYTES", 500)
    settings = Settings(0.2, 700, max_tokens=2000)
    go(texts, tokenizer, tmp_path / "one", settings, workers=1)
    go(texts, tokenizer, tmp_path / "two", settings, workers=2)
    assert made(tmp_path / "one") == made(tmp_path / "two")
    assert 2000 <= open_folder(tmp_path / "one").tokens < 2600


# --- the commands --------------------------------------------------------------------------------


@pytest.fixture
def lines(tmp_path):
    """A text of some sections."""
    (tmp_path / "text.txt").write_text("".join(f"Line {n} of the text.\n" for n in range(4000)))


@pytest.mark.usefixtures("lines")
def test_prepare_show_verify_train(run):
    options = ["--vocab-size", "300", "--validation", "0.3"]
    result = run("data", "prepare", "text.txt", "--out", "data", *options, "--workers", "1")
    assert result.exit_code == 0, result.output
    assert "hipgpt train --data data" in result.output
    shown = json.loads(run("data", "show", "data", "--json").stdout)
    assert shown["splits"]["train"]["text_bytes"] > 5000
    assert "text.txt" in run("data", "show", "data").stdout
    assert "Whole" in run("data", "verify", "data").stdout
    verified = json.loads(run("data", "verify", "data", "--json").stdout)
    assert verified["whole"] is True
    assert verified["tokens"] == sum(split["tokens"] for split in shown["splits"].values())
    again = run("data", "prepare", "text.txt", "--out", "data", *options)
    assert again.exit_code == 1
    assert "holds prepared data already; --reset" in again.stderr
    reset = run("data", "prepare", "text.txt", "--out", "data", *options, "--reset")
    assert reset.exit_code == 0


@pytest.mark.usefixtures("lines")
def test_two_at_once_in_one_folder_are_refused(run, tmp_path):
    from hipgpt_cli.lock import locked

    (tmp_path / "data").mkdir()
    with locked(tmp_path / "data" / "lock"):
        result = run("data", "prepare", "text.txt", "--out", "data", "--vocab-size", "300")
    assert result.exit_code == 1
    assert "data is being prepared by another process" in result.stderr


@pytest.mark.usefixtures("lines")
def test_the_lines_of_python_on_the_data_page_read_a_shard(run, tmp_path, capsys):
    """The page says how to read a shard without hipgpt; that is what is run here."""
    page = Path(__file__).resolve().parents[3] / "docs" / "data.md"
    [code] = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert code.count("\n") <= 7  # five lines, the import and a blank one
    made = run("data", "prepare", "text.txt", "--out", "data/articles", "--vocab-size", "300",
               "--validation", "0.3", "--workers", "1")  # fmt: skip
    assert made.exit_code == 0, made.output
    names = {}
    exec(compile(code, str(page), "exec"), names)
    ids = names["ids"]
    data = open_folder(tmp_path / "data/articles").token_data(8)
    assert np.array_equal(ids, data.read(0, data.train_tokens))
    assert capsys.readouterr().out.strip() == str(ids[:10])


def test_the_data_page_has_the_header_as_it_is():
    """Offsets and sizes of the table on the page add up to the 128 bytes."""
    page = Path(__file__).resolve().parents[3] / "docs" / "data.md"
    rows = re.findall(r"^\| (\d+) \| (\d+) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    end = 0
    for offset, size in rows:
        assert int(offset) == end
        end += int(size)
    assert end == 128


@pytest.mark.usefixtures("lines")
def test_verify_names_the_damaged_file(run, tmp_path):
    run("data", "prepare", "text.txt", "--out", "data", "--vocab-size", "300",
            "--validation", "0.3", "--workers", "1")  # fmt: skip
    path = tmp_path / "data" / "train-00000.tokens"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    result = run("data", "verify", "data")
    assert result.exit_code == 1
    assert "train-00000.tokens is damaged: its ids do not have the SHA-256" in result.stderr


@pytest.mark.usefixtures("lines")
def test_verify_knows_another_tokenizer(run):
    run("data", "prepare", "text.txt", "--out", "data", "--vocab-size", "300",
        "--validation", "0.3", "--workers", "1")  # fmt: skip
    run("tokenizer", "train", "--data", "text.txt", "--vocab-size", "280", "--out",
        "data/tokenizer.json", "--force")  # fmt: skip
    result = run("data", "verify", "data")
    assert result.exit_code == 1
    assert "is not the tokenizer that this data was prepared with" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x"], "give one or more SOURCE, or a data set with --hf"),
        (["a.txt", "--hf", "b", "--out", "x"], "give one or more SOURCE, or a data set with --hf"),
        (["nothing.txt", "--out", "x"], "nothing.txt: there is no such file or folder"),
    ],
)
def test_mistakes_on_the_command_line(run, arguments, message):
    result = run("data", "prepare", *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
