"""Read a tokenizer.json of either kind, told apart by its keys.

Odd thing: the old C++ HipGPT used the same file name for a format of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import disk, huggingface, legacy

if TYPE_CHECKING:
    from hipgpt_tokenizer.model import Model


def read(path: disk.PathLike) -> Model:
    """Read Hugging Face's format, or the old one if its keys are there."""
    with disk.naming(path):
        document = disk.expect(disk.read_json(path), dict, "the file")
        if legacy.FIELDS & document.keys():
            return legacy.parse(document)
        if "model" not in document and document and all(type(v) is int for v in document.values()):
            raise ValueError(
                "model is missing; this looks like GPT-2's vocab.json, which Tokenizer.from_gpt2 "
                "reads together with merges.txt"
            )
        return huggingface.parse(document)


def read_legacy(path: disk.PathLike) -> Model:
    """Read the old format and nothing else."""
    with disk.naming(path):
        return legacy.parse(disk.expect(disk.read_json(path), dict, "the file"))
