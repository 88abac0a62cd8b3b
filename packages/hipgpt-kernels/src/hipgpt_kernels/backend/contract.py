"""The contract of a backend: every op a GPT needs, with its shapes, dtypes and in-place rules.

`memory`, `layers`, `training` and `generation` say what each op does; `cpu/` implements them with
NumPy; one test suite runs over every implementation. Arrays are `numpy.ndarray` on the CPU;
whatever a backend uses must offer `.shape`, `.dtype`, `.nbytes`, `.reshape` and basic slicing that
gives views. Floating arrays are float32 unless said otherwise.

Sizes: V vocabulary, S maximum sequence length, E embedding, L layers, H heads, F feed-forward,
B batch, T tokens in a row, D = E / H. `(*, K)` is any number of leading dimensions: rows.

Rules that hold for every op:

- Results go to the keyword `out` (and the other output keywords) where they are given, else to new
  arrays. An op never keeps a reference to an argument after it has returned.
- Gradients of parameters are added (`+=`). Gradients of activations are written (`=`), except on
  the residual stream (`layernorm_backward`), where they are added.
- An output may be the same array as an input only where the op says "may alias".
- Wrong shapes, dtypes or values raise ValueError or TypeError before anything is written, and the
  message says what was expected and what came.
- Equal inputs give equal bits: no reduction depends on timing.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from hipgpt_kernels.backend.generation import Generation
from hipgpt_kernels.backend.layers import Layers
from hipgpt_kernels.backend.memory import Memory
from hipgpt_kernels.backend.training import Training

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from hipgpt_kernels.backend.terms import Array
    from hipgpt_kernels.decode_loop import DecodeLoop
    from hipgpt_kernels.decoder import Decoder


class Graph(Protocol):
    """Captured ops."""

    def launch(self) -> None:
        """Do all of them, in the order of the stream."""


class Backend(Memory, Layers, Training, Generation):
    """Operations on one device. `load_backend` makes one; layers never ask which they have."""

    name: str
    """Short name: "cpu" or "hip"."""
    description: str
    """One line for people: the device, its memory, how it is driven."""
    reason: str = ""
    """Why "auto" took no GPU; empty where it did, or where a backend was asked for by name."""

    chunk_bytes: int = 1 << 27
    """Of an array that is made for some rows at a time and used up at once, such as logits: more at
    a time gains next to nothing. With V = 50257, E = 768 and 512 rows, chunks of logits of 8, 32,
    128 and 256 MiB took 1.5, 1.15, 1 and 1 times as long a training step on one core."""
    chunk_rows: int = 1
    """Such chunks have a multiple of so many rows."""
    column_multiple: int = 1
    """Rows of logits are stored with a multiple of so many columns: see `columns` of the losses."""

    # --- the order of work --------------------------------------------------------------------

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work given to the device is done."""

    can_capture: bool = False
    """Whether `capture` can turn ops into a graph that is launched as one."""

    def capture(self) -> AbstractContextManager[Graph]:
        """Ops inside are not done but become a graph, which `launch` does as one.

        Arrays that are made inside live as long as the graph. Nothing inside may wait for the
        device: no to_numpy, no synchronize, no copy from or to NumPy.

        Raises:
            RuntimeError: the backend cannot; `can_capture` says so.
        """
        raise RuntimeError(f"{self.name} captures no graphs; ask can_capture first")

    overlaps: bool = False
    """Whether `beside` lets ops be done at the same time."""

    def beside(self) -> AbstractContextManager[Any]:
        """Ops inside may be done at the same time as those that follow, until `join`.

        They see what was done before. Until then nothing that they read may be written, and
        nothing that they write be touched, by what follows; the arrays must live as long.

        Returns:
            A context that gives a token for `join`.
        """
        return nullcontext()

    def join(self, token: Any) -> None:  # in order there is nothing to wait for
        """What follows comes after the ops of a `beside`. Each must be joined, in a capture too."""

    # --- a whole model's step -----------------------------------------------------------------
    # Not abstract: both exist for every backend, made of the ops above. A backend overrides them
    # where it can do better.

    def decode_step(
        self,
        decoder: Decoder,
        keys: Sequence[Array],
        values: Sequence[Array],
        tokens: Array,
        positions: Array,
        *,
        out: Array | None = None,
    ) -> Array:
        """The logits after one more token of each row, all layers in one call.

        Row b reads tokens[b] at positions[b]: its keys and values are written there in every
        cache, and it attends to positions 0 … positions[b] of its own row. Each row has its own
        position, so prompts of different lengths go on side by side.

        Args:
            decoder: the model's weights.
            keys: L arrays (B, H, S, D), contiguous, one a block; written.
            values: L arrays (B, H, S, D), likewise.
            tokens: (B,) int32, each in [0, V).
            positions: (B,) int32, each in [0, S), or −1 for a row that takes no part: nothing of it
                is written but its logits, which mean nothing.
            out: (B, V).
        """
        from hipgpt_kernels import decoder as plain

        return plain.decode_step(self, decoder, keys, values, tokens, positions, out=out)

    def decode_loop(
        self, decoder: Decoder, keys: Sequence[Array], values: Sequence[Array]
    ) -> DecodeLoop:
        """A loop that draws token after token of B rows; see `decode_loop.DecodeLoop`.

        It keeps the arrays: this one op is the exception to the rule about references.
        """
        from hipgpt_kernels.decode_loop import HostLoop

        return HostLoop(self, decoder, keys, values)
