"""The contract of a backend: every op a GPT needs, with its shapes, dtypes and in-place rules.

`cpu/` implements it with NumPy; one test suite runs over every implementation. Arrays are
`numpy.ndarray` on the CPU; whatever a backend uses must offer `.shape`, `.dtype`, `.nbytes`,
`.reshape` and basic slicing that gives views. Floating arrays are float32 unless said otherwise.

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

from abc import ABC, abstractmethod
from contextlib import nullcontext
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol

    class Graph(Protocol):
        """Captured ops."""

        def launch(self) -> None:
            """Do all of them, in the order of the stream."""

    from hipgpt_kernels.decode_loop import DecodeLoop
    from hipgpt_kernels.decoder import Decoder

Array: TypeAlias = Any
Activation: TypeAlias = Literal["gelu", "gelu_erf", "relu", "swiglu"]
Number: TypeAlias = Any
"""A number, or an array of shape () on the device, which is read when the op runs: in a captured
graph it changes from one launch to the next. Each op says the array's dtype."""
Precision: TypeAlias = Literal["float32", "bf16", "fp16"]


class Control(IntEnum):
    """What each element of `step_control`'s array is."""

    LOSS_SCALE = 0
    """What the loss is multiplied with before the backward."""
    GOOD_STEPS = 1
    """Steps since the scale last changed or a gradient was not finite."""
    NORM_MEAN = 2
    """Running mean of the gradient's norm."""
    NORM_STEPS = 3
    """Steps in it, at most 100."""
    OVERFLOWS = 4
    """Updates skipped because the gradient was not finite."""
    OUTLIERS = 5
    """Updates skipped because the norm was far above its mean."""
    LOST_IN_A_ROW = 6
    """Updates lost to gradients that were not finite, since the last that was; without those that
    only lowered the loss scale."""
    NORM = 7
    """The last norm, of the gradient without the loss scale."""


class Backend(ABC):
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

    # --- memory -------------------------------------------------------------------------------

    @abstractmethod
    def compute_dtype(self, precision: str) -> Any:
        """The dtype of activations and weights in a precision: "float32", "bf16" or "fp16".

        Every op that takes float32 arrays takes arrays of this dtype in their place, all of one
        dtype. These stay float32 in any precision: gradients of parameters, losses, `correct`,
        statistics (mean, rstd, lse) and what the optimizer works on.

        Raises:
            ValueError: this backend does not compute in it, or there is no such precision.
        """

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """A new array with undefined contents, contiguous in C order."""

    @abstractmethod
    def zeros(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """A new array of zeros."""

    @abstractmethod
    def from_numpy(self, array: np.ndarray, *, copy: bool = True) -> Array:
        """A NumPy array on the device, contiguous in C order.

        With copy=False a backend whose memory is NumPy's may give the array itself, so that a file
        mapped into memory need not be read whole.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> np.ndarray:
        """A NumPy copy of an array, after all work that writes it is done."""

    @abstractmethod
    def copy(self, destination: Array, source: Array) -> None:
        """destination = source. Either may be a NumPy array; shapes and dtypes must be equal."""

    @abstractmethod
    def convert(self, x: Array, dtype: Any, *, out: Array | None = None) -> Array:
        """x in another floating dtype that `compute_dtype` gives, rounded to nearest even.

        Args:
            x: any shape, contiguous.
            dtype: of the result.
            out: the shape of x, of `dtype`, contiguous. Must not overlap x.
        """

    @abstractmethod
    def fill(self, array: Array, value: float) -> None:
        """array[...] = value."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work given to the device is done."""

    @abstractmethod
    def memory_info(self) -> tuple[int, int]:
        """Bytes of memory (free, total) that this device has."""

    # --- tokens and embeddings ----------------------------------------------------------------

    @abstractmethod
    def gather_batch(self, tokens: Array, starts: Array, inputs: Array, targets: Array) -> None:
        """inputs[b, t] = tokens[starts[b] + t]; targets[b, t] = tokens[starts[b] + t + 1].

        Args:
            tokens: (N,) uint16 or uint32, the corpus.
            starts: (B,) int64, each at most N - T - 1.
            inputs: (B, T) int32, written.
            targets: (B, T) int32, written.
        """

    @abstractmethod
    def embedding_forward(
        self,
        tokens: Array,
        token_table: Array,
        position_table: Array | None = None,
        *,
        position: int = 0,
        out: Array | None = None,
    ) -> Array:
        """out[b, t] = token_table[tokens[b, t]] + position_table[position + t].

        Args:
            tokens: (B, T) int32, each in [0, V).
            token_table: (V, E).
            position_table: (S, E) with position + T <= S, or None for no position term.
            position: position of the first token of each row.
            out: (B, T, E).
        """

    @abstractmethod
    def embedding_backward(
        self,
        dout: Array,
        tokens: Array,
        dtoken_table: Array,
        dposition_table: Array | None = None,
    ) -> None:
        """dtoken_table[tokens[b, t]] += dout[b, t]; dposition_table[t] += sum over b of dout[b, t].

        Args:
            dout: (B, T, E).
            tokens: (B, T) int32.
            dtoken_table: (V, E), added to.
            dposition_table: (S, E), added to, or None.
        """

    # --- linear -------------------------------------------------------------------------------

    @abstractmethod
    def linear_forward(
        self,
        x: Array,
        weight: Array,
        bias: Array | None = None,
        *,
        activation: Activation | None = None,
        preactivation: Array | None = None,
        residual: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """out = activation(x · weightᵀ + bias) + residual.

        Args:
            x: (*, K).
            weight: (N, K), as in PyTorch: one row an output.
            bias: (N,) or None.
            activation: None, "gelu" (tanh form), "gelu_erf", "relu", or "swiglu" (halves the
                columns, see `activation_forward`).
            preactivation: (*, N), written with x · weightᵀ + bias: what the backward needs. Only
                with an activation.
            residual: the shape of out, or None. Not together with an activation.
            out: (*, N), or (*, N / 2) for "swiglu". May alias residual.
        """

    @abstractmethod
    def linear_backward_input(
        self,
        dout: Array,
        weight: Array,
        *,
        activation: Activation | None = None,
        preactivation: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """out = dout · weight, the gradient of x.

        Where x was itself the output of an activation, give that activation and its
        preactivation, and out is the gradient of the preactivation.

        Args:
            dout: (*, N).
            weight: (N, K).
            activation: the activation that made x, or None.
            preactivation: (*, K), or (*, 2K) for "swiglu"; only with an activation.
            out: (*, K), or (*, 2K) for "swiglu". May alias preactivation.
        """

    @abstractmethod
    def linear_backward_weight(
        self, dout: Array, x: Array, dweight: Array, dbias: Array | None = None
    ) -> None:
        """dweight += doutᵀ · x; dbias += sum over rows of dout.

        Args:
            dout: (*, N).
            x: (*, K).
            dweight: (N, K), added to.
            dbias: (N,), added to, or None.
        """

    # --- activation ---------------------------------------------------------------------------

    @abstractmethod
    def activation_forward(
        self, x: Array, activation: Activation, *, out: Array | None = None
    ) -> Array:
        """The activation by itself.

        gelu(x) = x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³)))  (Hendrycks, Gimpel 2016, section 2)
        gelu_erf(x) = x/2 · (1 + erf(x/√2)) = x · Φ(x)  (the same, equation 1)
        relu(x) = max(x, 0)
        swiglu(x) = g · sigmoid(g) · u with (g, u) the two halves of the last dimension
        (Shazeer 2020, "GLU Variants Improve Transformer", equation 6)

        Args:
            x: (*, N).
            activation: "gelu", "gelu_erf", "relu" or "swiglu".
            out: (*, N), or (*, N / 2) for "swiglu". May alias x except for "swiglu".
        """

    @abstractmethod
    def activation_backward(
        self, dout: Array, x: Array, activation: Activation, *, out: Array | None = None
    ) -> Array:
        """The gradient of x, shaped like x. `out` may alias x, or dout where the shapes agree."""

    # --- normalisation ------------------------------------------------------------------------

    @abstractmethod
    def layernorm_forward(
        self,
        x: Array,
        weight: Array,
        bias: Array,
        *,
        epsilon: float = 1e-5,
        out: Array | None = None,
        mean: Array | None = None,
        rstd: Array | None = None,
    ) -> Array:
        """out = (x − mean) · rstd · weight + bias over the last dimension, rstd = 1/√(var + ε).

        Ba, Kiros and Hinton 2016, "Layer Normalization", equation 4; var is the biased variance.

        Args:
            x: (*, E).
            weight: (E,).
            bias: (E,).
            epsilon: added to the variance.
            out: (*, E). May alias x where no backward follows.
            mean: (*,), written where given: what the backward needs.
            rstd: (*,), written where given.
        """

    @abstractmethod
    def layernorm_backward(
        self,
        dout: Array,
        x: Array,
        weight: Array,
        mean: Array,
        rstd: Array,
        dx: Array,
        dweight: Array,
        dbias: Array,
    ) -> None:
        """dx += the gradient of x (residual stream); dweight += …; dbias += ….

        Args:
            dout: (*, E).
            x: (*, E), the input of the forward.
            weight: (E,).
            mean: (*,) from the forward.
            rstd: (*,) from the forward.
            dx: (*, E), added to. Must not alias dout.
            dweight: (E,), added to.
            dbias: (E,), added to.
        """

    # --- attention ----------------------------------------------------------------------------

    @abstractmethod
    def attention_forward(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        out: Array | None = None,
        lse: Array | None = None,
    ) -> Array:
        """Causal self-attention: out[t] = Σ_{s ≤ t} softmax_s(q[t]·k[s] / √D) · v[s], per head.

        Vaswani et al. 2017, equation 1, with the mask of section 3.2.3. Only the log-sum-exp of
        each row is kept for the backward (Dao et al. 2022, "FlashAttention", algorithm 2).

        Args:
            q: (B, T, H, D). Views of one packed (B, T, 3, H, D) array are welcome for q, k and v;
                only the last dimension must be contiguous.
            k: (B, T, H, D).
            v: (B, T, H, D).
            out: (B, T, H, D).
            lse: (B, H, T), written where given: log Σ exp of the scaled, masked scores.
        """

    @abstractmethod
    def attention_backward(
        self,
        dout: Array,
        q: Array,
        k: Array,
        v: Array,
        out: Array,
        lse: Array,
        dq: Array,
        dk: Array,
        dv: Array,
    ) -> None:
        """Write the gradients dq, dk, dv of causal self-attention.

        Each is (B, T, H, D), views welcome; `out` and `lse` are what the forward gave. Dao et al.
        2022, algorithm 4.
        """

    @abstractmethod
    def attention_cached(
        self,
        q: Array,
        k: Array,
        v: Array,
        k_cache: Array,
        v_cache: Array,
        position: int,
        *,
        out: Array | None = None,
    ) -> Array:
        """Put k and v into the cache at `position`, then attend from q over positions 0 … its own.

        Args:
            q: (B, T, H, D), tokens at positions position … position + T − 1; views welcome.
            k: (B, T, H, D).
            v: (B, T, H, D).
            k_cache: (B, H, S, D), rows position … position + T − 1 written; position + T <= S.
            v_cache: (B, H, S, D), likewise.
            position: how many tokens the cache holds already.
            out: (B, T, H, D).
        """

    # --- dropout and sums ---------------------------------------------------------------------

    @abstractmethod
    def dropout_forward(
        self,
        x: Array,
        probability: float,
        seed: int,
        stream: Number,
        *,
        residual: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """out[i] = x[i] · keep[i] / (1 − probability) + residual[i].

        keep[i] is true where word i % 4 of Philox4x32-10 with counter i // 4 (see `philox.py`) is
        at least probability · 2³². The backward is this op again: on the gradient, no residual.

        Args:
            x: any shape.
            probability: in [0, 1).
            seed: 64-bit key.
            stream: 64-bit number of this use of dropout: no two uses in a training run share one.
                An array is uint64 or int64.
            residual: shaped like x, or None.
            out: shaped like x. May alias x or residual.
        """

    @abstractmethod
    def add(self, x: Array, y: Array, *, out: Array | None = None) -> Array:
        """out = x + y, shapes equal. `out` may alias either."""

    @abstractmethod
    def lerp(self, start: Array, end: Array, weight: Number, *, out: Array | None = None) -> Array:
        """out = start + weight · (end − start); with out=start a running average. float32 always.

        Args:
            start: any shape.
            end: shaped like start.
            weight: finite; 0 gives start. An array is float64.
            out: shaped like start. May alias either.
        """

    @abstractmethod
    def mean(self, x: Array) -> float:
        """The mean of all elements as a Python number, summed in float64."""

    # --- loss ---------------------------------------------------------------------------------

    @abstractmethod
    def cross_entropy_forward(
        self,
        logits: Array,
        targets: Array,
        *,
        losses: Array | None = None,
        correct: Array | None = None,
        columns: int | None = None,
    ) -> Array:
        """losses[m] = logsumexp(logits[m]) − logits[m, targets[m]].

        Args:
            logits: (M, V).
            targets: (M,) int32 in [0, V), or −1 for a row that does not count: loss 0, correct 0.
            losses: (M,), written and returned.
            correct: (M,) float32, written where given: 1 where the target has the largest logit
                (ties go to the smaller id), else 0.
            columns: V, where the array has more columns than there are ids, so that its rows begin
                on convenient borders; what stands in the others does not matter.
        """

    @abstractmethod
    def cross_entropy_forward_backward(
        self,
        logits: Array,
        targets: Array,
        scale: float,
        *,
        losses: Array | None = None,
        correct: Array | None = None,
        loss_scale: Number | None = None,
        columns: int | None = None,
    ) -> Array:
        """As `cross_entropy_forward`, and logits becomes its own gradient, in place.

        logits[m, j] = scale · loss_scale · (softmax(logits[m])[j] − [j = targets[m]]); 0 where
        target is −1, and behind the first `columns`. None is a `loss_scale` of 1; an array is
        float32.
        """

    # --- optimizer ----------------------------------------------------------------------------

    @abstractmethod
    def gradient_norm(self, gradients: Array) -> Array:
        """√Σ g² of a flat array, as a float32 array of shape () that lives on the device."""

    @abstractmethod
    def adamw_step(
        self,
        weights: Array,
        gradients: Array,
        m: Array,
        v: Array,
        *,
        learning_rate: Number,
        beta1: float,
        beta2: float,
        epsilon: float,
        weight_decay: float,
        step: Number,
        norm: Array | None = None,
        max_norm: float = 0.0,
        factor: Array | None = None,
        decayed: int | None = None,
        low: Array | None = None,
        zero_gradients: bool = False,
    ) -> None:
        """One AdamW update over flat arrays (Loshchilov and Hutter 2019, algorithm 2).

        g = gradients · factor, or gradients · min(1, max_norm / (norm + 1e-6)) where max_norm > 0;
        m = β₁m + (1−β₁)g;  v = β₂v + (1−β₂)g²;
        weights −= learning_rate · (m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε) + weight_decay · weights).

        Where `norm` is given and is not finite, or `factor` is a NaN, weights, m, v and low stay as
        they are: a step with an overflow is lost, the weights are not.

        Args:
            weights: (n,), updated.
            gradients: (n,).
            m: (n,), first moment, updated.
            v: (n,), second moment, updated.
            learning_rate: step size. An array is float64.
            beta1: decay of the first moment.
            beta2: decay of the second moment.
            epsilon: added to the root of the second moment.
            weight_decay: decoupled decay; 0 for biases and gains.
            step: t, counted from 1. An array is int64.
            norm: what `gradient_norm` gave over all parameters, or None.
            max_norm: the limit of clipping; 0 clips nothing.
            factor: () float64, what `step_control` gave; not together with norm.
            decayed: weight decay is for the first so many elements alone; None: for all.
            low: (n,) of a 16-bit dtype that `compute_dtype` gives: written with the new weights.
            zero_gradients: leave zeros in gradients, whether or not the step is lost.
        """

    # --- the step as a whole --------------------------------------------------------------------

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

    def join(self, token: Any) -> None:  # noqa: B027  # in order there is nothing to wait for
        """What follows comes after the ops of a `beside`. Each must be joined, in a capture too."""

    @abstractmethod
    def take_row(self, table: Array, cursor: Array, out: Array) -> None:
        """out = table[cursor]; cursor += 1: what changes from step to step, prepared for many.

        Args:
            table: (rows, W) int64; other 8-byte types travel as views.
            cursor: () int64, in [0, rows), updated.
            out: (W,) int64, written.
        """

    @abstractmethod
    def step_control(
        self,
        control: Array,
        norm: Array,
        factor: Array,
        *,
        max_norm: float = 0.0,
        outlier: float = 0.0,
        growth: int = 0,
    ) -> None:
        """Decide what becomes of an update, from the gradient's norm; nothing waits for the device.

        The gradient is that of the loss times control[LOSS_SCALE]. factor is what it shall be
        multiplied with: min(1, max_norm / (norm + 1e-6)) over the loss scale, or a NaN where the
        update is skipped, because the norm is not finite or an outlier.

        With `growth` the loss scale is dynamic (Micikevicius et al. 2018, "Mixed Precision
        Training", section 3.2): halved, to 1 at least, where the norm is not finite, and doubled
        after so many steps in which it was. The running mean of the norm looks back on about 100
        steps; a skipped outlier counts in it as the largest that would not have been one, so that
        a change for good is followed in the end.

        Args:
            control: (8,) float32, elements as `Control` names them, updated.
            norm: () float32, what `gradient_norm` gave.
            factor: () float64, written.
            max_norm: the limit of clipping; 0 clips nothing.
            outlier: skip updates whose norm is above this many times its running mean, once that
                has 20 steps; 0 skips none.
            growth: steps after which the loss scale doubles; 0: it never changes.
        """

    @abstractmethod
    def row_means(self, x: Array, *, out: Array | None = None) -> Array:
        """out[r] = the mean of x[r], summed in float64, on the device.

        Args:
            x: (rows, n), n > 0.
            out: (rows,) float64.
        """

    # --- sampling -----------------------------------------------------------------------------

    @abstractmethod
    def sample(
        self,
        logits: Array,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seen: Array | None = None,
        seed: int = 0,
        position: int = 0,
        out: Array | None = None,
    ) -> Array:
        """Draw one id from each row of logits. The logits may be overwritten.

        In this order, each filter working on what the ones before it left, renormalised:
        repetition penalty (Keskar et al. 2019, section 4.1: logits of seen ids are divided by the
        penalty where positive, multiplied where negative), temperature, top-k, top-p (the
        smallest set of most likely ids whose probability reaches top_p), min-p (ids at least
        min_p times as likely as the likeliest). The likeliest id always stays. Row b draws with
        word b % 4 of Philox counter b // 4 in stream `position`, so the draw does not depend on
        the backend. Ties go to the smaller id.

        Args:
            logits: (B, V).
            temperature: 0 takes the likeliest id.
            top_k: 0 keeps all.
            top_p: 1 keeps all.
            min_p: 0 keeps all.
            repetition_penalty: 1 changes nothing. Needs `seen`.
            seen: (B, V) uint8, 1 for ids that have occurred; the drawn id is set in it.
            seed: 64-bit key.
            position: number of the draw.
            out: (B,) int32.
        """

    # --- generation -----------------------------------------------------------------------------
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
