"""`hipgpt generate` on a terminal."""


def test_prompts_until_exit(trained, on_a_terminal):
    """Each prompt is answered, with its own seed; exit ends with status 0."""
    shown, status = on_a_terminal(
        "generate", "--num-tokens", "5", "--seed", "3",
        typed=[("> ", "the quick\n"), ("tokens/s", "\nthe lazy\n"), ("tokens/s", "exit\n")],
    )  # fmt: skip
    assert status == 0
    assert shown.count("5 tokens in") == 2


def test_end_of_input_ends(trained, on_a_terminal):
    _, status = on_a_terminal("generate", typed=[("> ", "\x04")])
    assert status == 0


def test_ctrl_c_at_the_prompt_ends_with_130(trained, on_a_terminal):
    shown, status = on_a_terminal("generate", typed=[("> ", "\x03")])
    assert status == 130
    assert "Traceback" not in shown


def test_a_given_prompt_flows_into_its_text(trained, on_a_terminal):
    """On a terminal the prompt and the text are one line."""
    shown, status = on_a_terminal("generate", "--prompt", "the quick", "--num-tokens", "4")
    assert status == 0
    assert "\x1b[1mthe quick\x1b[0m" in shown
    assert "Prompt " not in shown
