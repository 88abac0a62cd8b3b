"""The GPT itself: embedding, blocks, head; logits, losses, gradients, and one token after another.

The odd thing: there is no graph and no tape. The forward keeps one cache a block and the backward
walks the same list from its end. All activations lie in one arena that every call starts anew, so
what a call leaves there is valid only until the model's next call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hipgpt_kernels import Arena
from hipgpt_model.head import Head
from hipgpt_model.layers import Block, BlockCache, Dropout, Embedding
from hipgpt_model.random_streams import dropout_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hipgpt_kernels.backend import Array, Backend, Number
    from hipgpt_model.config import GPTConfig
    from hipgpt_model.parameters import Parameters
    from hipgpt_model.rows import Rows


class KVCache:
    """The keys and values of every token that a model has read, so that it reads each once.

    Attributes:
        keys: L arrays (B, H, S, D).
        values: L arrays (B, H, S, D).
        length: how many positions are filled. Set it to 0 to begin anew.
        capacity: S.
    """

    def __init__(
        self, config: GPTConfig, backend: Backend, B: int, dtype: Any = np.float32
    ) -> None:
        shape = (B, config.num_heads, config.max_seq_len, config.head_dim)
        self.keys = [backend.empty(shape, dtype) for _ in range(config.num_layers)]
        self.values = [backend.empty(shape, dtype) for _ in range(config.num_layers)]
        self.length = 0
        self.capacity = config.max_seq_len


class GPT:
    """A GPT over the parameters that it is given.

    Args:
        config: sizes and options; the same that the parameters were made for.
        backend: where it runs.
        parameters: its weights, and for training their gradients.
        logits_bytes: most memory for logits at once; None: what suits the backend. Each chunk costs
            one more pass over the output's gradient.
        checkpoint_activations: keep one activation a block and compute the others anew in the
            backward: less memory, a third more arithmetic, and the same bits.

    Raises:
        ValueError: the parameters belong to another configuration.
    """

    def __init__(
        self,
        config: GPTConfig,
        backend: Backend,
        parameters: Parameters,
        *,
        logits_bytes: int | None = None,
        checkpoint_activations: bool = False,
    ) -> None:
        if parameters.config != config:
            raise ValueError(
                f"the parameters were made for {parameters.config}; the model is to be {config}"
            )
        self.config = config
        self.backend = backend
        self.parameters = parameters
        self.dtype = parameters.compute_dtype
        self.checkpoint_activations = checkpoint_activations
        self.arena = Arena(backend)
        self.embedding = Embedding(backend, parameters)
        self.blocks = [Block(config, backend, parameters, i) for i in range(config.num_layers)]
        self.head = Head(config, backend, parameters, logits_bytes)
        self.kept_rows: Rows | None = None
        """Of the last text that `generate` continued; see `rows`."""

    def logits(self, tokens: Array) -> Array:
        """tokens (B, T) int32 → logits (B, T, V), new memory, in the parameters' dtype.

        Nothing is dropped out.

        Raises:
            ValueError: T is more than S, or an id is outside the vocabulary.
        """
        x = self._infer(tokens)  # (B, T, E)
        shape = (*tokens.shape, self.config.vocab_size)
        return self.head.logits(x, out=self.backend.empty(shape, self.dtype))

    def loss(
        self,
        inputs: Array,
        targets: Array,
        *,
        losses: Array | None = None,
        correct: Array | None = None,
    ) -> Array:
        """The loss of each token. Nothing is dropped out.

        Args:
            inputs: (B, T) int32.
            targets: (B, T) int32, the ids to be predicted; −1 does not count and gets loss 0.
            losses: (B·T,), written and returned; None: new memory.
            correct: (B·T,), written with 1 where the likeliest id is the target, else 0.

        Returns:
            (B·T,) float32, in nats.
        """
        if losses is None:
            losses = self.backend.empty((inputs.shape[0] * inputs.shape[1],))
        x = self._infer(inputs)  # (B, T, E)
        return self.head.losses(x, targets, self.arena, losses=losses, correct=correct)

    def forward_backward(
        self,
        inputs: Array,
        targets: Array,
        *,
        scale: float,
        losses: Array,
        correct: Array | None = None,
        seed: int = 0,
        stream: int = 0,
        streams: Sequence[Number] | None = None,
        loss_scale: Number | None = None,
        finished: Callable[[int], None] | None = None,
    ) -> None:
        """Forward, loss and backward; gradients are added to the parameters' own.

        Args:
            inputs: (B, T) int32.
            targets: (B, T) int32; −1 does not count.
            scale: how much each loss counts in the gradient: 1 / (B · T · grad_accum) makes it that
                of the mean loss.
            losses: (B·T,), written, in nats, not scaled.
            correct: (B·T,), written where given, as in `loss`.
            seed: of dropout.
            stream: a number that no other pass of the run has: equal numbers drop equal elements.
            streams: instead of it the stream of each dropout, `dropouts` of them.
            loss_scale: the gradients come out so many times as large; an array is float32. None
                for 1.
            finished: called as gradients become complete, with L after the head, then the number of
                each block, and −1 at the end.

        Raises:
            ValueError: the parameters were not made for training, or T is more than S.
        """
        if not self.parameters.training:
            raise ValueError("this model was made for inference; load it with training=True")
        dropout = self._dropout(seed, stream, streams)
        arena = self._begin(inputs)

        x = self.embedding.forward(inputs, arena, dropout=dropout)  # (B, T, E)
        caches: list[Array | BlockCache] = []
        for block in self.blocks:
            x, cache = self._block_forward(block, x, arena, dropout)
            caches.append(cache)

        dx = self.head.forward_backward(
            x,
            targets,
            arena,
            scale=scale,
            loss_scale=loss_scale,
            losses=losses,
            correct=correct,
        )  # (B, T, E), updated in place by every block
        tell = finished or _ignore
        tell(len(self.blocks))
        for number in reversed(range(len(self.blocks))):
            block, cache = self.blocks[number], caches[number]
            mark = arena.mark()
            if not isinstance(cache, BlockCache):
                cache = block.activations(cache, arena, dropout)  # computed anew
            block.backward(dx, cache, arena, dropout)
            arena.release(mark)
            tell(number)
        self.embedding.backward(dx, inputs, dropout)
        tell(-1)

    def _block_forward(
        self, block: Block, x: Array, arena: Arena, dropout: Dropout | None
    ) -> tuple[Array, Array | BlockCache]:
        """A block's output, and what its backward needs: the cache, or its input alone."""
        if not self.checkpoint_activations:
            return block.forward(x, arena, dropout)
        out = arena.empty(x.shape, x.dtype)  # below what is given back
        mark = arena.mark()
        cache = block.activations(x, arena, dropout)
        block.finish(cache, arena, dropout, out=out)
        arena.release(mark)
        return out, x

    def new_cache(self, B: int) -> KVCache:
        """An empty cache for B rows."""
        return KVCache(self.config, self.backend, B, self.dtype)

    def forward_cached(self, tokens: Array, cache: KVCache) -> Array:
        """Read tokens that continue those in the cache.

        Args:
            tokens: (B, T) int32, at positions cache.length …; T = 1 for the next token, more for a
                prompt or a piece of one.
            cache: what was read before; T longer afterwards.

        Returns:
            (B, V), the logits after the last token of each row; valid until the model's next call.

        Raises:
            ValueError: the tokens do not fit in what is left of S.
        """
        B, T = tokens.shape
        if cache.length + T > cache.capacity:
            raise ValueError(
                f"the cache holds {cache.length} of at most {cache.capacity} tokens; {T} more do "
                "not fit: begin anew with fewer, or use a model with a larger max_seq_len"
            )
        arena = self._begin(tokens)
        x = self.embedding.forward(tokens, arena, position=cache.length)  # (B, T, E)
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            block.infer(x, arena, (keys, values, cache.length))
        cache.length += T

        last = arena.empty((B, self.config.embed_dim), self.dtype)
        for b in range(B):
            self.backend.copy(last[b], x[b, T - 1])
        return self.head.logits(last, out=arena.empty((B, self.config.vocab_size), self.dtype))

    def _infer(self, tokens: Array) -> Array:
        """tokens (B, T) → the residual stream after the last block (B, T, E), in the arena."""
        arena = self._begin(tokens)
        x = self.embedding.forward(tokens, arena)
        for block in self.blocks:
            block.infer(x, arena)
        return x

    def _begin(self, tokens: Array) -> Arena:
        """Check a call's tokens and give it the whole arena."""
        if len(tokens.shape) != 2 or tokens.dtype != np.int32:
            raise ValueError(
                f"tokens must be (B, T) int32; got shape {tuple(tokens.shape)}, {tokens.dtype}"
            )
        if tokens.shape[1] > self.config.max_seq_len:
            raise ValueError(
                f"{tokens.shape[1]} tokens in a row are more than max_seq_len, "
                f"{self.config.max_seq_len}: give fewer, or use a model with a larger one"
            )
        self.arena.reset()
        return self.arena

    @property
    def dropouts(self) -> int:
        """Uses of dropout in a pass: after the embedding, and two in each block."""
        return 1 + 2 * self.config.num_layers if self.config.dropout else 0

    def _dropout(self, seed: int, stream: int, streams: Sequence[Number] | None) -> Dropout | None:
        if self.config.dropout == 0:
            return None
        if streams is None:
            uses = self.dropouts
            streams = [dropout_stream(stream, uses, use) for use in range(uses)]
        return Dropout(self.backend, self.config.dropout, seed, streams)


def _ignore(_: int) -> None:
    """Nobody waits for gradients."""
