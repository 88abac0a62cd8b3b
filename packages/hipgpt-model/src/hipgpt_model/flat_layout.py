"""Where each tensor of a model lies in a flat buffer: aligned, the decayed ones first.

The odd thing: all tensors of a kind lie in one array, so that an optimizer step is one call and a
gradient norm is one. Of several processes each may own a part of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hipgpt_model.parameter_specs import parameter_table

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Array
    from hipgpt_model.config import GPTConfig
    from hipgpt_model.parameter_specs import ParameterSpec


ALIGNMENT = 64
"""Elements: every tensor starts on a multiple of 256 bytes, enough for the widest vector load."""
OF_IDS = ("token_embedding", "output.weight", "output.bias")
"""Tensors with one row an id."""


def padded_rows(spec: ParameterSpec, multiple: int) -> int:
    """Rows of a tensor with those that are there for a backend's sake; see `Parameters.padded`."""
    rows = spec.shape[0]
    return -(-rows // multiple) * multiple if spec.name in OF_IDS else rows


def room(spec: ParameterSpec, multiple: int = 1) -> int:
    """Elements that a tensor takes in a flat buffer."""
    elements = padded_rows(spec, multiple) * math.prod(spec.shape[1:])
    return -(-elements // ALIGNMENT) * ALIGNMENT


class FlatLayout:
    """Where each tensor lies in a flat buffer: the decayed ones first, each at an aligned place.

    Attributes:
        config: the model's configuration.
        column_multiple: tensors of one row an id have room for a multiple of so many rows; that of
            the backend (`Backend.column_multiple`).
        table: one `ParameterSpec` a tensor.
        decayed: the part of each buffer that weight decay applies to.
        undecayed: the rest.
        size: elements of each buffer.
    """

    def __init__(self, config: GPTConfig, column_multiple: int = 1) -> None:
        self.config = config
        self.table = parameter_table(config)
        self.column_multiple = column_multiple
        self._specs = {spec.name: spec for spec in self.table}
        self._offsets: dict[str, int] = {}

        offset = 0
        for spec in [spec for spec in self.table if spec.decay]:
            self._offsets[spec.name] = offset
            offset += room(spec, column_multiple)
        self.decayed = slice(0, offset)
        for spec in [spec for spec in self.table if not spec.decay]:
            self._offsets[spec.name] = offset
            offset += room(spec, column_multiple)
        self.undecayed = slice(self.decayed.stop, offset)
        self.size = offset

    def names(self) -> list[str]:
        """The tensors' names, in the order of the table."""
        return [spec.name for spec in self.table]

    def span(self, name: str) -> tuple[int, int]:
        """Where a tensor and its padding lie in the flat buffers: (first, after the last)."""
        offset = self._offsets[name]
        return offset, offset + room(self._specs[name], self.column_multiple)

    def view(self, buffer: Array, name: str) -> Array:
        """The part of a flat buffer that belongs to a tensor, in its shape."""
        offset = self._offsets[name]
        spec = self._specs[name]
        return buffer[offset : offset + spec.size].reshape(spec.shape)

    def padded(self, buffer: Array, name: str) -> Array:
        """As `view`, with further rows of zeros up to a multiple of `column_multiple`.

        For the tensors whose rows belong to ids: the products with them are fastest so.
        """
        spec = self._specs[name]
        rows = padded_rows(spec, self.column_multiple)
        offset, shape = self._offsets[name], (rows, *spec.shape[1:])
        return buffer[offset : offset + math.prod(shape)].reshape(shape)

    def __contains__(self, name: object) -> bool:
        return name in self._specs


@dataclass(frozen=True)
class Own:
    """A part of the flat buffers that one of several processes owns.

    Attributes:
        flat: where in the flat buffers.
        local: where in the buffers that hold nothing but what the process owns.
        decay: whether weight decay applies.
    """

    flat: slice
    local: slice
    decay: bool
