"""The text that the model continues: the turns of a dialogue, the oldest left out when it is long.

The odd thing: an answer is kept as the model wrote it, with the space it began with, because the
next answer depends on every character before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_cli.chat.template import Template


@dataclass
class Transcript:
    """A dialogue.

    Attributes:
        template: how a turn is written.
        system: text before the first turn; it is never left out.
        turns: (what was typed, what was answered).
    """

    template: Template
    system: str = ""
    turns: list[tuple[str, str]] = field(default_factory=list)

    def text(self, first: int = 0) -> str:
        """All turns from number `first`, answers included."""
        parts = [self.system] if self.system else []
        parts += [self.template.write(said) + answer for said, answer in self.turns[first:]]
        return self._join(parts)

    def prompt(self, said: str, count: Callable[[str], int], limit: int) -> tuple[str, int]:
        """The text whose continuation answers what is said now.

        Args:
            said: what was typed.
            count: how many tokens a text has.
            limit: the most tokens of the prompt.

        Returns:
            The prompt, and how many turns were left out for it to fit. A last turn that is too
            long by itself is given whole: the model reads its end.
        """
        turn = self.template.write(said)
        for first in range(len(self.turns)):
            before = self.text(first)
            text = self._join([before, turn]) if before else turn
            if count(text) <= limit:
                return text, first
        return self._join([self.system, turn] if self.system else [turn]), len(self.turns)

    def _join(self, parts: list[str]) -> str:
        """Parts with the separator between them, where they do not end so already."""
        separator = self.template.separator
        whole = ""
        for part in parts:
            if whole and separator:
                whole = whole.rstrip("\n") + separator
            whole += part
        return whole
