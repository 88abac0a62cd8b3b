"""Tokens made visible: each on a background of its own, or between bars where there is no colour.

The odd thing: white space is drawn as signs (· ⏎ ⇥), because the spaces that belong to a token are
what one looks for; a newline is drawn and then also made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

_BACKGROUNDS = (24, 52, 22, 54, 94, 23)
"""Dark backgrounds of the 256 colours, far enough apart that neighbours never look alike."""

_SIGNS = str.maketrans({" ": "·", "\n": "⏎", "\r": "␍", "\t": "⇥"})


def paint(tokens: Iterable[bytes], *, color: bool) -> str:
    r"""Tokens in a row, each visibly one.

    Args:
        tokens: bytes of each token, which may hold a part of a character only.
        color: with colours; else with a bar after each token.

    >>> paint([b"To", b" be", b"\n", b"\xc3"], color=False)
    'To|·be|⏎|\n<C3>|'
    """
    painted = []
    for number, token in enumerate(tokens):
        shown = visible(token)
        if color:
            background = _BACKGROUNDS[number % len(_BACKGROUNDS)]
            shown = click.style(shown, fg=15, bg=background)
        else:
            shown += "|"
        painted.append(shown + ("\n" if token.endswith(b"\n") else ""))
    return "".join(painted)


def visible(token: bytes) -> str:
    r"""A token's text with its white space as signs, and bytes that are no text as <C3>.

    >>> visible(b" the\n"), visible(b"\xc3")
    ('·the⏎', '<C3>')
    """
    text = token.decode("utf-8", "surrogateescape").translate(_SIGNS)
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"<{code - 0xDC00:02X}>"
    return character if character.isprintable() else f"<U+{code:04X}>"
