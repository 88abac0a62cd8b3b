"""What was mistyped is told with what was probably meant."""

import pytest

from hipgpt_cli.nearest import meant_file


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--schedule", "cosin"], "linear, constant or wsd; did you mean cosine?"),
        (["train", "--device", "cuda"], "'cuda' is not auto, cpu or hip; did you mean hip?"),
        (["bench", "train", "--against", "tensorflow"], "'tensorflow' is not torch"),
        (["export", "gguf", "tiny", "a", "--type", "q4"], "q8_0 or q4_0; did you mean q4_0?"),
        (["train", "--data", "word.txt"], "no such file or folder; did you mean words.txt?"),
        (["train", "--data", "shakespere"], "did you mean shakespeare?"),
        (["data", "prepare", "word.txt", "--out", "o"], "did you mean words.txt?"),
        (["train", "--tokenizer-path", "runs/tiny/tokeniser.json"],
         "did you mean runs/tiny/tokenizer.json?"),
        (["evaluate", "--data", "words.txt", "--run", "tinny"],
         "there is no run tinny in runs; did you mean tiny?"),
        (["plot", "zebra"], "there is no run zebra in runs; there is tiny"),
        (["checkpoint", "show", "runs"], "runs is a folder, but no run of hipgpt"),
        (["checkpoint", "show", "runs/tinny"], "no such file or run; did you mean runs/tiny?"),
        (["export", "gguff"], "no such command: gguff; did you mean gguf?"),
        (["import", "zebra"], "no such command: zebra; there is hf alone."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_told_with_what_is_near(run, trained, arguments, sentence):
    result = run(*arguments)
    assert result.exit_code in {1, 2}
    assert sentence in result.stderr


def test_nothing_is_made_up(tmp_path):
    assert meant_file(tmp_path / "nowhere" / "words.txt") == ""
    assert meant_file("nul\0byte") == ""
