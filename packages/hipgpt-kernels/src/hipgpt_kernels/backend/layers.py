"""The contract of what layers are made of, forward and backward.

Embedding, linear, activation, LayerNorm, attention, dropout and the residual's sum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hipgpt_kernels.backend.terms import Activation, Array, Number


class Layers(ABC):
    """The ops of layers."""

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
