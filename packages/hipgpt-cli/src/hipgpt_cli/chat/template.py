r"""How one turn of a dialogue is written in the transcript that the model continues.

The odd thing: one string says everything. "{you}: {text}\n{they}:" tells how a turn begins, how it
ends, and, by what stands before {text}, at which string the model's answer is over.
"""

from __future__ import annotations

from dataclasses import dataclass

from hipgpt_cli.errors import UserError

NAMED = {
    "dialogue": "{you}: {text}\n{they}:",
    "script": "{you}:\n{text}\n\n{they}:\n",
    "plain": "{text}",
}


@dataclass(frozen=True)
class Template:
    r"""A way to write turns.

    Args:
        turn: what is written for a turn: {text} is what was typed, {you} and {they} are names.
        you: the name of who types.
        they: the name that the model writes for.

    Raises:
        UserError: {text} is missing, or there twice.

    Example:
        >>> template = Template(NAMED["dialogue"])
        >>> template.write("Hello."), template.stop
        ('User: Hello.\nAssistant:', '\nUser:')
    """

    turn: str
    you: str = "User"
    they: str = "Assistant"

    def __post_init__(self) -> None:
        if self.turn.count("{text}") != 1:
            raise UserError(
                f"a template has {{text}} in it once, where what you type belongs; got "
                f"{self.turn!r}, and not one of {', '.join(NAMED)}"
            )

    @classmethod
    def named(cls, name: str, you: str, they: str) -> Template:
        r"""The template of a name, or one that is written out with \n for a new line."""
        return cls(NAMED.get(name) or name.replace("\\n", "\n"), you, they)

    def write(self, text: str) -> str:
        """A turn up to where the model's answer begins."""
        before, after = map(self._fill, self.turn.split("{text}"))
        return before + text + after

    @property
    def stop(self) -> str | None:
        """What ends an answer: the beginning of the next turn; None: only the model does."""
        opening = self._fill(self.turn.partition("{text}")[0]).strip()
        return f"\n{opening}" if opening else None

    @property
    def separator(self) -> str:
        """What stands between an answer and the next turn."""
        if self.stop is None:
            return ""
        return "\n\n" if "\n\n" in self.turn else "\n"

    def _fill(self, part: str) -> str:
        return part.replace("{you}", self.you).replace("{they}", self.they)
