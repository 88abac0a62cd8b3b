"""Token after token on the GPU: one graph launch draws, tests for the end and reads all layers.

The state of a row (its position, its draws, what stops it) lies on the device; the ids go from the
kernel straight to page-locked memory of the host, which looks at them behind an event, some tokens
late. The odd thing: so the host never says what comes next, it only keeps `ahead` launches waiting;
a row that has ended meanwhile takes no part in those, and nothing of them is seen.
"""

from __future__ import annotations

import ctypes
import struct
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels.decode_loop import DecodeLoop, RowSampling
from hipgpt_kernels.decoder import check_decode
from hipgpt_kernels.hip import driver
from hipgpt_kernels.hip.dtypes import suffix as suffix_of
from hipgpt_kernels.hip.kernel import INT, POINTER, Kernel
from hipgpt_kernels.hip.ops.decode import Step
from hipgpt_kernels.hip.ops.sampling import SMALLEST_TOP_P, slope
from hipgpt_kernels.hip.ops.sampling import THREADS as SAMPLING_THREADS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_kernels.decoder import Decoder
    from hipgpt_kernels.hip.array import DeviceArray
    from hipgpt_kernels.hip.backend import HipBackend

SLOT = struct.Struct("@QQdfiffiiii")
"""Slot of sampling.hip: seed, draw, top_p, slope, top_k, min_p, penalty, live, length, remaining,
launches."""
LIVE_OFFSET = 40
"""Bytes before `live`."""
SEEN, STOP = 1, 2
"""Bits of an id's mark."""
MOST_REMAINING = 2**31 - 1
AHEAD = 8
"""Launches that may wait: enough to outlast what the host does between two tokens."""
SAMPLE_ROWS = Kernel(
    "sampling", "sample_rows", *[POINTER] * 4, INT, *[POINTER] * 4, INT, INT, INT, INT
)


class DeviceLoop(DecodeLoop):
    """See `DecodeLoop`. A launch of fewer tokens than `ahead` waits for nothing."""

    ahead = AHEAD

    def __init__(
        self,
        backend: HipBackend,
        decoder: Decoder,
        keys: Sequence[DeviceArray],
        values: Sequence[DeviceArray],
    ) -> None:
        """Take the memory of B rows and capture the graph."""
        V, S, E, _ = decoder.sizes
        self.rows = B = keys[0].shape[0]
        self.vocab_size = V
        self.backend = backend
        dtype = decoder.token_table.dtype
        self._logits = backend.zeros((B, V), dtype)
        self._slots = backend.zeros((B, SLOT.size), np.uint8)
        self._marks = backend.zeros((B, V), np.uint8)
        self._positions = backend.from_numpy(np.full(B, -1, np.int32))
        self._x = backend.zeros((B, E), dtype)
        self._keys, self._values = list(keys), list(values)
        check_decode(decoder, keys, values, self._positions, self._positions, self._logits)
        self._ring_memory = driver.Pinned(4 * AHEAD * B)
        memory = (ctypes.c_int32 * (AHEAD * B)).from_address(self._ring_memory.pointer)
        self._ring = np.ctypeslib.as_array(memory).reshape(AHEAD, B)
        self._events = [driver.Event(timing=False) for _ in range(AHEAD)]
        self._waiting: deque[int] = deque()  # numbers of launches that were not taken
        self._launches = 0

        # Nothing is live: this loads the kernels and otherwise does nothing but count.
        self._step = Step(backend, decoder, self._x, self._positions, S)
        self._give(decoder, S)
        self._slots = backend.zeros((B, SLOT.size), np.uint8)
        with backend.capture() as self._graph:
            self._give(decoder, S)

    def _give(self, decoder: Decoder, S: int) -> None:
        """Give the stream what one token takes."""
        V, _, E, _ = decoder.sizes
        SAMPLE_ROWS.launch(
            self.backend,
            suffix_of(self._x.dtype),
            self.rows,
            SAMPLING_THREADS,
            *(self._logits, self._slots, self._marks, self._ring_memory.pointer, AHEAD),
            *(self._positions, decoder.token_table, decoder.position_table, self._x),
            *(V, S, E, self.rows),
        )
        self._step.run(self._keys, self._values, self._logits)

    def logits(self, first: int, count: int = 1) -> DeviceArray:
        """See `DecodeLoop.logits`."""
        return self._logits[first : first + count]

    def settle(self) -> None:
        """See `DecodeLoop.settle`: a launch reads what it has drawn."""

    def begin(self, row: int, length: int, sampling: RowSampling) -> None:
        """See `DecodeLoop.begin`."""
        self._mark(row, sampling)
        slot = SLOT.pack(
            sampling.seed,
            sampling.draw,
            max(sampling.top_p, SMALLEST_TOP_P),
            slope(sampling.temperature),
            min(sampling.top_k, self.vocab_size),
            sampling.min_p,
            sampling.repetition_penalty,
            1,
            length,
            min(sampling.remaining, MOST_REMAINING),
            self._launches % AHEAD,
        )
        self._upload(self._slots[row].pointer, slot)

    def _mark(self, row: int, sampling: RowSampling) -> None:
        """Say which ids of a row have occurred and which end it."""
        seen = sampling.seen if sampling.repetition_penalty != 1 else ()
        stops = [one for one in sampling.stop_ids if 0 <= one < self.vocab_size]
        marks = self._marks[row]
        if not seen and not stops:
            self.backend.stream.set_bytes(marks.pointer, 0, marks.nbytes)
            return
        bits = np.zeros(self.vocab_size, np.uint8)
        bits[list(seen)] = SEEN
        bits[stops] |= STOP
        self._upload(marks.pointer, bits.tobytes())

    def end(self, row: int) -> None:
        """See `DecodeLoop.end`."""
        self._upload(self._slots[row].pointer + LIVE_OFFSET, bytes(4))

    def _upload(self, pointer: int, data: bytes) -> None:
        """Copy bytes to the device, in the order of the stream, without waiting for it."""
        buffer = ctypes.create_string_buffer(data, len(data))
        self.backend.staging.to_device(pointer, ctypes.addressof(buffer), len(data))

    def launch(self) -> None:
        """See `DecodeLoop.launch`.

        Raises:
            RuntimeError: as many launches as `ahead` wait to be taken.
        """
        if len(self._waiting) == AHEAD:
            raise RuntimeError(f"{AHEAD} launches wait to be taken; take one before the next")
        place = self._launches % AHEAD
        self._graph.launch()
        self._events[place].record(self.backend.stream)
        self._waiting.append(place)
        self._launches += 1

    def _oldest(self) -> np.ndarray:
        place = self._waiting.popleft()
        self._events[place].synchronize()
        return self._ring[place].copy()
