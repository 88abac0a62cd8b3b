"""What changes from pass to pass of a training, written to the device for many passes at once.

A step that is captured as a graph does the same each time it is launched; whatever differs lies in
device memory. So the windows, the learning rate and the streams of dropout of the next passes are
worked out together, sent as one table, and each pass begins by taking its row (`Backend.take_row`).
The odd thing: numbers of all kinds travel in one array of int64, as the bits that they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hipgpt_model.ema import decay_at
from hipgpt_model.random_streams import dropout_stream
from hipgpt_model.schedule import learning_rate

if TYPE_CHECKING:
    from hipgpt_kernels.backend import Array, Backend
    from hipgpt_model.config import TrainConfig
    from hipgpt_model.data import TokenData

PASSES = 64
"""Rows of the table: enough that making them is no work, few enough that the first come soon."""

WINDOW_BYTES = 16 << 20
"""Most memory for the windows of a table where the corpus is not on the device."""

STEP, RATE, AVERAGE, FIRST = range(4)
"""Columns of a row: the step, the learning rate, the weight of the running average, and the first
of the streams of dropout, which the starts of the windows follow."""


class Plan:
    """The table of the next passes and the row of the present one.

    Args:
        config: how the run trains.
        data: the tokens.
        backend: where the passes run.
        tokens: (N,) the corpus on the device; None: the windows are sent with the table.
        uses: dropouts in a pass; 0 where nothing is dropped.
        rows: which rows of each batch are this process's; None: all.

    Attributes:
        tokens: (N,) on the device, where the windows of the present row are.
        starts: (b,) int64, where each of this process's rows begins.
        step: () int64, of the optimizer, from 1.
        learning_rate: () float64.
        average_weight: () float64, of the new weights in their running average.
        streams: one uint64 array of shape () for each dropout of a pass.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: TokenData,
        backend: Backend,
        tokens: Array | None,
        uses: int,
        rows: slice | None = None,
    ) -> None:
        self.config = config
        self.data = data
        self.backend = backend
        self.uses = uses
        self.rows = slice(0, config.batch_size) if rows is None else rows
        B = self.rows.stop - self.rows.start
        self._resident = tokens is not None
        self._passes = PASSES
        if tokens is None:
            window = (data.T + 1) * data.dtype.itemsize
            self._passes = max(1, min(PASSES, WINDOW_BYTES // (B * window)))
            tokens = backend.empty((self._passes * B * (data.T + 1),), data.dtype)
        self.tokens: Array = tokens

        width = FIRST + uses + B
        self._memory = backend.zeros((1 + self._passes * width,), np.int64)
        self._cursor = self._memory[:1].reshape(())
        self._table = self._memory[1:].reshape((self._passes, width))
        self._row = backend.zeros((width,), np.int64)
        self._left = 0  # rows of the table that were not taken yet
        self._next = (0, 0, 0)  # step, pass of the step and data position of the next of them

        def number(column: int, dtype: type) -> Array:
            return self._row[column : column + 1].view(dtype).reshape(())

        self.step = number(STEP, np.int64)
        self.learning_rate = number(RATE, np.float64)
        self.average_weight = number(AVERAGE, np.float64)
        self.streams = [number(FIRST + use, np.uint64) for use in range(uses)]
        self.starts = self._row[FIRST + uses :]

    def prepare(self, step: int, micro_step: int, position: int) -> None:
        """See to it that the row that is taken next is that of a certain pass.

        Args:
            step: optimizer steps done.
            micro_step: passes of the present one done.
            position: windows of training text consumed.
        """
        if self._left == 0 or self._next != (step, micro_step, position):
            self._write(step, micro_step, position)
        self._left -= 1
        following = divmod(step * self.config.grad_accum + micro_step + 1, self.config.grad_accum)
        self._next = (*following, position + self.config.batch_size)

    def take(self) -> None:
        """Make the next row the present one: device work, the first of a pass."""
        self.backend.take_row(self._table, self._cursor, self._row)

    def _write(self, step: int, micro_step: int, position: int) -> None:
        """Send the rows of the passes from here on."""
        config = self.config
        B, accum = config.batch_size, config.grad_accum
        first = step * accum + micro_step
        count = max(1, min(self._passes, config.steps * accum - first))
        starts = self.data.train_batch(position, count * B, config.seed)  # (count · B,)
        starts = starts.reshape(count, B)[:, self.rows].reshape(-1)  # (count · b,)
        if not self._resident:
            starts = self._send_windows(starts)

        memory = np.zeros(1 + count * self._row.shape[0], np.int64)  # the cursor, then the rows
        rows = memory[1:].reshape(count, -1)
        steps = (first + np.arange(count)) // accum
        rows[:, STEP] = steps + 1
        rates = {one: learning_rate(one, config) for one in set(steps.tolist())}
        rows[:, RATE] = np.array([rates[one] for one in steps.tolist()]).view(np.int64)
        weights = {one: 1 - decay_at(config.ema, one + 1) for one in rates}
        rows[:, AVERAGE] = np.array([weights[one] for one in steps.tolist()]).view(np.int64)
        if self.uses:
            first_row = position + self.rows.start  # no other process's pass has this number
            streams = [
                [dropout_stream(first_row + number * B, self.uses, use) for use in range(self.uses)]
                for number in range(count)
            ]
            rows[:, FIRST : FIRST + self.uses] = np.array(streams, np.uint64).view(np.int64)
        rows[:, FIRST + self.uses :] = starts.reshape(count, -1)
        self.backend.copy(self._memory[: memory.size], memory)
        self._left = count

    def _send_windows(self, starts: np.ndarray) -> np.ndarray:
        """Send the windows that begin there (n,); gives where they begin in `tokens`."""
        window = self.data.T + 1
        ids = np.empty((len(starts), window), self.data.dtype)
        self.data.fill(starts, ids[:, :-1], ids[:, 1:])  # what overlaps is equal
        self.backend.copy(self.tokens[: ids.size], ids.reshape(-1))
        return np.arange(len(starts), dtype=np.int64) * window
