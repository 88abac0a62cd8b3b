"""Sums of gradients over the ranks, and copies of updated weights to all of them.

With ZeRO stage 1 a piece's owner gets the sum of it and spreads its weights afterwards: together as
many bytes as one all-reduce, with the optimizer's memory and time divided by the number of ranks.
Without it every rank gets every sum. The odd thing: the CPU's sums are made by hand, each part by
its owner, in the order of the ranks and in float64, so that they are the same bits in every run,
which MPI's own reductions do not promise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Array, Backend
    from hipgpt_model.distributed.layout import Bucket, Layout
    from hipgpt_model.distributed.world import World


class Exchange(ABC):
    """How the ranks of a job exchange numbers of their flat buffers.

    Attributes:
        world: the ranks.
        layout: who owns what.
        zero: ZeRO stage: 1 shares the optimizer out, 0 lets every rank do all of it.
    """

    def __init__(self, world: World, layout: Layout, zero: int) -> None:
        self.world = world
        self.layout = layout
        self.zero = zero

    @abstractmethod
    def sum_gradients(self, gradients: Array, bucket: Bucket) -> None:
        """A bucket is finished here: begin to sum it over the ranks, which all do so in order."""

    @abstractmethod
    def settle(self) -> None:
        """What follows on the backend sees all sums that were begun."""

    @abstractmethod
    def spread(self, buffer: Array) -> None:
        """Every rank gets all of a flat buffer from the owners of its parts."""

    @abstractmethod
    def gather(self, numbers: Array) -> None:
        """numbers (size,): element r becomes that of rank r, on every rank."""

    @abstractmethod
    def close(self) -> None:
        """Leave the job, when all is done."""


class MpiExchange(Exchange):
    """For arrays of NumPy's: by MPI, each call done when it returns."""

    def sum_gradients(self, gradients: np.ndarray, bucket: Bucket) -> None:
        """See `Exchange.sum_gradients`."""
        rank, size = self.world.rank, self.world.size
        for piece in bucket.pieces:
            whole = gradients[piece.start : piece.stop]
            own = gradients[piece.part(rank)]
            received = np.empty((size, own.size), np.float32)
            self.world.chunked(whole, piece.counts, received, [own.size] * size)
            own[...] = _ordered_sum(received)
            if self.zero == 0:
                self.world.gathered(own.copy(), whole, piece.counts)

    def settle(self) -> None:
        """See `Exchange.settle`."""

    def spread(self, buffer: np.ndarray) -> None:
        """See `Exchange.spread`."""
        for bucket in self.layout.buckets:
            for piece in bucket.pieces:
                own = buffer[piece.part(self.world.rank)].copy()
                self.world.gathered(own, buffer[piece.start : piece.stop], piece.counts)

    def gather(self, numbers: np.ndarray) -> None:
        """See `Exchange.gather`."""
        own = numbers[self.world.rank : self.world.rank + 1].copy()
        self.world.gathered(own, numbers, [1] * self.world.size)

    def close(self) -> None:
        """See `Exchange.close`. MPI itself ends with the process."""


def _ordered_sum(rows: np.ndarray) -> np.ndarray:
    """The sum over the rows (size, n), one after the other, in float64."""
    total = rows[0].astype(np.float64)
    for row in rows[1:]:
        total += row
    return total.astype(np.float32)


class RcclExchange(Exchange):
    """For arrays of GPUs: by RCCL, on a stream beside the backend's.

    A bucket is summed while the backward pass goes on; `settle` makes the backend's stream wait.
    """

    def __init__(self, world: World, layout: Layout, zero: int, backend: Backend) -> None:
        super().__init__(world, layout, zero)
        from hipgpt_kernels.hip.collective import Communicator, unique_id
        from hipgpt_kernels.hip.driver import Event, Stream

        hip: Any = backend
        self._compute = hip.stream
        self._stream = Stream(hip.device)
        self._event = Event(timing=False)
        unique = world.share(unique_id(hip.device) if world.leads else None)
        self._ranks = Communicator(hip.device, world.size, world.rank, unique)

    def sum_gradients(self, gradients: Array, bucket: Bucket) -> None:
        """See `Exchange.sum_gradients`."""
        self._follow(self._stream, self._compute)
        with self._ranks.group():
            for piece in bucket.pieces:
                whole = gradients[piece.start : piece.stop]
                if self.zero == 0:
                    self._ranks.all_reduce(whole, self._stream)
                elif piece.even:
                    self._ranks.reduce_scatter(whole, self._stream)
                else:
                    for rank in range(self.world.size):
                        part = gradients[piece.part(rank)]
                        if part.size:
                            self._ranks.reduce(part, rank, self._stream)

    def settle(self) -> None:
        """See `Exchange.settle`."""
        self._follow(self._compute, self._stream)

    def spread(self, buffer: Array) -> None:
        """See `Exchange.spread`."""
        with self._ranks.group():
            for bucket in self.layout.buckets:
                for piece in bucket.pieces:
                    if piece.even:
                        self._ranks.all_gather(buffer[piece.start : piece.stop], self._compute)
                        continue
                    for rank in range(self.world.size):
                        part = buffer[piece.part(rank)]
                        if part.size:
                            self._ranks.broadcast(part, rank, self._compute)

    def gather(self, numbers: Array) -> None:
        """See `Exchange.gather`."""
        self._ranks.all_gather(numbers, self._compute)

    def close(self) -> None:
        """See `Exchange.close`."""
        self._ranks.close()

    def _follow(self, later: Any, earlier: Any) -> None:
        """What `later` is given from now on waits for what `earlier` was given so far."""
        self._event.record(earlier)
        later.wait(self._event)


def exchange_for(world: World, layout: Layout, zero: int, backend: Backend) -> Exchange:
    """The exchange that fits a backend's arrays."""
    if isinstance(backend.empty((1,)), np.ndarray):
        return MpiExchange(world, layout, zero)
    return RcclExchange(world, layout, zero, backend)
