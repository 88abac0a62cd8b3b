"""The group itself: start-up, help, names that are nearly right."""

import shlex
import subprocess
import sys

import click
import pytest

from hipgpt_cli import __version__
from hipgpt_cli.help import Context
from hipgpt_cli.lazy import LazyGroup
from hipgpt_cli.main import cli


def _all_commands(group, before=()):
    for name in group.summaries:
        yield (*before, name)
        command = group.get_command(None, name)
        if isinstance(command, LazyGroup):
            yield from _all_commands(command, (*before, name))


COMMANDS = [*_all_commands(cli)]


@pytest.mark.parametrize("arguments", [("--help",), *((*words, "--help") for words in COMMANDS)])
def test_help_imports_neither_numpy_nor_rich(arguments):
    """Help answers at once, so the heavy modules stay out of it."""
    program = (
        "import sys\nfrom hipgpt_cli.main import cli\n"
        f"try: cli({list(arguments)!r})\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'rich', 'msgpack'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    assert "Usage: " in done.stdout


def test_the_group_alone_imports_no_command():
    """`hipgpt --help` lists the commands without importing one."""
    program = (
        "import sys\nfrom hipgpt_cli.main import cli\n"
        "try: cli(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith(('hipgpt_model', 'hipgpt_cli.commands'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", COMMANDS)
def test_summary_is_the_commands_own(words):
    """The sentence in the table of a group is the short help in the command's module."""
    group = cli
    for word in words[:-1]:
        group = group.get_command(None, word)
    assert group.get_command(None, words[-1]).short_help == group.summaries[words[-1]]


def test_version(run):
    """--version is one line."""
    assert run("--version").output == f"hipgpt {__version__}\n"


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_has_help(words):
    """No option stands in --help without a sentence."""
    command = cli
    for word in words:
        command = command.get_command(None, word)
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, parameter.name


def test_without_a_word_it_greets(run):
    """`hipgpt` alone is no mistake: it says what to type first."""
    result = run()
    assert result.exit_code == 0
    for words in ("hipgpt train", "hipgpt generate", "hipgpt doctor", "hipgpt --help"):
        assert words in result.output


def test_a_group_without_a_command_shows_its_help(run):
    """One level down a command was meant, so the status is that of a mistake."""
    result = run("tokenizer")
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: hipgpt tokenizer")


@pytest.mark.parametrize("words", COMMANDS)
def test_every_help_has_an_example(words):
    """Each command shows at least one command line that can be copied."""
    command = cli
    for word in words:
        command = command.get_command(None, word)
    assert command.examples


@pytest.mark.parametrize("words", COMMANDS)
def test_every_example_is_one_of_a_command_that_there_is(words):
    """Its options exist, and every choice and number in it is one that is taken."""
    shown = cli
    for word in words:
        shown = shown.get_command(None, word)
    for example in shown.examples:
        line = example.partition("hipgpt ")[2]
        for end in (" > ", ')"'):  # into a file; of a command for eval
            line = line.partition(end)[0]
        typed = shlex.split(line, comments=True)
        command = cli
        while isinstance(command, LazyGroup) and typed:
            command = command.get_command(None, typed.pop(0))
        if isinstance(command, LazyGroup):
            continue
        options, _, _ = command.make_parser(Context(command)).parse_args(typed)
        for parameter in command.params:
            value = options.get(parameter.name)
            if isinstance(value, str) and not isinstance(parameter.type, click.Path):
                parameter.type.convert(value, parameter, None)


def test_nearly_right_command(run):
    """A misspelt command names the one that was meant, and is a usage error."""
    result = run("trian")
    assert result.exit_code == 2
    assert "did you mean train?" in result.stderr


def test_nearly_right_option(run):
    """So does a misspelt option."""
    result = run("train", "--setps", "3")
    assert result.exit_code == 2
    assert "did you mean --steps?" in result.stderr
    assert "Try hipgpt train --help." in result.stderr


def test_underscores_are_hyphens(run):
    """--num_tokens and --num-tokens are one option."""
    for spelling in ("--num_tokens", "--num-tokens"):
        result = run("generate", spelling, "0", "--prompt", "x")
        assert "--num-tokens" in result.stderr
        assert "at least 1" in result.stderr


@pytest.mark.parametrize("columns", [40, 60, 70])
def test_help_fits_the_terminal(process, monkeypatch, columns):
    """No line of help is longer than the terminal is wide, but for examples to be copied."""
    monkeypatch.setenv("COLUMNS", str(columns))
    text = process("train", "--help", text=True).communicate()[0].partition("Examples:")[0]
    assert columns - 10 < max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize("columns", [40, 80])
def test_the_greeting_fits_the_terminal(process, monkeypatch, columns):
    """So is the greeting."""
    monkeypatch.setenv("COLUMNS", str(columns))
    text = process(text=True).communicate()[0]
    assert max(map(len, text.splitlines())) <= columns


def test_completion_knows_commands_options_and_runs(process, monkeypatch, tmp_path):
    """What the shell's script asks for."""

    def completed(words, place):
        monkeypatch.setenv("_HIPGPT_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(place))
        return process(text=True).communicate()[0].splitlines()

    (tmp_path / "a-run").mkdir()
    (tmp_path / "a-run" / "config.json").write_text("{}")
    assert completed("hipgpt tr", 1) == ["plain,train"]
    assert "plain,verify" in completed("hipgpt data ", 2)
    assert completed("hipgpt train --ste", 2) == ["plain,--steps"]
    words = f"hipgpt generate --runs-dir {tmp_path} --run a"
    assert completed(words, 5) == ["plain,a-run"]
    (tmp_path / "runs" / "a-run").mkdir(parents=True)
    (tmp_path / "runs" / "a-run" / "config.json").write_text("{}")
    for words, place in (("hipgpt plot a", 2), ("hipgpt checkpoint show a", 3),
                         ("hipgpt train --init-from a", 3)):  # fmt: skip
        assert completed(words, place) == ["file,a", "plain,a-run"]
    assert completed("hipgpt train --data sh", 3) == ["file,sh", "plain,shakespeare"]
    assert completed("hipgpt train --activation gelu_", 3) == ["plain,gelu_erf"]
    assert completed("hipgpt train --tokenizer-path to", 3) == ["file,to"]


def test_completion_says_what_to_put_where(run, monkeypatch):
    """For the shell that is in use, or for all."""
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert run("completion").output.startswith("For zsh, put this line into ~/.zshrc:")
    monkeypatch.setenv("SHELL", "")
    assert run("completion").output.count("put this line into") == 3
    assert "_HIPGPT_COMPLETE=fish_complete" in run("completion", "fish").output


def test_modules_run_as_a_program():
    """`python -m hipgpt_cli` works, and a wrong command is a usage error."""
    done = subprocess.run(
        [sys.executable, "-m", "hipgpt_cli", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: no such command: nonsense")


def test_a_character_that_the_output_cannot_show(process, monkeypatch):
    """Output in a small character set loses a character, not the program."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii:strict")
    made = process("info", "--dim", "64")
    out, errors = made.communicate(timeout=60)
    assert made.returncode == 0, errors
    assert b"V?E" in out
