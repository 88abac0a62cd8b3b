"""AdamW shared out over the ranks: each updates what it owns, and then everybody has all of it.

The odd thing: the norm is that of all gradients, of which each rank has a part. Each takes the norm
of its own parts, the ranks exchange these numbers, and the norm of the numbers is the norm of all;
so every rank decides the same about the update, and nobody waits for the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_kernels.backend import Control
from hipgpt_model.optim import SCALE_GROWTH_STEPS, AdamW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_kernels.backend import Array, Number
    from hipgpt_model.config import TrainConfig
    from hipgpt_model.distributed.exchange import Exchange
    from hipgpt_model.flat_layout import Own
    from hipgpt_model.parameters import Parameters


class SharedAdamW(AdamW):
    """ZeRO stage 1 (Rajbhandari et al. 2020, section 5.1).

    Args:
        parameters: whose moments, and in low precision float32 weights, are this rank's alone.
        config: how they are updated.
        exchange: with the other ranks; the gradients that this rank owns are sums over all ranks
            when `step` is called.
        own: what this rank owns.
    """

    def __init__(
        self,
        parameters: Parameters,
        config: TrainConfig,
        exchange: Exchange,
        own: Sequence[Own],
    ) -> None:
        super().__init__(parameters, config)
        self.exchange = exchange
        self.own = own
        backend = parameters.backend
        self._part_norms = backend.zeros((max(len(own), 1),))
        self._norms = backend.zeros((exchange.world.size,))  # of each rank

    def step(self, learning_rate: Number, step: Number) -> Array:
        """See `AdamW.step`; every rank calls it at the same time."""
        parameters, config, backend = self.parameters, self.config, self.parameters.backend
        self.exchange.settle()
        backend.step_control(
            self.control,
            self._norm(),
            self._factor,
            max_norm=config.clip,
            outlier=config.skip_outliers,
            growth=SCALE_GROWTH_STEPS if self.scaled else 0,
        )
        low = parameters.low
        for part in self.own:
            backend.adamw_step(
                parameters.weights[part.flat if low is None else part.local],
                parameters.gradients[part.flat],
                parameters.m[part.local],
                parameters.v[part.local],
                learning_rate=learning_rate,
                beta1=config.beta1,
                beta2=config.beta2,
                epsilon=config.epsilon,
                weight_decay=config.weight_decay if part.decay else 0.0,
                step=step,
                factor=self._factor,
                low=None if low is None else low[part.flat],
            )
        backend.fill(parameters.gradients, 0.0)
        self.exchange.spread(parameters.values)
        return self._element(Control.NORM)

    def _norm(self) -> Array:
        """() float32, of the gradients of all ranks."""
        backend = self.parameters.backend
        for number, part in enumerate(self.own):
            norm = backend.gradient_norm(self.parameters.gradients[part.flat])
            backend.copy(self._part_norms[number : number + 1].reshape(()), norm)
        rank = self.exchange.world.rank
        mine = backend.gradient_norm(self._part_norms)
        backend.copy(self._norms[rank : rank + 1].reshape(()), mine)
        self.exchange.gather(self._norms)
        return backend.gradient_norm(self._norms)
