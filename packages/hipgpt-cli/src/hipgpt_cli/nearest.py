"""The nearest to what was mistyped: of a choice, a file, a run, an option or a command.

The odd thing: the choices are told as they are written in `--help`; click would tell them with each
underscore turned into a hyphen, because options may be typed either way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from click.shell_completion import CompletionItem


def meant(typed: str, known: Iterable[str], most: int = 1) -> str:
    """The end of a sentence that names what was probably meant; "" where nothing is near.

    Args:
        typed: what is not known.
        known: what is.
        most: how many to name.

    Example:
        >>> meant("tny", ["small", "tiny"])
        '; did you mean tiny?'
    """
    from difflib import get_close_matches

    near = get_close_matches(typed, list(known), most)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def meant_file(path: str | Path) -> str:
    """As `meant`, for a path: the nearest name in its folder, or in the nearest folder there is."""
    from pathlib import Path

    path = Path(path)
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        return ""
    sentence = meant(path.name, names)
    return sentence.replace("mean ", f"mean {path.parent}/") if path.parent.name else sentence


class Choice(click.Choice):  # type: ignore[type-arg]
    """One of some words.

    Args:
        choices: the words.
        other_names: what other programs call them.
    """

    def __init__(
        self, choices: Sequence[str], other_names: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(choices)
        self.other_names = dict(other_names or {})

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The word, or a usage error that names the nearest one."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            other = self.other_names.get(str(value))
            near = f"; did you mean {other}?" if other else meant(str(value), self.choices)
            words = " or ".join(filter(None, [", ".join(self.choices[:-1]), self.choices[-1]]))
            self.fail(f"{value!r} is not {words}{near}", param, ctx)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """The words that begin so."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in self.choices if word.startswith(incomplete)]


class Existing(click.Path):
    """A path at which there is something, as `click.Path(exists=True)`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(exists=True, **kwargs)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or a usage error that names the nearest one."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message.rstrip('.')}{meant_file(value)}", param, ctx)
