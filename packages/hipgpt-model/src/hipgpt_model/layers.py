"""The layers below the head, each with its forward and its backward written out.

`forward` returns its output and what `backward` will need; `infer` is the forward where no backward
follows, in place on the residual stream. Parameter gradients are added to (`+=`); activation
gradients are written (`=`), except on the residual stream dx, one buffer that every block adds to.

The odd thing: a backward overwrites its cache. An activation that has served its last purpose
lends its memory to a gradient of the same shape (`out=cache.norm2`), so that the backward of a
block takes one new array: the gradient of q, k and v.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hipgpt_kernels import Arena
    from hipgpt_kernels.backend import Array, Backend, Number
    from hipgpt_model.config import GPTConfig
    from hipgpt_model.parameters import Parameters


class Linear:
    """y = x · Wᵀ + b, and whatever the backend can do in the same breath."""

    def __init__(
        self,
        backend: Backend,
        parameters: Parameters,
        weight: str,
        bias: str | None,
        *,
        padded: bool = False,
    ) -> None:
        view = parameters.padded if padded else parameters.view
        self.backend = backend
        self.weight = view(parameters.values, weight)  # (N, K)
        self.bias = None if bias is None else view(parameters.values, bias)  # (N,)
        if parameters.training:
            gradients = parameters.gradients
            self.dweight = view(gradients, weight)
            self.dbias = None if bias is None else view(gradients, bias)

    def forward(self, x: Array, *, out: Array, **options: Any) -> Array:
        """x (*, K) → out (*, N); `options` as in `Backend.linear_forward`."""
        return self.backend.linear_forward(x, self.weight, self.bias, out=out, **options)

    def backward(self, dout: Array, x: Array, *, out: Array, **options: Any) -> Array:
        """dout (*, N) → the gradient of x (*, K) in `out`, which may be x itself.

        `options` as in `Backend.linear_backward_input`: the activation that made x.
        """
        self.backend.linear_backward_weight(dout, x, self.dweight, self.dbias)  # the last use of x
        return self.backend.linear_backward_input(dout, self.weight, out=out, **options)

    def backward_beside(
        self, dout: Array, x: Array, *, out: Array, **options: Any
    ) -> tuple[Array, Any]:
        """As `backward`, with the gradients of weight and bias beside what follows.

        Returns:
            `out`, and a token: until it is joined, dout and x must stay, so `out` is not x here.
        """
        with self.backend.beside() as token:
            self.backend.linear_backward_weight(dout, x, self.dweight, self.dbias)
        return self.backend.linear_backward_input(dout, self.weight, out=out, **options), token


class NormStatistics(NamedTuple):
    """What the backward of a LayerNorm needs beside its input."""

    mean: Array  # (B, T)
    rstd: Array  # (B, T)


class LayerNorm:
    """LayerNorm with a gain and a bias."""

    def __init__(self, backend: Backend, parameters: Parameters, name: str, epsilon: float) -> None:
        self.backend = backend
        self.epsilon = epsilon
        self.weight, self.bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]  # (E,)
        if parameters.training:
            self.dweight = parameters.gradient(f"{name}.weight")
            self.dbias = parameters.gradient(f"{name}.bias")

    def forward(self, x: Array, arena: Arena) -> tuple[Array, NormStatistics]:
        """x (B, T, E) → out (B, T, E), in new memory."""
        statistics = NormStatistics(arena.empty(x.shape[:-1]), arena.empty(x.shape[:-1]))
        out = self.backend.layernorm_forward(
            x,
            self.weight,
            self.bias,
            epsilon=self.epsilon,
            out=arena.empty(x.shape, x.dtype),
            mean=statistics.mean,
            rstd=statistics.rstd,
        )
        return out, statistics

    def infer(self, x: Array, *, out: Array) -> Array:
        """x (*, E) → out (*, E), which may be x."""
        return self.backend.layernorm_forward(
            x, self.weight, self.bias, epsilon=self.epsilon, out=out
        )

    def backward(self, dout: Array, x: Array, statistics: NormStatistics, dx: Array) -> None:
        """dx (B, T, E) += the gradient of x."""
        self.backend.layernorm_backward(
            dout, x, self.weight, *statistics, dx, self.dweight, self.dbias
        )


@dataclass(frozen=True)
class Dropout:
    """The dropouts of one forward pass: after the embedding, then two in each block."""

    backend: Backend
    probability: float
    seed: int
    streams: Sequence[Number]  # one for each dropout of a pass, 1 + 2L

    def __call__(self, x: Array, use: int, *, out: Array, residual: Array | None = None) -> Array:
        """out = drop(x) + residual. Its own backward: the same `use` drops the same elements."""
        return self.backend.dropout_forward(
            x, self.probability, self.seed, self.streams[use], residual=residual, out=out
        )


class Embedding:
    """Token plus position: where the residual stream begins."""

    def __init__(self, backend: Backend, parameters: Parameters) -> None:
        self.backend = backend
        self.tokens = parameters["token_embedding"]  # (V, E)
        self.positions = parameters["position_embedding"]  # (S, E)
        if parameters.training:
            self.dtokens = parameters.gradient("token_embedding")
            self.dpositions = parameters.gradient("position_embedding")

    def forward(
        self,
        tokens: Array,
        arena: Arena,
        *,
        position: int = 0,
        dropout: Dropout | None = None,
    ) -> Array:
        """tokens (B, T) int32 → x (B, T, E)."""
        x = self.backend.embedding_forward(
            tokens,
            self.tokens,
            self.positions,
            position=position,
            out=arena.empty((*tokens.shape, self.tokens.shape[1]), self.tokens.dtype),
        )
        return x if dropout is None else dropout(x, 0, out=x)

    def backward(self, dx: Array, tokens: Array, dropout: Dropout | None) -> None:
        """dx (B, T, E) → the gradients of both tables. Overwrites dx."""
        if dropout is not None:
            dropout(dx, 0, out=dx)
        self.backend.embedding_backward(dx, tokens, self.dtokens, self.dpositions)


class BlockCache(NamedTuple):
    """What the backward of a block needs; it overwrites most of it."""

    x: Array  # (B, T, E) the block's input
    norm1: Array  # (B, T, E)
    statistics1: NormStatistics
    qkv: Array  # (B, T, 3E)
    attention: Array  # (B, T, E)
    lse: Array  # (B, H, T)
    x2: Array  # (B, T, E) after the attention's residual
    norm2: Array  # (B, T, E)
    statistics2: NormStatistics
    preactivation: Array  # (B, T, F), swiglu (B, T, 2F)
    activation: Array  # (B, T, F)


class Block:
    """x + attention(norm(x)), then x + feed_forward(norm(x)): the pre-norm block of GPT-2."""

    def __init__(
        self, config: GPTConfig, backend: Backend, parameters: Parameters, index: int
    ) -> None:
        def linear(name: str) -> Linear:
            full = f"blocks.{index}.{name}"
            return Linear(backend, parameters, f"{full}.weight", f"{full}.bias")

        def norm(name: str) -> LayerNorm:
            return LayerNorm(backend, parameters, f"blocks.{index}.{name}", config.norm_epsilon)

        self.config = config
        self.backend = backend
        self.norm1, self.norm2 = norm("norm1"), norm("norm2")
        self.qkv, self.attention_output = linear("attention.qkv"), linear("attention.output")
        self.up, self.down = linear("feed_forward.up"), linear("feed_forward.down")
        self.attention_dropout, self.feed_forward_dropout = 1 + 2 * index, 2 + 2 * index

    def forward(self, x: Array, arena: Arena, dropout: Dropout | None) -> tuple[Array, BlockCache]:
        """x (B, T, E) → out (B, T, E) and the cache."""
        cache = self.activations(x, arena, dropout)
        return self.finish(cache, arena, dropout), cache

    def finish(
        self,
        cache: BlockCache,
        arena: Arena,
        dropout: Dropout | None,
        out: Array | None = None,
    ) -> Array:
        """The block's output (B, T, E) from what `activations` gave; `out`: None is new memory."""
        use = self.feed_forward_dropout
        return self._add_branch(self.down, cache.activation, cache.x2, arena, dropout, use, out)

    def activations(self, x: Array, arena: Arena, dropout: Dropout | None) -> BlockCache:
        """x (B, T, E) → all that the backward needs: everything but the block's output."""
        B, T, E = x.shape
        up_width = self.up.weight.shape[0]  # F, or 2F for swiglu

        # (B, T, E) -> norm (B, T, E) -> qkv (B, T, 3E) -> attention (B, T, E) -> + x (B, T, E)
        norm1, statistics1 = self.norm1.forward(x, arena)
        qkv = self.qkv.forward(norm1, out=arena.empty((B, T, 3 * E), x.dtype))
        attention = arena.empty((B, T, E), x.dtype)
        lse = arena.empty((B, self.config.num_heads, T))
        self.backend.attention_forward(*self._heads(qkv), out=self._head(attention), lse=lse)
        x2 = self._add_branch(
            self.attention_output, attention, x, arena, dropout, self.attention_dropout
        )

        # (B, T, E) -> norm (B, T, E) -> up (B, T, F) -> activation (B, T, F)
        norm2, statistics2 = self.norm2.forward(x2, arena)
        preactivation = arena.empty((B, T, up_width), x.dtype)
        activation = self.up.forward(
            norm2,
            activation=self.config.activation,
            preactivation=preactivation,
            out=arena.empty((B, T, self.config.ff_dim), x.dtype),
        )
        return BlockCache(
            x, norm1, statistics1, qkv, attention, lse,
            x2, norm2, statistics2, preactivation, activation,
        )  # fmt: skip

    def backward(self, dx: Array, cache: BlockCache, arena: Arena, dropout: Dropout | None) -> None:
        """dx (B, T, E): the gradient of the block's output becomes that of its input, in place."""
        if self.backend.overlaps:
            self._backward_beside(dx, cache, arena, dropout)
            return
        mark = arena.mark()

        dbranch = self._branch_gradient(dx, arena, dropout, self.feed_forward_dropout)
        # Not in place on the preactivation where it can be helped: the product would have to wait
        # elsewhere until the slope has been read. Only swiglu's gradient needs its 2F columns.
        in_place = self.config.activation == "swiglu"
        dpreactivation = self.down.backward(
            dbranch,
            cache.activation,
            activation=self.config.activation,
            preactivation=cache.preactivation,
            out=cache.preactivation if in_place else cache.activation,
        )
        dnorm2 = self.up.backward(dpreactivation, cache.norm2, out=cache.norm2)
        self.norm2.backward(dnorm2, cache.x2, cache.statistics2, dx)

        dbranch = self._branch_gradient(dx, arena, dropout, self.attention_dropout)
        dattention = self.attention_output.backward(dbranch, cache.attention, out=cache.norm2)
        dqkv = arena.empty(cache.qkv.shape, dx.dtype)
        self.backend.attention_backward(
            self._head(dattention),
            *self._heads(cache.qkv),
            self._head(cache.attention),
            cache.lse,
            *self._heads(dqkv),
        )
        dnorm1 = self.qkv.backward(dqkv, cache.norm1, out=cache.norm1)
        self.norm1.backward(dnorm1, cache.x, cache.statistics1, dx)

        arena.release(mark)

    def _backward_beside(
        self, dx: Array, cache: BlockCache, arena: Arena, dropout: Dropout | None
    ) -> None:
        """`backward` with the gradients of the weights beside all else: neither fills a GPU alone.

        What they read must stay, so other memory is lent to the gradients here: the preactivation,
        x2 once its norm is done, and one array more. dx is changed only where nobody reads it.
        """
        mark, backend = arena.mark(), self.backend
        dnorm = arena.empty(dx.shape, dx.dtype)

        dbranch = self._branch_gradient(dx, arena, dropout, self.feed_forward_dropout)
        dpreactivation, down = self.down.backward_beside(
            dbranch,
            cache.activation,
            activation=self.config.activation,
            preactivation=cache.preactivation,
            out=cache.preactivation,
        )
        dnorm2, up = self.up.backward_beside(dpreactivation, cache.norm2, out=dnorm)
        backend.join(down)  # has read dx
        self.norm2.backward(dnorm2, cache.x2, cache.statistics2, dx)

        dbranch = self._branch_gradient(dx, arena, dropout, self.attention_dropout)
        dattention, output = self.attention_output.backward_beside(
            dbranch, cache.attention, out=cache.x2
        )
        dqkv = arena.empty(cache.qkv.shape, dx.dtype)
        backend.attention_backward(
            self._head(dattention),
            *self._heads(cache.qkv),
            self._head(cache.attention),
            cache.lse,
            *self._heads(dqkv),
        )
        dnorm1, qkv = self.qkv.backward_beside(dqkv, cache.norm1, out=dnorm)
        backend.join(output)  # has read dx
        self.norm1.backward(dnorm1, cache.x, cache.statistics1, dx)

        for token in (up, qkv):
            backend.join(token)
        arena.release(mark)

    def infer(self, x: Array, arena: Arena, cache: tuple[Array, Array, int] | None = None) -> None:
        """x (B, T, E) becomes the block's output, in place.

        Args:
            x: the residual stream.
            arena: for temporaries, all given back.
            cache: keys and values, both (B, H, S, D), and how many positions they hold already:
                x continues those. None: x stands alone.
        """
        mark = arena.mark()
        B, T, E = x.shape
        norm = self.norm1.infer(x, out=arena.empty((B, T, E), x.dtype))
        qkv = self.qkv.forward(norm, out=arena.empty((B, T, 3 * E), x.dtype))
        if cache is None:
            self.backend.attention_forward(*self._heads(qkv), out=self._head(norm))
        else:
            self.backend.attention_cached(*self._heads(qkv), *cache, out=self._head(norm))
        self.attention_output.forward(norm, residual=x, out=x)  # `norm` holds the attention now

        norm = self.norm2.infer(x, out=norm)
        activation = self.up.forward(
            norm,
            activation=self.config.activation,
            out=arena.empty((B, T, self.config.ff_dim), x.dtype),
        )
        self.down.forward(activation, residual=x, out=x)
        arena.release(mark)

    def _head(self, array: Array) -> Array:
        """(B, T, E) -> (B, T, H, D), a view."""
        return array.reshape((*array.shape[:2], self.config.num_heads, self.config.head_dim))

    def _heads(self, qkv: Array) -> tuple[Array, Array, Array]:
        """(B, T, 3E) -> three views (B, T, H, D)."""
        B, T, _ = qkv.shape
        packed = qkv.reshape((B, T, 3, self.config.num_heads, self.config.head_dim))
        return packed[:, :, 0], packed[:, :, 1], packed[:, :, 2]

    @staticmethod
    def _add_branch(
        linear: Linear,
        x: Array,
        residual: Array,
        arena: Arena,
        dropout: Dropout | None,
        use: int,
        out: Array | None = None,
    ) -> Array:
        """drop(linear(x)) + residual, (B, T, E)."""
        if out is None:
            out = arena.empty(residual.shape, residual.dtype)
        if dropout is None:
            return linear.forward(x, residual=residual, out=out)
        return dropout(linear.forward(x, out=out), use, residual=residual, out=out)

    @staticmethod
    def _branch_gradient(dx: Array, arena: Arena, dropout: Dropout | None, use: int) -> Array:
        """The gradient of a branch's end (B, T, E): dx itself, but for dropout."""
        return dx if dropout is None else dropout(dx, use, out=arena.empty(dx.shape, dx.dtype))
