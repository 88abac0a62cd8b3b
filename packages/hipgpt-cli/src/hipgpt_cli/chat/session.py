"""The loop of `hipgpt chat`: a line is a command, or a turn that the model answers.

The odd thing: Ctrl-C while the model writes ends the answer, not the program, and what had been
written by then stays in the transcript.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hipgpt_cli import human, say
from hipgpt_cli.chat.template import Template
from hipgpt_cli.errors import UserError, describe
from hipgpt_cli.files import write_text
from hipgpt_cli.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_cli.chat.transcript import Transcript
    from hipgpt_model.generate import SamplingConfig
    from hipgpt_model.gpt import GPT
    from hipgpt_tokenizer import Tokenizer

SETTINGS = {
    "temp": "temperature",
    "top-k": "top_k",
    "top-p": "top_p",
    "min-p": "min_p",
    "repetition-penalty": "repetition_penalty",
    "num-tokens": "num_tokens",
    "seed": "seed",
}
"""What /set can set, named as the options are -> the field of SamplingConfig."""

HELP = {
    "/help": "this list",
    "/reset": "forget the dialogue",
    "/undo": "take back the last turn",
    "/retry": "have the last turn answered again",
    "/set [NAME VALUE]": f"show or change {', '.join(SETTINGS)}",
    "/system [TEXT]": "text before the first turn, which is never left out; without TEXT none",
    "/template [NAME]": "how turns are written: dialogue, script, plain or your own with {text}",
    "/show": "the transcript as the model reads it",
    "/save FILE": "write the transcript to a new file",
    "/exit": "end, as Ctrl-D does",
}


@dataclass
class Chat:
    """A dialogue with one model.

    Attributes:
        transcript: what was said.
        sampling: how tokens are chosen; answer i has the seed + i.
        stops: strings that end an answer, beside the template's own.
        answered: answers so far.
    """

    model: GPT
    tokenizer: Tokenizer
    transcript: Transcript
    sampling: SamplingConfig
    stops: tuple[str, ...] = ()
    answered: int = 0

    def run(self, ask: Callable[[str], str | None]) -> None:
        """Ask for lines and answer them until there are no more."""
        while (line := ask(f"{self.transcript.template.you}> ")) is not None:
            if not line.strip():
                continue
            try:
                if not self.take(line):
                    return
            except (click.ClickException, ValueError, OSError) as error:
                say.line(describe(error)[0], err=True)

    def take(self, line: str) -> bool:
        """One line; False: it asks to end."""
        if not line.startswith("/"):
            self._answer(line)
        elif line.startswith("//"):  # a turn that begins with a slash
            self._answer(line[1:])
        else:
            word, _, rest = line.partition(" ")
            if word in {"/exit", "/quit"}:
                return False
            self._command(word, rest.strip())
        return True

    def _answer(self, said: str) -> None:
        S = self.model.config.max_seq_len
        room = max(S - self.sampling.num_tokens, S // 2)
        prompt, left_out = self.transcript.prompt(said, self._count, room)
        if left_out:
            say.line(say.dim(f"(the model does not see the first {left_out} turns)"), err=True)
        sampling = replace(self.sampling, seed=(self.sampling.seed + self.answered) % 2**64)
        self.answered += 1
        stop = self.transcript.template.stop
        stops = self.stops if stop is None else (stop, *self.stops)
        writer = Writer(self.model, self.tokenizer, prompt, sampling, stops)
        answer = ""
        try:
            for text in writer:
                # The space after "Assistant:" is the transcript's, not the reader's.
                say.piece(text if answer.strip() else text.lstrip())
                answer += text
        except KeyboardInterrupt:
            say.piece(" …")
        say.line()
        speed = writer.tokens / writer.total_s if writer.total_s else 0.0
        if say.is_terminal("stderr"):
            took = human.duration(writer.total_s)
            say.line(say.dim(f"{writer.tokens} tokens, {took}, {speed:.0f} tokens/s"), err=True)
        self.transcript.turns.append((said, answer))

    def _count(self, text: str) -> int:
        return len(self.tokenizer.encode(text, allowed_special="all"))

    # --- commands ---------------------------------------------------------------------------------

    def _command(self, word: str, rest: str) -> None:
        commands = {
            "/help": self._help,
            "/reset": self._reset,
            "/undo": self._undo,
            "/retry": self._retry,
            "/set": self._set,
            "/system": self._system,
            "/template": self._template,
            "/show": self._show,
            "/save": self._save,
        }
        if word not in commands:
            raise UserError(f"there is no {word}; /help lists what there is, // begins a turn")
        commands[word](rest)

    def _help(self, _: str) -> None:
        for usage, meaning in HELP.items():
            say.fact(usage, meaning, err=True, width=20)

    def _reset(self, _: str) -> None:
        self.transcript.turns.clear()
        say.line("The dialogue is forgotten.", err=True)

    def _undo(self, _: str) -> None:
        if not self.transcript.turns:
            raise UserError("there is no turn to take back")
        said, _answer = self.transcript.turns.pop()
        say.line(f"Taken back: {said}", err=True)

    def _retry(self, _: str) -> None:
        if not self.transcript.turns:
            raise UserError("there is no turn to answer again")
        said, _answer = self.transcript.turns.pop()
        self._answer(said)

    def _set(self, rest: str) -> None:
        words = rest.split()
        if len(words) == 2 and words[0].replace("_", "-") in SETTINGS:
            self._change(words[0].replace("_", "-"), words[1])
        elif words:
            raise UserError(f"/set takes a name and a value; names are {', '.join(SETTINGS)}")
        shown = [f"{name} {getattr(self.sampling, field)}" for name, field in SETTINGS.items()]
        say.line(", ".join(shown), err=True)

    def _change(self, name: str, value: str) -> None:
        types = {field.name: field.type for field in fields(self.sampling)}
        kind = int if types[SETTINGS[name]] == "int" else float
        try:
            number = kind(value)
        except ValueError:
            wanted = "whole number" if kind is int else "number"
            raise UserError(f"{name} is a {wanted}; got {value!r}") from None
        if name == "num-tokens" and number < 1:
            raise UserError(f"num-tokens must be at least 1; got {value}")
        changed: dict[str, Any] = {SETTINGS[name]: number}
        self.sampling = replace(self.sampling, **changed)

    def _system(self, rest: str) -> None:
        self.transcript.system = rest
        said = "The dialogue now begins with this text." if rest else "No text before the dialogue."
        say.line(said, err=True)

    def _template(self, rest: str) -> None:
        before = self.transcript.template
        if rest:
            self.transcript.template = Template.named(rest, before.you, before.they)
        say.line(repr(self.transcript.template.turn), err=True)

    def _show(self, _: str) -> None:
        say.quoted(self.transcript.text() or "(nothing yet)")

    def _save(self, rest: str) -> None:
        if not rest:
            raise UserError("/save takes the name of a file")
        path = Path(rest).expanduser()
        if path.exists():
            raise UserError(f"{path} exists; choose another name")
        write_text(path, self.transcript.text() + "\n")
        say.line(f"Saved in {path}.", err=True)
