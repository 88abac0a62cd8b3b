"""Turn spelled tokens and merges ("Ġ" "t") into the model's bytes and ids.

Odd thing: a token that no merge makes and that is no single byte is taken for a special one
where the format, like GPT-2's two files, does not say which are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_tokenizer.byte_symbols import unspell
from hipgpt_tokenizer.model import encode_utf8

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


def merge_ids(
    pairs: Sequence[tuple[str, str]], ids: Mapping[str, int], where: str
) -> list[tuple[int, int, int]]:
    """Return merges as (left, right, result) ids; each part and result must be a token.

    >>> merge_ids([("a", "b")], {"a": 0, "b": 1, "ab": 2}, "merges")
    [(0, 1, 2)]
    """
    merges = []
    seen: dict[tuple[str, str], int] = {}
    for rank, pair in enumerate(pairs):
        left, right = pair
        for name in (left, right, left + right):
            if name not in ids:
                raise ValueError(
                    f"{where}[{rank}] is {left!r} {right!r}, but {name!r} is not in the vocabulary"
                )
        if pair in seen:
            raise ValueError(f"{where}[{rank}] repeats {where}[{seen[pair]}], {left!r} {right!r}")
        seen[pair] = rank
        merges.append((ids[left], ids[right], ids[left + right]))
    return merges


def token_bytes(tokens: Sequence[str], special: Collection[str], where: str) -> list[bytes]:
    """Return the bytes of each token: special ones are text, others are spelled in symbols.

    >>> token_bytes(["Ġa", "<|a|>"], {"<|a|>"}, "vocab")
    [b' a', b'<|a|>']
    """
    found = []
    for id_, token in enumerate(tokens):
        if token in special:
            found.append(encode_utf8(token))
            continue
        try:
            found.append(unspell(token))
        except KeyError as error:
            raise ValueError(
                f"{where}: token {token!r} (id {id_}) has the character {error.args[0]!r}, "
                "which stands for no byte; it is no byte-level vocabulary, or the token is a "
                "special one that is not listed as such"
            ) from None
    return found


def unexplained(tokens: Sequence[str], merges: Sequence[tuple[int, int, int]]) -> list[str]:
    """Return the tokens that are neither a byte nor the result of a merge.

    >>> unexplained(["a", "b", "ab", "<|a|>"], [(0, 1, 2)])
    ['<|a|>']
    """
    made = {result for _, _, result in merges}
    return [
        token
        for id_, token in enumerate(tokens)
        if id_ not in made and not (len(token) == 1 and _is_symbol(token))
    ]


def check_special(
    special: Collection[str], tokens: Sequence[str], merges: Sequence[tuple[int, int, int]]
) -> None:
    """Refuse a special token that text needs: a byte, or the result of a merge.

    >>> check_special(["<|a|>"], ["a", "<|a|>"], [])
    """
    free = set(unexplained(tokens, merges)) if special else set()
    for text in special:
        if text not in free:
            raise ValueError(
                f"special token {text!r} is also the spelling of an ordinary token; "
                "one of the two must go"
            )


def _is_symbol(character: str) -> bool:
    try:
        unspell(character)
    except KeyError:
        return False
    return True
