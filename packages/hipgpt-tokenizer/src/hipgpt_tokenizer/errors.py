"""The one exception of this package that is not a plain ValueError or TypeError.

Odd thing: it is a ValueError, so code that catches ValueError around a load keeps working.
"""

from __future__ import annotations


class TokenizerFileError(ValueError):
    """A tokenizer file that cannot be used; its message names the file and the field.

    >>> issubclass(TokenizerFileError, ValueError)
    True
    """
