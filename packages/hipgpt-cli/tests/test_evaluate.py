"""`hipgpt evaluate`: what it prints is what the library measures."""

import json
import math

import numpy as np
import pytest

from hipgpt_cli.load import named_model
from hipgpt_kernels import load_backend
from hipgpt_model import perplexity
from hipgpt_model.checkpoint import load_model
from hipgpt_tokenizer import Tokenizer


@pytest.fixture
def questions(tmp_path, words):
    """Ten questions whose right ending is the text itself."""
    lines = words.splitlines()
    path = tmp_path / "questions.jsonl"
    with path.open("w") as file:
        for number in range(10):
            right = " ".join(lines[number + 20].split()[:2])
            wrong = ["x y", "in a", "it it"]
            endings = [*wrong[: number % 4], right, *wrong[number % 4 :]]
            file.write(json.dumps({
                "activity_label": "Words", "ctx_a": lines[number], "ctx_b": "then",
                "endings": endings, "label": str(number % 4),
            }) + "\n")  # fmt: skip
    return path


@pytest.mark.parametrize("stride", [None, 3])
def test_figures_of_a_text(run, trained, text, stride):
    options = [] if stride is None else ["--stride", stride]
    result = run("evaluate", "--data", text, "--device", "cpu", "--json", *options)
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    found = named_model("tiny", "runs", None)
    ids = Tokenizer.load(trained / "tokenizer.json").encode(text.read_text())
    report = perplexity(load_model(found.checkpoint, load_backend("cpu")), np.array(ids), stride)
    assert value["text"]["perplexity"] == pytest.approx(report.perplexity, rel=1e-6)
    assert value["text"]["tokens"] == len(ids) - 1
    bits = report.loss * report.tokens / math.log(2)
    first = len(Tokenizer.load(trained / "tokenizer.json").token_bytes(ids[0]))
    assert value["text"]["bytes"] == text.stat().st_size - first
    assert value["text"]["bits_per_byte"] == pytest.approx(bits / value["text"]["bytes"], rel=1e-6)
    assert value["text"]["stride"] == (stride or 8)
    assert value["step"] == 12


def test_lines_for_people(run, trained, text, questions):
    result = run("evaluate", "--data", text, "--hellaswag", questions, "--limit", "7")
    assert result.exit_code == 0, result.output
    for label in ("Model", "Device", "Loss", "Perplexity", "Bits/byte", "Accuracy", "acc_norm"):
        assert f"\n{label}" in f"\n{result.stdout}"
    assert "6 tokens predicted" in result.stdout
    assert "7 questions" in result.stdout


def test_questions(run, trained, questions):
    result = run("evaluate", "--hellaswag", questions, "--json")
    value = json.loads(result.stdout)["hellaswag"]
    assert value["questions"] == 10
    assert value["acc"] * 10 == round(value["acc"] * 10)
    assert 0 < value["acc_norm_stderr"] < 0.2 or value["acc_norm"] in (0, 1)
    assert "text" not in json.loads(result.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --data, --hellaswag or both"),
        (["--stride", "2", "--hellaswag", "words.txt"], "--stride is for a text"),
        (["--data", "words.txt", "--stride", "9"], "the window can move by 1 to 8"),
        (["--data", "words.txt", "--stride", "0"], "--stride"),
    ],
)
def test_bad_options(run, trained, arguments, message):
    result = run("evaluate", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_bad_texts_and_questions_are_told_in_one_sentence(run, trained, tmp_path):
    (tmp_path / "one.txt").write_text("e")
    result = run("evaluate", "--data", "one.txt")
    assert result.exit_code == 1
    assert "one.txt has 1 tokens; at least 2 are needed" in result.stderr
    (tmp_path / "bad.jsonl").write_text('{"activity_label": 3}\n')
    result = run("evaluate", "--hellaswag", "bad.jsonl")
    assert result.exit_code == 1
    assert "bad.jsonl, line 1: activity_label is missing or no text" in result.stderr
    assert "defect" not in result.stderr
