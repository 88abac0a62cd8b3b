"""Texts of many prompts: each as it would be alone, in the prompts' order."""

import json

import pytest

ASK = ["generate", "--seed", "7", "--num-tokens", "12"]


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("the quick\n\nbrown fox jumps\n", encoding="utf-8")
    return path


def alone(run, prompt, seed):
    return run("generate", "--prompt", prompt, "--seed", str(seed), "--num-tokens", "12").stdout


def test_a_file_of_prompts(run, trained, prompts):
    result = run(*ASK, "--prompt-file", str(prompts))
    assert result.exit_code == 0, result.output
    expected = alone(run, "the quick", 7) + alone(run, "brown fox jumps", 8)
    assert result.stdout == expected
    assert "2 texts, 24 tokens" in result.stderr
    assert "brown fox jumps" in result.stderr


def test_samples_of_one_prompt_have_seeds_of_their_own(run, trained):
    result = run(*ASK, "--prompt", "the quick", "--num-samples", "3")
    assert result.stdout == "".join(alone(run, "the quick", seed) for seed in (7, 8, 9))
    assert "3, seed 9" in result.stderr


def test_json_lines_in_and_out(run, trained, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('"the quick"\n{"prompt": "two\\nlines", "more": 1}\n', encoding="utf-8")
    result = run(*ASK, "--prompt-file", str(path), "--num-samples", "2", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["prompt"], row["sample"], row["seed"]) for row in rows] == [
        ("the quick", 0, 7),
        ("the quick", 1, 8),
        ("two\nlines", 0, 9),
        ("two\nlines", 1, 10),
    ]
    assert rows[3]["text"] + "\n" == alone(run, "two\nlines", 10)
    assert rows[0]["tokens"] == 12
    assert rows[0]["ended"] == "tokens"


def test_stop_strings(run, trained, prompts):
    text = alone(run, "the quick", 7)[:-1]
    stop = text[4:7]
    result = run(*ASK, "--prompt-file", str(prompts), "--stop", stop, "--json")
    first = json.loads(result.stdout.splitlines()[0])
    assert (first["text"], first["ended"]) == (text[: text.index(stop)], stop)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.txt", "\n \n", "holds no prompt"),
        ("a.jsonl", "{\n", "line 1: not JSON"),
        ("a.jsonl", '"good"\n{"text": 3}\n', 'line 2: expected a string, or an object with a "pro'),
    ],
)
def test_bad_files(run, trained, tmp_path, name, text, says):
    (tmp_path / name).write_text(text, encoding="utf-8")
    result = run(*ASK, "--prompt-file", str(tmp_path / name))
    assert result.exit_code != 0
    assert says in " ".join(result.output.split())


def test_a_file_that_is_no_text(run, trained, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    result = run(*ASK, "--prompt-file", str(tmp_path / "a.txt"))
    assert "is not UTF-8 text" in " ".join(result.output.split())


def test_options_that_exclude_each_other(run, trained, prompts):
    result = run(*ASK, "--prompt-file", str(prompts), "--prompt", "x")
    assert "not both" in result.output


def test_the_cpu_refuses_low_precision(run, trained):
    result = run(*ASK, "--prompt", "x", "--dtype", "bf16", "--device", "cpu")
    assert result.exit_code != 0
    assert "--dtype bf16 cannot be used here" in " ".join(result.output.split())
