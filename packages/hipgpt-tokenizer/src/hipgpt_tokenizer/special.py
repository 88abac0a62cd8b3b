"""Special tokens in a text: refused unless allowed, so that no user can smuggle one in.

Odd thing: where two special tokens begin at the same place, the longer one is taken, as
Hugging Face does; tiktoken leaves that case to chance.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from collections.abc import Set as AbstractSet

ALL = "all"


def choose(
    special: Mapping[str, int],
    allowed: str | AbstractSet[str],
    disallowed: str | Collection[str],
) -> tuple[frozenset[str], frozenset[str]]:
    """Return which texts are to become special tokens and which are refused.

    >>> choose({"<|a|>": 9}, set(), "all")
    (frozenset(), frozenset({'<|a|>'}))
    """
    names = frozenset(special)
    if isinstance(allowed, str):
        if allowed != ALL:
            raise ValueError(f'allowed_special is {allowed!r}, expected "all" or a set of texts')
        allow = names
    else:
        allow = frozenset(allowed)
        if not allow <= names:
            unknown = min(allow - names)
            raise ValueError(
                f"allowed_special has {unknown!r}, which is no special token of this tokenizer; "
                f"it has {', '.join(map(repr, special)) or 'none'}"
            )
    if isinstance(disallowed, str):
        if disallowed != ALL:
            raise ValueError(
                f'disallowed_special is {disallowed!r}, expected "all" or a set of texts'
            )
        return allow, names - allow
    return allow, frozenset(disallowed) - allow


def refuse(text: str, disallowed: frozenset[str]) -> None:
    """Raise ValueError if a text has one of the disallowed ones in it.

    >>> refuse("plain", frozenset({"<|a|>"}))
    """
    for name in disallowed:
        place = text.find(name)
        if place >= 0:
            raise ValueError(
                f"text has the special token {name!r} at character {place}; to encode it as one, "
                f"pass allowed_special={{{name!r}}}; to encode it as ordinary text, "
                "pass disallowed_special=()"
            )


def finder(names: Collection[str]) -> re.Pattern[str] | None:
    """Return an expression that finds the leftmost, longest of these texts; None for none.

    >>> finder({"<a>", "<a><b>"}).findall("<a><a><b>")
    ['<a>', '<a><b>']
    """
    if not names:
        return None
    return re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)))
