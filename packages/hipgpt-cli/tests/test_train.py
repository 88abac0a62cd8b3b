"""`hipgpt train`: what it says, what it leaves on disk, what it refuses."""

import json
import re
import shutil
import types

import numpy as np
import pytest

from hipgpt_cli import device
from hipgpt_cli.runs import Run
from hipgpt_model.checkpoint import read_header

PREDECESSORS_LINE = re.compile(
    r"\[Step (\d+)\] Loss: (\S+) \| Perplexity: (\S+) \| Accuracy: (\S+)% \| LR: (\S+) \| "
    r"Time: (\S+) ms \| (\d+) tok/s"
)


def folder(path):
    """Every file below a folder, by relative path."""
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def test_a_whole_training(run, text, tmp_path, tiny):
    """From a text to a saved model, a sample and the next command; the run is complete on disk."""
    result = run("train", "--data", text, "--run-name", "first", *tiny)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    for label in ("Device", "Text", "Tokenizer", "Tokens", "Model", "Run", "Trained", "Saved"):
        assert any(line.startswith(label) for line in lines), label
    assert str(text) in result.stdout
    steps = [int(match[1]) for line in lines if (match := PREDECESSORS_LINE.fullmatch(line))]
    assert steps == [2, 4, 6, 8, 10, 12]
    assert [line.split("]")[0] for line in lines if line.startswith("[Eval")] == [
        "[Eval 6",
        "[Eval 12",
    ]
    assert lines[-1].split()[:3] == ["Next", "hipgpt", "generate"]

    assert folder(tmp_path / "runs" / "first") == [
        "checkpoints/step-00000004.msgpack",
        "checkpoints/step-00000008.msgpack",
        "checkpoints/step-00000012.msgpack",
        "config.json",
        "latest",
        "metrics.csv",
        "metrics.jsonl",
        "report.html",
        "tokenizer.json",
        "tokens.bin",
        "tokens.json",
    ]
    header = read_header(tmp_path / "runs/first/checkpoints/step-00000012.msgpack")
    assert header.metrics.keys() == {
        "loss", "validation_loss", "validation_step",
        "best_validation_loss", "best_validation_step", "evaluations_since_best",
    }  # fmt: skip
    assert header.step == 12


def test_the_next_command_works_as_printed(run, trained):
    """What a training ends with can be typed as it is."""
    import shlex

    result = run("train", "--resume", "--steps", "13")
    command = shlex.split(result.stdout.splitlines()[-1])[1:]
    assert command[0] == "hipgpt"
    assert run(*command[1:]).exit_code == 0


def test_metrics(trained):
    """One line a report, with every figure."""
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if "loss" in line]
    assert [line["step"] for line in training] == [2, 4, 6, 8, 10, 12]
    assert training[0].keys() == {
        "step", "loss", "accuracy", "learning_rate", "norm", "tokens_per_s", "elapsed_s",
    }  # fmt: skip
    assert [line["step"] for line in lines if "validation_loss" in line] == [6, 12]


def test_it_learns(run, text, sizes):
    """More steps on this tiny text bring the loss well below that of a guess."""
    result = run("train", "--data", text, *sizes, "--steps", "150", "--lr", "0.01",
                 "--warmup-steps", "10")  # fmt: skip
    last_loss = PREDECESSORS_LINE.findall(result.stdout)[-1][1]
    assert float(last_loss) < 0.6 * np.log(300)


def test_the_same_seed_gives_the_same_losses(run, text, tiny):
    """Two runs print the same figures, another seed others."""

    def losses(seed):
        out = run("train", "--data", text, *tiny, "--seed", seed).stdout
        return [match[2] for match in PREDECESSORS_LINE.finditer(out)]

    assert losses("1") == losses("1") != losses("2")


def test_keep_last_keeps_the_newest(run, text, tmp_path, tiny):
    run("train", "--data", text, "--run-name", "r", *tiny, "--keep-last", "1")
    assert Run(tmp_path / "runs/r").checkpoints() == [
        (12, tmp_path / "runs/r/checkpoints/step-00000012.msgpack")
    ]


def test_no_checkpoint_but_the_last(run, text, tmp_path, tiny):
    run("train", "--data", text, "--run-name", "r", *tiny, "--ckpt-every", "0")
    assert [step for step, _ in Run(tmp_path / "runs/r").checkpoints()] == [12]


@pytest.mark.parametrize(
    "options",
    [
        ["--activation", "swiglu"],
        ["--activation", "relu", "--no-output-bias", "--no-final-norm"],
        ["--tied", "--dropout", "0.1"],
        ["--grad-accum", "2", "--clip", "0", "--weight-decay", "0"],
        ["--schedule", "linear", "--min-lr", "0.0005"],
        ["--schedule", "constant", "--beta1", "0.8", "--beta2", "0.9", "--adam-epsilon", "1e-6"],
    ],
    ids=" ".join,
)
def test_every_option_reaches_the_model(run, text, tmp_path, options, tiny):
    """What was asked for is what the checkpoint says, and it changes the result."""
    changed = run("train", "--data", text, "--run-name", "changed", *tiny, *options)
    plain = run("train", "--data", text, "--run-name", "plain", *tiny)
    assert changed.exit_code == 0, changed.output
    header = read_header(Run(tmp_path / "runs/changed").newest_checkpoint())
    said = header.model.to_dict() | header.training.to_dict()
    names = {"--adam-epsilon": "epsilon", "--min-lr": "min_learning_rate"}
    for flag, value in zip(options, [*options[1:], ""], strict=True):
        if not flag.startswith("--"):
            continue
        name = names.get(flag, flag.removeprefix("--").removeprefix("no-").replace("-", "_"))
        expected = not flag.startswith("--no-") if value.startswith("--") or not value else value
        assert str(said[name]) == str(type(said[name])(expected))
    figures = [PREDECESSORS_LINE.findall(result.stdout)[-1][1:3] for result in (changed, plain)]
    assert figures[0] != figures[1]


def test_standard_input(run, text, tiny):
    result = run("train", "--data", "-", *tiny, input=text.read_text())
    assert result.exit_code == 0
    assert "standard input" in result.stdout


def test_a_folder_says_what_it_left_out(run, tmp_path, text, tiny):
    folder_ = tmp_path / "texts"
    folder_.mkdir()
    shutil.copy(text, folder_ / "a.txt")
    shutil.copy(text, folder_ / "b.txt")
    (folder_ / "c.png").write_bytes(b"\x89PNG\0")
    result = run("train", "--data", folder_, *tiny)
    assert "2 files" in result.stdout
    assert "left out, for it is no UTF-8 text: c.png\n" in result.stderr


def test_a_ready_tokenizer(run, text, tmp_path, tiny):
    run("tokenizer", "train", "--data", text, "--vocab-size", "290", "--out", "mine.json")
    sizes = [option for option in tiny if option not in {"--vocab-size", "300"}]
    result = run(
        "train", "--data", text, "--tokenizer-path", "mine.json", "--run-name", "r", *sizes
    )
    assert result.exit_code == 0
    assert read_header(Run(tmp_path / "runs/r").newest_checkpoint()).model.vocab_size == 290
    wrong = run("train", "--data", text, "--tokenizer-path", "mine.json", *tiny)
    assert wrong.exit_code == 1
    assert "leave one of the two out" in wrong.stderr


def test_shared_tokens_are_encoded_once(run, text, tiny):
    """--tokens-path is used again for the same text and tokenizer, and only then."""
    shared = ["--tokens-path", "shared.bin"]
    first = run("train", "--data", text, *tiny, *shared)
    again = run("train", "--data", text, *tiny, *shared)
    other = run("train", "--data", text, *tiny, *shared, "--vocab-size", "280")
    text.write_text(text.read_text() + "and more")
    changed = run("train", "--data", text, *tiny, *shared, "--vocab-size", "280")
    assert ["as encoded before" in result.stdout for result in (first, again, other, changed)] == [
        False, True, False, False,
    ]  # fmt: skip


def test_a_run_that_never_saved_is_taken_up_again(run, text, tmp_path, tiny):
    """After a crash before the first checkpoint, tokenizer and ids of that run are used again."""
    run("train", "--data", text, "--run-name", "r", *tiny)
    shutil.rmtree(tmp_path / "runs/r/checkpoints")
    result = run("train", "--data", text, "--run-name", "r", *tiny)
    assert "as made for this text before" in result.stdout
    assert "as encoded before" in result.stdout


def test_an_existing_run_is_not_overwritten(run, text, trained, tiny):
    before = (trained / "latest").read_text()
    result = run("train", "--data", text, "--run-name", "tiny", *tiny, "--steps", "3")
    assert result.exit_code == 2
    assert "--resume continues it, --reset deletes it and starts over" in result.stderr
    assert (trained / "latest").read_text() == before


def test_reset_starts_over(run, text, trained, tiny):
    result = run("train", "--data", text, "--run-name", "tiny", "--reset", *tiny, "--steps", "3")
    assert result.exit_code == 0
    assert [step for step, _ in Run(trained).checkpoints()] == [3]
    assert "as made for this text before" not in result.stdout


def test_reset_with_a_mistake_deletes_nothing(run, trained):
    result = run("train", "--data", "nowhere.txt", "--run-name", "tiny", "--reset")
    assert result.exit_code == 1
    assert len(Run(trained).checkpoints()) == 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "there is no such file or folder"),
        (lambda path: path.write_text(""), "is empty"),
        (lambda path: path.write_bytes(b"\x89PNG\0"), "is not text"),
        (lambda path: path.write_bytes(b"caf\xe9 au lait"), "is not UTF-8 text"),
        (lambda path: path.write_text("too short"), "tokens; rows of 8 need at least 18"),
        (lambda path: path.mkdir(), "holds no file with UTF-8 text"),
    ],
)
def test_bad_text_is_one_sentence_and_leaves_nothing(run, tmp_path, make, said, tiny):
    """Status 1, and no run's folder."""
    make(tmp_path / "bad")
    before = folder(tmp_path)
    result = run("train", "--data", "bad", *tiny)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert folder(tmp_path) == before
    assert not (tmp_path / "runs").exists()


def test_a_model_that_no_memory_holds(run, text, tmp_path):
    result = run("train", "--data", text, "--dim", "100000", "--heads", "8", "--layers", "500")
    assert result.exit_code == 1
    assert "of memory (weights" in result.stderr
    assert "and cpu has" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_tokenizer_file_that_is_none(run, text):
    result = run("train", "--data", text, "--tokenizer-path", text)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {text}: not JSON")


def test_a_text_without_so_many_tokens(run, text, tiny):
    """A vocabulary that the text cannot fill is smaller, and that is said."""
    result = run("train", "--data", text, *tiny, "--vocab-size", "4000")
    assert "all that this text has to offer" in result.stdout


def test_a_run_name_that_is_a_file(run, text, tmp_path, tiny):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "r").write_text("")
    result = run("train", "--data", text, "--run-name", "r", *tiny)
    assert result.exit_code == 1
    assert "is a file; a run needs a folder" in result.stderr


def test_a_training_that_diverges(run, text, tiny, tmp_path):
    """Infinite gradients end in a sentence about what to change, and leave nothing."""
    wild = ["--lr", "1e6", "--clip", "0", "--steps", "100", "--ckpt-every", "0"]
    result = run("train", "--data", text, *tiny, *wild)
    assert result.exit_code == 1
    assert "lower --lr" in result.stderr
    assert "nothing of this run is kept" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_text_in_one_line(run, tiny, tmp_path):
    """The sample finds a prompt even where no line begins."""
    (tmp_path / "line.txt").write_text("word " * 2000)
    result = run("train", "--data", "line.txt", *tiny)
    assert result.exit_code == 0
    assert 'Sample     after "word word' in result.stdout


def test_a_batch_that_no_memory_holds_is_told_what_would_fit(run, text):
    result = run("train", "--data", text, "--batch", str(1 << 26), "--device", "cpu")
    assert result.exit_code == 1
    assert "(weights" in result.stderr
    assert re.search(r"this would fit: .*--batch \d+ --grad-accum \d+", result.stderr)


def test_the_cpu_refuses_low_precision_before_anything_is_done(run, text, tmp_path):
    result = run("train", "--data", text, "--dtype", "bf16", "--device", "cpu")
    assert result.exit_code == 1
    assert "--dtype bf16 cannot be used here: the CPU computes in float32" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_kernels_are_compiled_once_and_aloud(capsys):
    class Code:
        compiled = False

        def missing(self):
            return [] if self.compiled else ["linear", "gather"]

        def prepare(self, progress):
            progress(2, 2)
            self.compiled = True

    backend = types.SimpleNamespace(code=Code())
    for _ in range(2):
        device.compile_kernels(backend)
    device.compile_kernels(types.SimpleNamespace())
    assert capsys.readouterr().out.count("compiling 2 for this GPU") == 1
    assert backend.code.compiled
