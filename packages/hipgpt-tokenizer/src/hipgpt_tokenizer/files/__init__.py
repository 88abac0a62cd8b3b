"""Readers and writers of tokenizer files, one module a format; none imports another's format.

Odd thing: a reader returns a `Model` and raises `TokenizerFileError`, whose message begins with
the path; the checks that no format owns are the model's.
"""

from __future__ import annotations
