"""Save a training run while it goes on: copy its state, then let a thread write the copy.

The odd thing: an error in the thread is kept and raised where the trainer's own thread next asks,
so that a full disk ends a run in an orderly way and not in the middle of a step. The memory of the
copy is kept from one save to the next.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from hipgpt_model.checkpoint_stream import save_checkpoint

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from hipgpt_kernels.backend import Array, Backend
    from hipgpt_model.checkpoint_header import CheckpointHeader
    from hipgpt_model.training_state import HasState


@dataclass(frozen=True)
class Saved:
    """A checkpoint that is complete on disk.

    Attributes:
        path: where.
        step: optimizer steps done in it.
        nbytes: its size.
        copy_s: seconds that the training stood still for the copy.
        write_s: seconds that it took to write and sync it.
        beside: whether a thread wrote it while the training went on.
    """

    path: Path
    step: int
    nbytes: int
    copy_s: float
    write_s: float
    beside: bool = True

    @property
    def mb_per_s(self) -> float:
        """Megabytes (10⁶ bytes) written a second, with the sync."""
        return self.nbytes / max(self.write_s, 1e-9) / 1e6


class _CancelledError(Exception):
    """`BackgroundSaver.cancel` was called."""


class BackgroundSaver:
    """Writes checkpoints of one trainer, one after the other, beside its training.

    Use it as a context: leaving waits for the last save, or gives it up where an error leaves.
    """

    def __init__(self) -> None:
        self._copies: dict[str, np.ndarray] = {}
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._saved: list[Saved] = []
        self._cancelled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.wait()
        else:
            self.cancel()

    def save(
        self,
        path: str | os.PathLike[str],
        trainer: HasState,
        tokenizer_fingerprint: str | None = None,
        *,
        metrics: Mapping[str, float] | None = None,
        done: Callable[[Saved], None] | None = None,
    ) -> None:
        """Copy the state and begin to write it; the copy is what `save_training` would write.

        Waits until the save before is done.

        Args:
            path: the file.
            trainer: a `Trainer`, between two steps.
            tokenizer_fingerprint: of the tokenizer whose ids it trains on, hexadecimal.
            metrics: figures for the record, by name.
            done: called in the thread once the file is complete.

        Raises:
            OSError: an earlier save failed.
        """
        self.wait()
        began = time.perf_counter()
        state = trainer.state()
        backend = state.parameters.backend
        buffers = {name: self._copy(backend, name, a) for name, a in state.buffers().items()}
        others = {name: self._copy(backend, name, a) for name, a in state.others().items()}
        copy_s = time.perf_counter() - began
        header = state.header(tokenizer_fingerprint, metrics)
        tensors = state.tensors(buffers, others, lambda view: view)
        self._thread = threading.Thread(
            target=self._write,
            args=(Path(path), header, tensors, copy_s, done),
            name="hipgpt-save",
            daemon=True,
        )
        self._thread.start()

    def finished(self) -> list[Saved]:
        """The checkpoints completed since this was asked last; does not wait.

        Raises:
            OSError: a save failed.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        saved, self._saved = self._saved, []
        return saved

    def wait(self) -> None:
        """Wait until nothing is being written.

        Raises:
            OSError: a save failed.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def cancel(self, seconds: float = 2.0) -> None:
        """Give up what is being written, and wait a little until its traces are gone."""
        self._cancelled = True
        if self._thread is not None:
            self._thread.join(seconds)

    def _copy(self, backend: Backend, name: str, array: Array) -> np.ndarray:
        """A copy in memory that is used again; an array of its own where the size changes."""
        shape = tuple(array.shape)
        copy = self._copies.get(name)
        if copy is None or copy.shape != shape:
            copy = self._copies[name] = np.empty(shape, np.float32)
        if isinstance(array, np.ndarray):
            copy[...] = array
        else:
            backend.copy(copy, array)
        return copy

    def _write(
        self,
        path: Path,
        header: CheckpointHeader,
        tensors: Iterator[tuple[str, np.ndarray]],
        copy_s: float,
        done: Callable[[Saved], None] | None,
    ) -> None:
        began = time.perf_counter()
        try:
            save_checkpoint(path, header, self._unless_cancelled(tensors))
            write_s = time.perf_counter() - began
            saved = Saved(path, header.step, path.stat().st_size, copy_s, write_s)
            if done is not None:
                done(saved)
            self._saved.append(saved)
        except _CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where it is asked for
            self._error = error

    def _unless_cancelled(
        self, tensors: Iterator[tuple[str, np.ndarray]]
    ) -> Iterator[tuple[str, np.ndarray]]:
        for tensor in tensors:
            if self._cancelled:
                raise _CancelledError
            yield tensor
