"""hipgpt's side of a benchmark: a trainer on random tokens, a generator on random weights.

The odd thing: only the libraries' public interfaces are used, so what is timed is what a program
that imports them gets.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_model.batch import BatchGenerator
from hipgpt_model.data import TokenData
from hipgpt_model.generate import SamplingConfig
from hipgpt_model.gpt import GPT
from hipgpt_model.parameters import Parameters
from hipgpt_model.train import Trainer

if TYPE_CHECKING:
    from hipgpt_kernels import Backend
    from hipgpt_model.config import GPTConfig, TrainConfig

WINDOWS = 50
"""Batches in the random text: more than any cache holds."""
NEVER = 10**9
"""Steps between reports: none is read while the clock runs."""


def random_data(config: GPTConfig, B: int) -> TokenData:
    """Random ids, enough for WINDOWS batches of B rows of S tokens."""
    T = config.max_seq_len
    dtype = np.uint16 if config.vocab_size <= 2**16 else np.uint32
    ids = np.random.default_rng(0).integers(0, config.vocab_size, WINDOWS * B * T + 2)
    return TokenData(ids.astype(dtype), T)


def first_batch(data: TokenData, B: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (B, T) int32 of the trainer's first step."""
    inputs, targets = np.empty((B, data.T), np.int32), np.empty((B, data.T), np.int32)
    data.fill(data.train_batch(0, B, seed), inputs, targets)
    return inputs, targets


def used_memory(backend: Backend) -> int | None:
    """Bytes of the GPU's memory in use by anybody; None on the CPU, where it says nothing."""
    device = getattr(backend, "device", None)
    if device is None:
        return None
    free, total = device.memory_info()  # the driver's figures: what we hold unused is in use
    return int(total - free)


class OursTraining:
    """A trainer that does steps.

    Args:
        config: the model.
        training: how; its seed makes the weights.
        backend: the device.
        graph: let it capture its steps.
    """

    def __init__(
        self, config: GPTConfig, training: TrainConfig, backend: Backend, *, graph: bool = True
    ) -> None:
        before = used_memory(backend)
        self.backend = backend
        self.data = random_data(config, training.batch_size)
        parameters = Parameters(config, backend, training=True, dtype=training.dtype)
        parameters.initialize(training.seed)
        self.weights = parameters.to_dict()
        self.trainer = Trainer(
            config, training, self.data, backend, parameters, report_every=NEVER, graph=graph
        )
        self._before = before

    def first_loss(self) -> float:
        """Do the first step and give its loss."""
        self.trainer.report_every = 1
        loss = self.trainer.step_report().loss
        self.trainer.report_every = NEVER
        assert loss is not None
        return loss

    def run(self, steps: int) -> None:
        """Do steps, and wait."""
        for _ in range(steps):
            self.trainer.train_step()
        self.backend.synchronize()

    def memory(self) -> int | None:
        """Bytes of the GPU that were taken since this was made."""
        now = used_memory(self.backend)
        return None if now is None or self._before is None else now - self._before


class OursGeneration:
    """Greedy text from random weights.

    Args:
        config: the model.
        dtype: of the weights and of what is computed.
        rows: B.
        backend: the device.
    """

    def __init__(self, config: GPTConfig, dtype: str, rows: int, backend: Backend) -> None:
        self._before = used_memory(backend)
        self.backend = backend
        parameters = Parameters(config, backend, training=False, dtype=dtype)
        parameters.initialize(1)
        self.weights = parameters.to_dict()
        self.batch = BatchGenerator(GPT(config, backend, parameters), slots=rows)

    def run(self, prompts: np.ndarray, count: int) -> tuple[float, float, list[list[int]]]:
        """Draw `count` tokens after each of the prompts (B, n).

        Returns:
            Seconds to the first token of every row, seconds from there on, and the tokens.
        """
        sampling = SamplingConfig(num_tokens=count, temperature=0.0)
        rows: list[list[int]] = [[] for _ in prompts]
        began = time.perf_counter()
        for row in prompts:
            self.batch.add(row.tolist(), sampling)
        first = None
        while self.batch.texts:
            for drawn in self.batch.step():
                assert drawn.token is not None
                rows[drawn.slot].append(drawn.token)
            if first is None and all(rows):
                first = time.perf_counter()
        assert first is not None
        return first - began, time.perf_counter() - first, rows

    def memory(self) -> int | None:
        """Bytes of the GPU that were taken since this was made."""
        now = used_memory(self.backend)
        return None if now is None or self._before is None else now - self._before
