"""What is wrong with another program's file, or with our model as that program sees it."""

from __future__ import annotations


class InteropError(ValueError):
    """A file that cannot be read, or a model that a format cannot express: why, in one sentence."""
