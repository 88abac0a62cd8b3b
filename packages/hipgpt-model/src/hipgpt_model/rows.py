"""What a model needs of its device to continue several texts: cache, loop, and the prompts' graphs.

A prompt of a few tokens is a hundred short kernels, which Python takes longer to launch than the
GPU to do; so where the backend captures graphs, prompts are padded to a few lengths, and from the
second one of a length on (`Program`) a graph reads it. The odd thing: the rows of one text alone
stay with the model when it has ended (`borrow`, `give_back`): the next text finds them ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hipgpt_kernels import Arena
from hipgpt_kernels.decoder import Decoder, DecoderBlock
from hipgpt_model.program import Program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_kernels.backend import Array, Backend
    from hipgpt_model.gpt import GPT
    from hipgpt_model.layers import Block, Embedding

MOST_CAPTURED = 1024
"""Tokens of a graph, the padding counted; more keep a GPU busy for as long as launches take."""
SHORTEST = 16
"""Tokens to which the shortest prompts are padded for a graph."""
MOST_PROGRAMS = 8
"""Graphs that are kept: the ones used last."""


@dataclass(frozen=True)
class _Stack:
    """All layers but the head, and the caches that they fill."""

    embedding: Embedding
    blocks: Sequence[Block]
    keys: Sequence[Array]  # L arrays (slots, H, S, D)
    values: Sequence[Array]

    def read(self, tokens: Array, first: int, arena: Arena) -> Array:
        """tokens (count, T) of the rows from `first` on → the residual stream (count, T, E)."""
        rows = slice(first, first + tokens.shape[0])
        x = self.embedding.forward(tokens, arena)
        for block, keys, values in zip(self.blocks, self.keys, self.values, strict=True):
            block.infer(x, arena, (keys[rows], values[rows], 0))
        return x

    def new_last(self, backend: Backend, count: int) -> Array:
        """(count, E), uninitialised."""
        table = self.embedding.tokens  # (V, E)
        return backend.empty((count, table.shape[1]), table.dtype)


class Rows:
    """The rows of a KV cache, the loop that draws for them, and how their prompts are read.

    It refers to the model's layers and not to the model, which may keep it: nothing refers to
    itself, so the memory is given back at once when the model is gone.

    Args:
        model: the model.
        slots: how many rows.

    Attributes:
        slots: as given.
        capacity: S.
        loop: the backend's loop over all rows.
    """

    def __init__(self, model: GPT, slots: int) -> None:
        cache = model.new_cache(slots)
        self.slots = slots
        self.capacity = cache.capacity
        self.loop = model.backend.decode_loop(decoder_of(model), cache.keys, cache.values)
        self._backend, self._head = model.backend, model.head
        self._stack = _Stack(model.embedding, model.blocks, cache.keys, cache.values)
        self._arena = Arena(model.backend)
        self._readers: dict[tuple[int, int, int], _Reader] = {}

    def read(self, first: int, prompts: Sequence[Sequence[int]], arena: Arena) -> None:
        """Fill rows from `first` on with prompts of different lengths, all from position 0.

        They are padded on the right. A causal model's tokens never see what comes after them, and
        what the padding leaves in the cache is overwritten before a position there is ever attended
        to. The logits after each prompt's last token are then in `loop.logits`.

        Args:
            first: row of the first prompt.
            prompts: each of 1 … S ids.
            arena: for temporary memory; all of it.
        """
        count, T = len(prompts), max(len(prompt) for prompt in prompts)
        captured = False
        if self._backend.can_capture:
            padded = min(max(SHORTEST, 1 << (T - 1).bit_length()), self.capacity)
            captured = count * padded <= MOST_CAPTURED
            T = padded if captured else T
        tokens = np.zeros((count, T), np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
        if captured:
            reader = self._reader(first, count, T)
            x, last = reader.read(tokens), reader.last
        else:
            arena.reset()
            x = self._stack.read(self._backend.from_numpy(tokens), first, arena)
            last = arena.empty((count, x.shape[-1]), x.dtype)
        for row, prompt in enumerate(prompts):
            self._backend.copy(last[row], x[row, len(prompt) - 1])
        self._head.logits(last, out=self.loop.logits(first, count))

    def _reader(self, first: int, count: int, T: int) -> _Reader:
        """The one for prompts of that place and size; of many the one unused for longest goes."""
        key = first, count, T
        reader = self._readers.pop(key, None)
        if reader is None:
            reader = _Reader(self._backend, self._arena, self._stack, first, (count, T))
            while len(self._readers) >= MOST_PROGRAMS:
                del self._readers[next(iter(self._readers))]
        self._readers[key] = reader
        return reader


class _Reader:
    """Prompts of one place and size: their ids' memory, and the work as a graph."""

    def __init__(
        self, backend: Backend, arena: Arena, stack: _Stack, first: int, shape: tuple[int, int]
    ) -> None:
        self._backend, self._arena = backend, arena
        self._tokens = tokens = backend.empty(shape, np.int32)
        self.last = stack.new_last(backend, shape[0])  # (count, E)
        self._found = found = [tokens]  # in a list of its own: the graph's work must not know self

        def work() -> None:
            found[0] = stack.read(tokens, first, arena)

        self._program = Program(backend, work, arena, graph=True)

    def read(self, tokens: np.ndarray) -> Array:
        """tokens (count, T) → (count, T, E), valid until the next reading."""
        self._backend.copy(self._tokens, tokens)
        self._arena.reset()
        self._program()
        return self._found[0]


def borrow(model: GPT, slots: int) -> Rows:
    """Rows for as long as they are wanted: those that the model keeps, or new ones."""
    kept, model.kept_rows = model.kept_rows, None
    return kept if kept is not None and kept.slots == slots else Rows(model, slots)


def give_back(model: GPT, rows: Rows) -> None:
    """Rows whose texts have ended: the model keeps a lone one, where making it takes time."""
    if rows.slots == 1 and model.backend.can_capture:
        model.kept_rows = rows


def decoder_of(model: GPT) -> Decoder:
    """The model's weights as the backend's decoding wants them; views, no copies."""
    config, parameters = model.config, model.parameters
    names = (
        "norm1", "attention.qkv", "attention.output", "norm2", "feed_forward.up",
        "feed_forward.down",
    )  # fmt: skip
    blocks = tuple(
        DecoderBlock(
            *(
                parameters[f"blocks.{index}.{name}.{part}"]
                for name in names
                for part in ("weight", "bias")
            )
        )
        for index in range(config.num_layers)
    )
    norm = [
        parameters[f"final_norm.{part}"] if config.final_norm else None
        for part in ("weight", "bias")
    ]
    return Decoder(
        token_table=parameters["token_embedding"],
        position_table=parameters["position_embedding"],
        blocks=blocks,
        final_norm_weight=norm[0],
        final_norm_bias=norm[1],
        head_weight=parameters["token_embedding" if config.tied else "output.weight"],
        head_bias=parameters["output.bias"] if config.output_bias else None,
        num_heads=config.num_heads,
        activation=config.activation,
        epsilon=config.norm_epsilon,
    )
