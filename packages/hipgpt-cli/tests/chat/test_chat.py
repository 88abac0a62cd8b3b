"""`hipgpt chat`: through a pipe, and on a terminal with and without prompt_toolkit."""

import pytest

ASK = ["chat", "--seed", "3", "--num-tokens", "6", "--you", "fox", "--they", "dog"]


def lines(*typed):
    return "".join(f"{line}\n" for line in typed)


def test_a_pipe_gets_the_answers_alone(run, trained):
    result = run(*ASK, input=lines("the quick", "a lazy dog"))
    assert result.exit_code == 0, result.stderr
    assert "has not learnt to answer" in result.stderr
    assert "fox>" not in result.output
    assert len(result.stdout.strip()) > 5


def test_the_same_seed_has_the_same_dialogue(run, trained):
    asked = lines("the quick", "a lazy dog", "/show")
    first, again = (run(*ASK, input=asked).stdout for _ in range(2))
    assert first == again
    assert "fox: the quick" in first
    assert first.count("dog:") >= 2


def test_commands(run, trained, tmp_path):
    saved = tmp_path / "talk.txt"
    result = run(*ASK, input=lines(
        "/help", "/undo", "/retry", "the", "/retry", "/set temp 0.5", "/set", "/set seed x",
        "/set temp -1", "/set num-tokens 0", "/set nonsense 1", "/nonsense", "/system A talk.",
        "/template script", "/template nothing", f"/save {saved}", f"/save {saved}", "/save",
        "//slash", "/show", "/undo", "/reset", "/show", "/exit", "not read",
    ))  # fmt: skip
    assert result.exit_code == 0, result.stderr
    for said in (
        "/reset", "there is no turn to take back", "there is no turn to answer again",
        "temp 0.5", "seed is a whole number", "temperature must be 0 or more",
        "num-tokens must be at least 1", "/set takes a name and a value", "there is no /nonsense",
        "The dialogue now begins", "{they}:", "a template has {text}", f"Saved in {saved}",
        "exists; choose another", "takes the name of a file", "Taken back: /slash", "forgotten",
    ):  # fmt: skip
        assert said in result.stderr, said
    assert saved.read_text().startswith("A talk.\n")
    assert "(nothing yet)" not in result.stdout  # the system text is left
    assert "not read" not in result.output


def test_long_dialogues_say_what_is_left_out(run, trained):
    result = run(*ASK, input=lines(*(["the quick brown fox jumps"] * 3)))
    assert "does not see the first" in result.stderr


@pytest.mark.parametrize(
    ("options", "word"),
    [(["--template", "dialog"], "{text}"), (["--stop", ""], "must not be empty")],
)
def test_wrong_options(run, trained, options, word):
    result = run(*ASK, *options)
    assert result.exit_code != 0
    assert word in result.stderr


TOOLKIT = ["with prompt_toolkit", "with readline"]


@pytest.fixture(params=TOOLKIT)
def terminal(request, trained, on_a_terminal, monkeypatch, tmp_path):
    """on_a_terminal, with prompt_toolkit or as where it is not installed."""
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")
    if request.param == TOOLKIT[0]:
        pytest.importorskip("prompt_toolkit", reason="history needs hipgpt-cli[chat]")
    else:
        hidden = tmp_path / "hidden" / "prompt_toolkit"
        hidden.mkdir(parents=True)
        (hidden / "__init__.py").write_text("raise ImportError('hidden')\n")
        monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    return on_a_terminal


def test_turns_until_exit(terminal):
    shown, status = terminal(
        *ASK, typed=[("fox>", "the quick\r"), ("tokens/s", "a dog\r"), ("tokens/s", "/exit\r")]
    )
    assert status == 0
    assert shown.count("tokens/s") == 2


def test_end_of_input_ends(terminal):
    _, status = terminal(*ASK, typed=[("fox>", "\x04")])
    assert status == 0


def test_ctrl_c_at_an_empty_line_ends_with_130(terminal):
    shown, status = terminal(*ASK, typed=[("fox>", "\x03")])
    assert status == 130
    assert "Traceback" not in shown


def test_ctrl_c_stops_an_answer(terminal):
    """What was written stays; the next turn is asked for."""
    shown, status = terminal(
        *ASK, "--num-tokens", "1000000",
        typed=[("fox>", "the quick\r"), ("dog", "\x03"), ("tokens/s", "/exit\r")],
    )  # fmt: skip
    assert status == 0
    assert "…" in shown


def test_an_earlier_line_comes_back(terminal):
    """Arrow up, Enter: the same turn again."""
    shown, status = terminal(
        *ASK, typed=[("fox>", "/undo\r"), ("no turn", "\x1b[A\r"), ("no turn", "/exit\r")]
    )
    assert status == 0
    assert shown.count("there is no turn to take back") == 2
