"""Decode ids one at a time, as a model produces them, without ever showing half a character.

Odd thing: a character may be spread over several tokens, so `feed` often returns "" and
later more than one token's worth.
"""

from __future__ import annotations

import codecs

TYPE_CHECKING = False  # importing typing would cost half of the import time
if TYPE_CHECKING:
    from collections.abc import Callable


class StreamDecoder:
    r"""Turns ids into text as they come; made by `Tokenizer.stream`.

    The texts from `feed` and `flush`, joined, are what `decode` gives for all ids at once.

    >>> stream = StreamDecoder({0: b"caf", 1: b"\xc3", 2: b"\xa9"}.__getitem__)
    >>> [stream.feed(0), stream.feed(1), stream.feed(2), stream.flush()]
    ['caf', '', 'é', '']
    """

    def __init__(self, token_bytes: Callable[[int], bytes], errors: str = "replace") -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors)

    def feed(self, id_: int) -> str:
        """Take one id and return the characters that are complete now."""
        return self._decoder.decode(self._token_bytes(id_))

    def flush(self) -> str:
        """Return what an unfinished character leaves (U+FFFD with "replace") and start afresh."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
