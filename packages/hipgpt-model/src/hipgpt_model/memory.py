"""How much memory a model takes, in bytes by part, before any of it is taken; and what takes less.

The odd thing: this repeats, as arithmetic, what `layers.py` asks of the arena, array by array; a
test holds the two together. Workspace that kernels of a GPU take for themselves is not in it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from hipgpt_kernels.arena import ALIGNMENT as ARENA_ALIGNMENT
from hipgpt_model.flat_layout import room
from hipgpt_model.head import rows_per_chunk
from hipgpt_model.parameter_specs import parameter_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hipgpt_kernels.backend import Backend
    from hipgpt_model.config import GPTConfig, TrainConfig

LOGITS_BYTES = 1 << 27
"""Of the logits that are there at once, where no backend is named: the CPU's `chunk_bytes`."""

_FLOAT = 4
"""Bytes of a float32."""

_ITEMSIZE = {"float32": 4, "bf16": 2, "fp16": 2}


def training_bytes(
    config: GPTConfig,
    B: int,
    T: int | None = None,
    *,
    logits_bytes: int = LOGITS_BYTES,
    chunk_rows: int = 1,
    column_multiple: int = 1,
    overlaps: bool = False,
    dtype: str = "float32",
    checkpoint_activations: bool = False,
) -> dict[str, int]:
    """Memory for training by part: weights, gradients, moments, activations. The corpus is extra.

    Args:
        config: the model.
        B: rows in a batch.
        T: tokens in a row; None: S.
        logits_bytes: as for `GPT`.
        chunk_rows: as `Backend.chunk_rows`.
        column_multiple: as `Backend.column_multiple`.
        overlaps: as `Backend.overlaps`.
        dtype: what the layers compute in; below float32 the weights count twice, see `Parameters`.
        checkpoint_activations: as for `GPT`.
    """
    T = config.max_seq_len if T is None else T
    weights = weight_bytes(config, multiple=column_multiple)
    low = 0 if dtype == "float32" else weight_bytes(config, dtype, column_multiple)
    activations = _Activations(config, B, T, _ITEMSIZE[dtype])
    columns = -(-config.vocab_size // column_multiple) * column_multiple
    return {
        "weights": weights + low,
        "gradients": weights,
        "moments": 2 * weights,
        "activations": activations.training(
            columns,
            logits_bytes,
            chunk_rows,
            checkpointed=checkpoint_activations,
            overlaps=overlaps,
        ),
    }


def run_bytes(
    config: GPTConfig, training: TrainConfig, T: int, backend: Backend, owners: int = 1
) -> dict[str, int]:
    """`training_bytes` of a run on a backend, with the running average where it keeps one.

    Args:
        config: the model.
        training: how it is trained; the batch is that of this process.
        T: tokens in a row.
        backend: where.
        owners: processes that share out what only the optimizer needs.
    """
    needed = training_bytes(
        config,
        training.batch_size,
        T,
        logits_bytes=backend.chunk_bytes,
        chunk_rows=backend.chunk_rows,
        column_multiple=backend.column_multiple,
        overlaps=backend.overlaps,
        dtype=training.dtype,
        checkpoint_activations=training.checkpoint_activations,
    )
    if training.ema:
        needed["running average"] = needed["gradients"]  # as many float32
    masters = needed["gradients"] if training.dtype != "float32" else 0  # as many float32
    needed["weights"] -= masters - masters // owners
    needed["moments"] //= owners
    if masters and training.ema:  # it is of what the process owns of them
        needed["running average"] //= owners
    return needed


def available_bytes(backend: Backend) -> int:
    """What a run may take: what is free on a GPU, and all of the memory that a CPU can swap."""
    free, total = backend.memory_info()
    return free if backend.can_capture else total


def smaller_runs(
    config: GPTConfig,
    training: TrainConfig,
    T: int,
    backend: Backend,
    available: int,
    owners: int = 1,
) -> list[TrainConfig]:
    """Runs that train on the same batches and fit in so many bytes, the least change first.

    At most one of each kind: another dtype, checkpointed activations, a smaller batch with more
    accumulation, and all of it together where nothing else is enough.
    """

    def fits(run: TrainConfig) -> bool:
        return sum(run_bytes(config, run, T, backend, owners).values()) <= available

    def first_fitting(runs: Iterator[TrainConfig]) -> list[TrainConfig]:
        return [run for run in runs if fits(run)][:1]

    low = replace(training, dtype="bf16" if backend.can_capture else training.dtype)
    anew = replace(training, checkpoint_activations=True)
    found = [run for run in (low, anew) if run != training and fits(run)]
    found += first_fitting(_smaller_batches(training))
    if not found:
        found += first_fitting(_smaller_batches(replace(low, checkpoint_activations=True)))
    return found


def _smaller_batches(training: TrainConfig) -> Iterator[TrainConfig]:
    """The same rows a step in more passes of fewer rows."""
    B = training.batch_size
    for parts in range(1, B + 1):
        if B % parts == 0:
            yield replace(training, batch_size=B // parts, grad_accum=training.grad_accum * parts)


def shortage(needed: dict[str, int], available: int, runs: list[TrainConfig]) -> str:
    """The sentence for a run that does not fit.

    Args:
        needed: bytes by part.
        available: bytes.
        runs: what `smaller_runs` gave.
    """
    parts = ", ".join(f"{name} {_gib(size)}" for name, size in needed.items())
    changes = " or ".join(
        f"dtype={run.dtype!r}, batch_size={run.batch_size}, grad_accum={run.grad_accum}, "
        f"checkpoint_activations={run.checkpoint_activations}"
        for run in runs
    )
    fitting = f"these would fit: {changes}" if runs else "a smaller model or shorter rows would fit"
    return (
        f"training takes {_gib(sum(needed.values()))} of memory ({parts}) and "
        f"{_gib(available)} are free; {fitting}"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def generation_bytes(config: GPTConfig, B: int = 1, *, dtype: str = "float32") -> dict[str, int]:
    """Memory for generation by part: weights, key-value cache, activations of the longest prompt.

    Args:
        config: the model.
        B: rows generated at once.
        dtype: what the layers compute in.
    """
    activations = _Activations(config, B, config.max_seq_len, _ITEMSIZE[dtype])
    return {
        "weights": weight_bytes(config, dtype),
        "key-value cache": 2 * config.num_layers * activations.stream,
        "activations": activations.generation(),
    }


def weight_bytes(config: GPTConfig, dtype: str = "float32", multiple: int = 1) -> int:
    """Memory of one flat buffer of all parameters."""
    return _ITEMSIZE[dtype] * sum(room(spec, multiple) for spec in parameter_table(config))


class _Activations:
    """The arena's arrays for B rows of T tokens."""

    def __init__(self, config: GPTConfig, B: int, T: int, itemsize: int) -> None:
        self.config = config
        self.B, self.T = B, T
        self.itemsize = itemsize
        self.stream = self._array(B, T, config.embed_dim)

    def training(
        self,
        columns: int,
        logits_bytes: int,
        chunk_rows: int,
        *,
        checkpointed: bool,
        overlaps: bool,
    ) -> int:
        """The arena's height at its highest in a pass forward and backward."""
        config, B, T, stream = self.config, self.B, self.T, self.stream
        E, F, H = config.embed_dim, config.ff_dim, config.num_heads
        up = 2 * F if config.activation == "swiglu" else F
        statistics = 2 * self._array(B, T, itemsize=_FLOAT)

        block = (  # but for its output; the input is counted before
            4 * stream  # norm1, attention, x2, norm2
            + 2 * statistics
            + self._array(B, T, 3 * E)  # q, k, v
            + self._array(B, H, T, itemsize=_FLOAT)  # log-sum-exp
            + self._array(B, T, up)  # before the activation
            + self._array(B, T, F)  # and after
        )
        norm = stream + statistics if config.final_norm else 0
        of_blocks = stream if checkpointed else stream + block
        kept = stream + config.num_layers * of_blocks + norm  # the embedding comes first

        rows = rows_per_chunk(B * T, columns, logits_bytes, self.itemsize, chunk_rows)
        dx = stream if config.final_norm else 0  # else it takes the last output's place
        if overlaps:  # another array beside the inputs of the logits, from the first chunk on
            kept, dx = kept + stream, 0
        backward = self._array(B, T, 3 * E) + (2 * stream if config.dropout else 0)
        backward += stream if overlaps else 0
        anew = block if checkpointed else 0
        return kept + max(self._array(rows, columns), dx + anew + backward)

    def generation(self) -> int:
        """The arena's height at its highest while the longest prompt is read."""
        config, B, S = self.config, self.B, self.T
        block = self.stream + self._array(B, S, 3 * config.embed_dim)
        block += self._array(B, S, config.ff_dim)
        head = self._array(B, config.embed_dim) + self._array(B, config.vocab_size)
        return self.stream + max(block, head)

    def _array(self, *shape: int, itemsize: int | None = None) -> int:
        """Bytes of an array in the arena."""
        nbytes = math.prod(shape) * (self.itemsize if itemsize is None else itemsize)
        return -(-nbytes // ARENA_ALIGNMENT) * ARENA_ALIGNMENT
