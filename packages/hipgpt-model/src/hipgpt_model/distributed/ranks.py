"""What a trainer needs of the other ranks, in one place.

The odd thing: `batch_size` is the rows of a pass over all ranks together. A run is then the same
run on any number of ranks: the same batches, the same steps, and to rounding the same losses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_model.distributed.exchange import exchange_for
from hipgpt_model.distributed.layout import BUCKET_BYTES, Layout
from hipgpt_model.distributed.optim import SharedAdamW
from hipgpt_model.optim import AdamW
from hipgpt_model.parameters import Parameters

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Array, Backend, Number
    from hipgpt_model.config import GPTConfig, TrainConfig
    from hipgpt_model.distributed.exchange import Exchange
    from hipgpt_model.distributed.watch import Watch
    from hipgpt_model.distributed.world import World
    from hipgpt_model.flat_layout import Own


class Ranks:
    """The ranks of a data-parallel training.

    Args:
        world: the processes.
        zero: ZeRO stage: 1 shares moments and float32 masters out, 0 keeps all of them everywhere.
        bucket_bytes: gradients that are sent together, at least.

    Attributes:
        world: as given.
        zero: as given.
        own: what this rank owns of the parameters that it made last.
        exchange: for those.
        watch: is told of every point where the ranks meet; None: nobody watches.

    Raises:
        ValueError: there is no such stage.
    """

    def __init__(self, world: World, zero: int = 1, bucket_bytes: int = BUCKET_BYTES) -> None:
        if zero not in (0, 1):
            raise ValueError(f"zero must be 0 or 1; got {zero}")
        self.world = world
        self.zero = zero
        self.bucket_bytes = bucket_bytes
        self.own: list[Own] = []
        self.watch: Watch | None = None

    @property
    def owners(self) -> int:
        """Among how many ranks the optimizer's memory is shared out."""
        return self.world.size if self.zero else 1

    def rows(self, batch_size: int) -> slice:
        """The rows of a batch that this rank trains on.

        Raises:
            ValueError: the ranks cannot have the same number of rows each.
        """
        size = self.world.size
        if batch_size % size:
            raise ValueError(
                f"a batch of {batch_size} rows cannot be shared out to {size} ranks; take a "
                f"multiple of {size}, such as {-(-batch_size // size) * size}"
            )
        share = batch_size // size
        return slice(self.world.rank * share, (self.world.rank + 1) * share)

    def parameters(self, config: GPTConfig, backend: Backend, dtype: str) -> Parameters:
        """Parameters for training, of which this rank keeps what it owns; every rank calls this."""
        multiple = backend.column_multiple
        layout = Layout(config, self.world.size, self.bucket_bytes, column_multiple=multiple)
        self.exchange = exchange_for(self.world, layout, self.zero, backend)
        self.own = layout.own(self.world.rank)
        self._by_stage = {bucket.stage: bucket for bucket in layout.buckets}
        own = self.own if self.zero else None
        made = Parameters(config, backend, training=True, dtype=dtype, own=own)
        made.spread = self.exchange.spread
        self._gradients = made.gradients
        return made

    def optimizer(self, parameters: Parameters, config: TrainConfig) -> AdamW:
        """What updates parameters that `parameters` made."""
        if self.zero == 0:
            return SettledAdamW(parameters, config, self.exchange)
        return SharedAdamW(parameters, config, self.exchange, self.own)

    def share(self, rows: np.ndarray) -> np.ndarray:
        """This rank's part of some rows, as equal as they can be; it may be empty."""
        return np.array_split(rows, self.world.size)[self.world.rank]

    def finished(self, stage: int) -> None:
        """A stage of the last backward pass of a step is done: sum what it has completed."""
        if self.watch is not None:
            self.watch.beat()
        bucket = self._by_stage.get(stage)
        if bucket is not None:
            self.exchange.sum_gradients(self._gradients, bucket)

    def mean(self, values: list[float]) -> list[float]:
        """The means over the ranks, which all have as many tokens."""
        return [value / self.world.size for value in self.world.sum(values)]


class SettledAdamW(AdamW):
    """AdamW on every rank, once all sums are there (ZeRO stage 0)."""

    def __init__(self, parameters: Parameters, config: TrainConfig, exchange: Exchange) -> None:
        super().__init__(parameters, config)
        self.exchange = exchange

    def step(self, learning_rate: Number, step: Number) -> Array:
        """See `AdamW.step`."""
        self.exchange.settle()
        return super().step(learning_rate, step)
