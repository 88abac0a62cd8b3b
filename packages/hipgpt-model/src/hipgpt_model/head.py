"""The end of a GPT: the final norm, the logits and the loss, in chunks of rows.

The odd thing: logits are by far the largest array of a small GPT, V numbers a token, and are used
only once. So for some rows at a time they are made, turned into their own gradient and used up, and
the loss with its whole backward is over before the next rows begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_model.layers import LayerNorm, Linear

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_kernels import Arena
    from hipgpt_kernels.backend import Array, Backend, Number
    from hipgpt_model.config import GPTConfig
    from hipgpt_model.parameters import Parameters


class Head:
    """The final norm, where there is one, and the output matrix, which may be the embedding's."""

    def __init__(
        self,
        config: GPTConfig,
        backend: Backend,
        parameters: Parameters,
        logits_bytes: int | None = None,
    ) -> None:
        self.backend = backend
        self.logits_bytes = backend.chunk_bytes if logits_bytes is None else logits_bytes
        self.norm = (
            LayerNorm(backend, parameters, "final_norm", config.norm_epsilon)
            if config.final_norm
            else None
        )
        self.vocab_size = config.vocab_size
        weight = "token_embedding" if config.tied else "output.weight"
        bias = "output.bias" if config.output_bias else None
        self.output = Linear(backend, parameters, weight, bias)
        # With more columns than ids, where the backend likes that; their gradients are zeros.
        self.padded = Linear(backend, parameters, weight, bias, padded=True)

    def logits(self, x: Array, *, out: Array) -> Array:
        """x (*, E) → out (*, V). Overwrites x."""
        if self.norm is not None:
            x = self.norm.infer(x, out=x)
        return self.output.forward(x, out=out)

    def losses(
        self, x: Array, targets: Array, arena: Arena, *, losses: Array, correct: Array | None
    ) -> Array:
        """x (B, T, E), targets (B, T) → losses (B·T,). Overwrites x."""
        if self.norm is not None:
            x = self.norm.infer(x, out=x)
        x = x.reshape((-1, x.shape[-1]))  # (B, T, E) -> (M, E)
        targets = targets.reshape((-1,))
        mark = arena.mark()
        for rows, buffer in self._chunks(x.shape[0], arena):
            logits = self.padded.forward(x[rows], out=buffer)  # (m, V) or a little more
            self.backend.cross_entropy_forward(
                logits,
                targets[rows],
                losses=losses[rows],
                correct=None if correct is None else correct[rows],
                columns=self.vocab_size,
            )
        arena.release(mark)
        return losses

    def forward_backward(
        self,
        x: Array,
        targets: Array,
        arena: Arena,
        *,
        scale: float,
        loss_scale: Number | None,
        losses: Array,
        correct: Array | None,
    ) -> Array:
        """x (B, T, E), targets (B, T) → losses (B·T,), and returns dx (B, T, E).

        Each loss counts `scale` times `loss_scale` in the gradient. Without a final norm dx takes
        x's memory.
        """
        normed, statistics = (x, None) if self.norm is None else self.norm.forward(x, arena)
        row_inputs = normed.reshape((-1, x.shape[-1]))  # (B, T, E) -> (M, E)
        # Row by row the inputs become their gradients, unless the weight's gradient, which reads
        # them, is computed beside those.
        dnormed = arena.empty(x.shape, x.dtype) if self.backend.overlaps else normed
        row_gradients = dnormed.reshape(row_inputs.shape)
        targets = targets.reshape((-1,))
        mark = arena.mark()
        for rows, buffer in self._chunks(row_inputs.shape[0], arena):
            logits = self.padded.forward(row_inputs[rows], out=buffer)  # (m, V) or a little more
            self.backend.cross_entropy_forward_backward(
                logits,
                targets[rows],
                scale,
                losses=losses[rows],
                correct=None if correct is None else correct[rows],
                loss_scale=loss_scale,
                columns=self.vocab_size,
            )  # logits hold their gradient now
            if dnormed is normed:
                self.padded.backward(logits, row_inputs[rows], out=row_gradients[rows])
            else:
                _, token = self.padded.backward_beside(
                    logits, row_inputs[rows], out=row_gradients[rows]
                )
                self.backend.join(token)
        arena.release(mark)
        if self.norm is None or statistics is None:
            return dnormed
        dx = arena.empty(x.shape, x.dtype) if dnormed is normed else normed
        self.backend.fill(dx, 0.0)
        self.norm.backward(dnormed, x, statistics, dx)
        return dx

    def _chunks(self, rows: int, arena: Arena) -> Iterator[tuple[slice, Array]]:
        """Slices of about equal length that cover all rows, each with (m, V) memory for logits."""
        vocab_size, dtype = self.padded.weight.shape[0], self.padded.weight.dtype
        size = rows_per_chunk(
            rows, vocab_size, self.logits_bytes, dtype.itemsize, self.backend.chunk_rows
        )
        memory = arena.empty((size, vocab_size), dtype)
        for start in range(0, rows, size):
            stop = min(start + size, rows)
            yield slice(start, stop), memory[: stop - start]


def rows_per_chunk(
    rows: int, vocab_size: int, logits_bytes: int, itemsize: int = 4, multiple: int = 1
) -> int:
    """The longest of about equal chunks of rows whose logits fit in so many bytes; at least 1.

    Args:
        rows: in all.
        vocab_size: V.
        logits_bytes: most bytes of a chunk's logits.
        itemsize: bytes of a logit.
        multiple: of so many rows, where there are several chunks.

    Example:
        >>> rows_per_chunk(1000, 256, 300 * 256 * 4)  # four chunks of 250, not 300 300 300 100
        250
        >>> rows_per_chunk(1000, 256, 300 * 256 * 4, multiple=128)
        256
    """
    most = max(logits_bytes // (vocab_size * itemsize), 1)
    if rows > most >= multiple:
        most -= most % multiple
        chunks = -(-rows // most)
        return -(-rows // (chunks * multiple)) * multiple
    chunks = -(-rows // most)
    return -(-rows // chunks)
