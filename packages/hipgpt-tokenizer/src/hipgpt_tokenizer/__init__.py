"""Byte-level BPE in pure Python: train, encode, decode, and the files other programs use.

Odd thing: importing this costs a few milliseconds only; what reads files, trains or starts
processes is imported when it is first used.
"""

from __future__ import annotations

from .blocks import text_blocks
from .errors import TokenizerFileError
from .stream import StreamDecoder
from .tokenizer import Tokenizer

__version__ = "0.1.0"

__all__ = ["StreamDecoder", "Tokenizer", "TokenizerFileError", "__version__", "text_blocks"]
