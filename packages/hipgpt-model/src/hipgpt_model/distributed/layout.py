"""Which part of the flat buffers is summed when, and which rank owns what of it.

The backward pass finishes the gradients block by block, from the head to the embedding. Blocks are
put together into buckets, so that each is large enough to be worth sending while the next is still
computed. Each piece of a bucket is cut into one part a rank: its owner sums it, keeps its moments
and updates it. The odd thing: a rank's parts lie all over the buffers, so its own moments lie one
behind the other in `local` order, which is that of the buckets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hipgpt_model.flat_layout import ALIGNMENT, FlatLayout, Own

if TYPE_CHECKING:
    from hipgpt_model.config import GPTConfig

BUCKET_BYTES = 25 << 20
"""Gradients of a bucket at least: below some ten megabytes a network's latency shows."""


@dataclass(frozen=True)
class Piece:
    """A stretch of the flat buffers, all of it decayed or none of it, cut into parts by rank.

    Attributes:
        start: first element.
        stop: after the last.
        decay: whether weight decay applies to it.
        borders: size + 1 numbers; rank r owns borders[r] … borders[r + 1].
    """

    start: int
    stop: int
    decay: bool
    borders: tuple[int, ...]

    def part(self, rank: int) -> slice:
        """What a rank owns of it."""
        return slice(self.borders[rank], self.borders[rank + 1])

    @property
    def counts(self) -> list[int]:
        """How many elements each rank owns."""
        return [stop - start for start, stop in zip(self.borders, self.borders[1:], strict=False)]

    @property
    def even(self) -> bool:
        """Has every rank the same number of elements?"""
        return len(set(self.counts)) == 1


@dataclass(frozen=True)
class Bucket:
    """Gradients that are finished at the same time.

    Attributes:
        stage: the backward stage after which they are: L for the head, i for block i, −1 for the
            embedding.
        pieces: where they are; at most one decayed and one not.
    """

    stage: int
    pieces: tuple[Piece, ...]


class Layout:
    """How the flat buffers of a model are shared out.

    Args:
        config: of the model.
        size: number of ranks.
        bucket_bytes: gradients of a bucket at least; 0: every block has its own.
        column_multiple: of the parameters, as `FlatLayout`.

    Attributes:
        buckets: in the order in which the backward pass finishes them; together they cover the
            buffers, each element once.
    """

    def __init__(
        self,
        config: GPTConfig,
        size: int,
        bucket_bytes: int = BUCKET_BYTES,
        *,
        column_multiple: int = 1,
    ) -> None:
        self.size = size
        parameters = FlatLayout(config, column_multiple)
        self.buckets: list[Bucket] = []
        waiting: list[str] = []
        L = parameters.config.num_layers
        for stage in range(L, -2, -1):
            waiting += names_of_stage(parameters, stage)
            pieces = self._pieces(parameters, waiting)
            if stage == -1 or sum(4 * (p.stop - p.start) for p in pieces) >= bucket_bytes:
                if pieces:
                    self.buckets.append(Bucket(stage, pieces))
                waiting = []

    def _pieces(self, parameters: FlatLayout, names: list[str]) -> tuple[Piece, ...]:
        """The stretches that tensors cover."""
        spans = sorted(parameters.span(name) for name in names)
        joined: list[tuple[int, int]] = []
        for start, stop in spans:
            border = start == parameters.undecayed.start  # decay ends here
            if joined and joined[-1][1] == start and not border:
                joined[-1] = (joined[-1][0], stop)
            else:
                joined.append((start, stop))
        return tuple(
            Piece(start, stop, start < parameters.decayed.stop, cut(start, stop, self.size))
            for start, stop in joined
        )

    def own(self, rank: int) -> list[Own]:
        """What a rank owns, in the order of its own buffers."""
        parts: list[Own] = []
        at = 0
        for bucket in self.buckets:
            for piece in bucket.pieces:
                flat = piece.part(rank)
                length = flat.stop - flat.start
                if length:
                    parts.append(Own(flat, slice(at, at + length), piece.decay))
                    at += length
        return parts

    def own_size(self, rank: int) -> int:
        """Elements of a rank's own buffers."""
        return sum(part.flat.stop - part.flat.start for part in self.own(rank))


def names_of_stage(parameters: FlatLayout, stage: int) -> list[str]:
    """The tensors whose gradients are finished by a stage of the backward pass.

    A tied embedding is finished last, for the head has only added its share to it.
    """
    L = parameters.config.num_layers
    if stage == L:
        return [n for n in parameters.names() if n.startswith(("final_norm.", "output."))]
    if stage == -1:
        return ["token_embedding", "position_embedding"]
    return [name for name in parameters.names() if name.startswith(f"blocks.{stage}.")]


def cut(start: int, stop: int, size: int) -> tuple[int, ...]:
    """Borders of `size` parts, as equal as multiples of `ALIGNMENT` allow.

    Example:
        >>> cut(0, 256, 2)
        (0, 128, 256)
        >>> cut(64, 256, 2)  # three units of 64
        (64, 128, 256)
    """
    units = (stop - start) // ALIGNMENT
    return tuple(start + ALIGNMENT * (units * rank // size) for rank in range(size + 1))
