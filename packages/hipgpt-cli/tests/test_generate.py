"""`hipgpt generate`: text on standard output, everything else on standard error."""

import shutil

import pytest

from hipgpt_cli.runs import Run
from hipgpt_tokenizer import Tokenizer

ASK = ["generate", "--prompt", "the quick", "--seed", "7"]


def test_pipes_get_only_the_text(run, trained):
    result = run(*ASK)
    assert result.exit_code == 0, result.output
    for said in ("Model", "Device", "seed 7", "the quick", "tokens/s"):
        assert said in result.stderr
        assert said not in result.stdout
    assert result.stdout.endswith("\n")
    assert len(result.stdout) > 10


def test_a_seed_gives_the_same_text_and_another_another(run, trained):
    assert run(*ASK).stdout == run(*ASK).stdout
    assert run(*ASK).stdout != run(*ASK, "--seed", "8").stdout


def test_without_a_seed_one_is_drawn_and_said(run, trained):
    results = [run("generate", "--prompt", "the quick") for _ in range(2)]
    seeds = [result.stderr.partition("seed ")[2].split()[0] for result in results]
    assert seeds[0] != seeds[1]
    again = run("generate", "--prompt", "the quick", "--seed", seeds[0])
    assert again.stdout == results[0].stdout


def test_greedy_needs_no_seed(run, trained):
    texts = {run(*ASK, "--temp", "0", "--seed", str(seed)).stdout for seed in range(3)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    "options",
    [["--temp", "2"], ["--top-k", "0"], ["--top-p", "0.1"], ["--min-p", "0.9"],
     ["--rep-penalty", "5"], ["--num-tokens", "9"]],
    ids=" ".join,
)  # fmt: skip
def test_every_option_does_something(run, trained, options):
    base = ["--top-k", "100", "--num-tokens", "40"]
    assert run(*ASK, *base, *options).stdout != run(*ASK, *base).stdout


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("--num_tokens", "--num-tokens"),
        ("--top_k", "--top-k"),
        ("--rep_penalty", "--repetition-penalty"),
    ],
)
def test_old_spellings(run, trained, one, other):
    assert run(*ASK, one, "3").stdout == run(*ASK, other, "3").stdout


def test_stop_strings(run, trained):
    """The text ends before the stop string, no part of which is shown."""
    text = run(*ASK, "--num-tokens", "40").stdout[:-1]
    stop = text[10:14]
    result = run(*ASK, "--num-tokens", "40", "--stop", "never this", "--stop", stop)
    assert result.stdout == text[: text.index(stop)] + "\n"
    assert f"stopped before {stop!r}" in result.stderr


def test_an_end_id_ends_the_text(run, trained):
    """The tokenizer's own is the default; -1 is none; any other can be given."""
    text = run(*ASK, "--num-tokens", "40").stdout[:-1]
    tokenizer = Tokenizer.load(trained / "tokenizer.json")
    third = tokenizer.encode(text)[2]
    shorter = run(*ASK, "--num-tokens", "40", "--eos-id", str(third))
    assert len(shorter.stdout) < len(text)
    assert "the text ended" in shorter.stderr
    assert run(*ASK, "--num-tokens", "40", "--eos-id", "-1").stdout == text + "\n"


def test_a_prompt_from_standard_input(run, trained):
    asked = run("generate", "--seed", "7", input="the quick\n")
    assert asked.stdout == run(*ASK).stdout


def test_an_empty_prompt_starts_a_document(run, trained):
    result = run("generate", "--prompt", "", "--seed", "1")
    assert result.exit_code == 0
    assert len(result.stdout) > 1


def test_a_prompt_longer_than_the_model_sees(run, trained):
    result = run("generate", "--prompt", "the quick brown fox " * 50, "--seed", "1")
    assert result.exit_code == 0


def test_a_special_token_in_the_prompt(run, trained):
    assert run("generate", "--prompt", "<|endoftext|>the", "--seed", "1").exit_code == 0


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_rounded_weights_write_too(run, trained, kind):
    """Where the compiled code is, copies are read; greedy text of a sure model stays the same."""
    from hipgpt_kernels import load_backend

    if not hasattr(type(load_backend("cpu")), "decode_weights"):
        pytest.skip("the CPU's compiled code is not there")
    result = run(*ASK, "--device", "cpu", "--decode-weights", kind)
    assert result.exit_code == 0, result.output
    assert len(result.stdout) > 10


def test_rounded_weights_need_the_compiled_code(run, trained, monkeypatch):
    """Plain NumPy refuses them in one sentence."""
    from hipgpt_cli import device
    from hipgpt_kernels.cpu.backend import CpuBackend

    monkeypatch.setattr("hipgpt_kernels.load_backend", lambda *_, **__: CpuBackend())
    result = run(*ASK, "--decode-weights", "int8")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: --decode-weights int8 needs")
    assert device.set_decode_weights(CpuBackend(), "float32") is None


def test_which_model(run, trained, tmp_path):
    """A run, a step of it, or a file; the newest by default."""
    shutil.copytree(trained, tmp_path / "elsewhere" / "copy")
    checkpoint = Run(trained).checkpoint(4)
    by_step = run(*ASK, "--step", "4")
    assert "step 4," in by_step.stderr
    assert run(*ASK, "--checkpoint", checkpoint).stdout == by_step.stdout
    assert (
        run(*ASK, "--runs-dir", "elsewhere", "--run", "copy", "--step", "4").stdout
        == by_step.stdout
    )
    assert run(*ASK).stdout == run(*ASK, "--step", "-1").stdout != by_step.stdout


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--run", "nope"], 1, "there is no run nope in runs; there is tiny"),
        (["--step", "5"], 1, "no checkpoint of step 5; it has 4, 8, 12"),
        (["--checkpoint", "words.txt"], 1, "words.txt: not a hipgpt-checkpoint"),
        (["--checkpoint", "nowhere"], 2, "'nowhere' does not exist"),
        (["--checkpoint", "words.txt", "--step", "4"], 2, "is a file by itself"),
        (["--num-tokens", "0"], 2, "at least 1"),
        (["--temp", "-1"], 2, "--temp"),
        (["--top-p", "0"], 2, "--top-p"),
        (["--top-p", "1.5"], 2, "--top-p"),
        (["--rep-penalty", "0"], 2, "--repetition-penalty"),
        (["--stop", ""], 2, "must not be empty"),
        (["--device", "hip2"], 2, "--device"),
    ],
)
def test_bad_input(run, trained, options, status, said):
    result = run(*ASK, *options)
    assert result.exit_code == status
    assert said in result.stderr
    assert result.stdout == ""


def test_no_run_at_all(run):
    result = run(*ASK)
    assert result.exit_code == 1
    assert "hipgpt train makes one" in result.stderr


def test_no_prompt_at_all(run, trained):
    result = run("generate", input="")
    assert result.exit_code == 2
    assert "there is no prompt" in result.stderr


def test_a_prompt_that_is_no_text(run, trained):
    result = run("generate", input=b"\xff\xfe")
    assert result.exit_code == 2
    assert "is not UTF-8" in result.stderr


def test_a_checkpoint_needs_its_own_tokenizer(run, trained, tmp_path):
    alone = tmp_path / "alone" / "model.msgpack"
    alone.parent.mkdir()
    shutil.copy(Run(trained).checkpoint(4), alone)
    result = run(*ASK, "--checkpoint", alone)
    assert result.exit_code == 1
    assert "--tokenizer-path names it" in result.stderr
    run("tokenizer", "train", "--data", "words.txt", "--vocab-size", "290", "--out", "other.json")
    result = run(*ASK, "--checkpoint", alone, "--tokenizer-path", "other.json")
    assert result.exit_code == 1
    assert "was trained with another tokenizer" in result.stderr
    right = run(*ASK, "--checkpoint", alone, "--tokenizer-path", trained / "tokenizer.json")
    assert right.exit_code == 0


@pytest.mark.parametrize("size", [0, 100, -3])
def test_a_checkpoint_cut_short(run, trained, size):
    path = Run(trained).newest_checkpoint()
    path.write_bytes(path.read_bytes()[:size])
    result = run(*ASK)
    assert result.exit_code == 1
    assert result.stderr.count("Error: ") == 1
    assert "defect" not in result.stderr
    assert result.stdout == ""


def test_a_reader_that_leaves_early_is_no_error(process, trained):
    """`hipgpt generate | head` ends quietly."""
    made = process(*ASK, "--num-tokens", "3000", "--top-k", "0")
    made.stdout.read(1)
    made.stdout.close()
    errors = made.stderr.read().decode()
    made.wait(timeout=30)
    assert "Error" not in errors
    assert "Traceback" not in errors


def test_stats_follow_the_text_on_standard_error(run, trained):
    """The prompt's ids, the time to the first token, both speeds and the model's size."""
    ids = Tokenizer.load(trained / "tokenizer.json").encode("the quick")
    options = ("--prompt", "the quick", "--num-tokens", "6", "--seed", "1", "--eos-id", "-1")
    plain, told = run("generate", *options), run("generate", *options, "--stats")
    assert told.stdout == plain.stdout
    assert f"Prompt ids {' '.join(map(str, ids))} ({len(ids)} ids)" in told.stderr
    for label, unit in (("TTFT", "ms of wall time"), ("Prefill", "tokens/s"), ("Decode", "(5 tok")):
        assert any(line.startswith(label) and unit in line for line in told.stderr.splitlines())
    assert "Parameters 11,756, 47.0 kB in float32" in told.stderr
    assert "TTFT" not in plain.stderr
