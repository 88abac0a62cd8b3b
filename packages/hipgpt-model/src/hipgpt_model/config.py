"""What a model is and how it is trained: two frozen dataclasses, checked when they are made.

The sizes have one letter each in every docstring, comment and formula of hipgpt:

    V  vocabulary          S  maximum sequence length   E  embedding (width)
    L  layers              H  heads                     F  feed-forward width
    B  batch (rows)        T  tokens in a row, T ≤ S    D  E / H, the width of one head

The odd thing: a wrong *type* is a ValueError here, as a wrong value is, because most of these
numbers come from a file or a command line, where the difference means nothing to the reader.
"""

# ruff: noqa: TRY004  (see above)

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, TypeAlias

Precision: TypeAlias = Literal["float32", "bf16", "fp16"]
Activation: TypeAlias = Literal["gelu", "gelu_erf", "relu", "swiglu"]
Schedule: TypeAlias = Literal["cosine", "linear", "constant", "wsd"]

LARGEST_SEED = 2**64 - 1
"""Philox has a key of 64 bits."""

_LARGEST = 2**63 - 1
"""Of any other integer: what 64 bits hold with a sign."""


class _Config:
    """What both configurations share: to and from plain dictionaries, by name."""

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, as plain numbers, strings and booleans."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is missing, unknown, or of a wrong type or value; it is named.
        """
        if not isinstance(values, dict):
            raise ValueError(f"{cls.__name__}: expected a dictionary, got {values!r}")
        names = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        if missing := sorted(names - values.keys()):
            raise ValueError(f"{cls.__name__}: missing {', '.join(missing)}")
        if unknown := sorted(map(repr, values.keys() - names)):
            raise ValueError(f"{cls.__name__}: unknown {', '.join(unknown)}")
        return cls(**values)

    def _integer(self, name: str, low: int, high: int = _LARGEST) -> None:
        value = getattr(self, name)
        upper = "" if high == _LARGEST else f" and at most {high}"
        wanted = f"an integer, at least {low}{upper}"
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} must be {wanted}; got {value!r}")
        if not -_LARGEST <= value <= LARGEST_SEED:
            raise ValueError(f"{name} must be {wanted}; got {value.bit_length()} bits")
        if not low <= value <= high:
            raise ValueError(f"{name} must be {wanted}; got {value}")

    def _number(self, name: str, low: float, high: float, interval: str = "[]") -> None:
        """Check low ≤ value ≤ high; a round bracket in `interval` excludes that end."""
        value = getattr(self, name)
        left = f"above {low:g}" if interval[0] == "(" else f"at least {low:g}"
        right = f"below {high:g}" if interval[1] == ")" else f"at most {high:g}"
        wanted = f"a number {left}" + ("" if math.isinf(high) else f" and {right}")
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise ValueError(f"{name} must be {wanted}; got {value!r}")
        if isinstance(value, int) and abs(value) > _LARGEST:  # no float64 may be so large
            raise ValueError(f"{name} must be {wanted}; got {value.bit_length()} bits")
        above = value > low if interval[0] == "(" else value >= low
        below = value < high if interval[1] == ")" else value <= high
        if not (above and below and math.isfinite(value)):
            raise ValueError(f"{name} must be {wanted}; got {value}")
        object.__setattr__(self, name, float(value))  # so that 1 and 1.0 make equal files

    def _choice(self, name: str, choices: tuple[str, ...]) -> None:
        if getattr(self, name) not in choices:
            wanted = ", ".join(map(repr, choices))
            raise ValueError(f"{name} must be one of {wanted}; got {getattr(self, name)!r}")

    def _boolean(self, name: str) -> None:
        if not isinstance(getattr(self, name), bool):
            raise ValueError(f"{name} must be true or false; got {getattr(self, name)!r}")


@dataclass(frozen=True)
class GPTConfig(_Config):
    """The sizes and options of a model. Equal configurations have the same parameters by name.

    Attributes:
        vocab_size: V, how many ids there are.
        max_seq_len: S, how many tokens the model can see at once.
        embed_dim: E, the width of the residual stream.
        num_layers: L, how many blocks.
        num_heads: H; must divide E.
        ff_dim: F, the width inside a feed-forward layer.
        activation: of the feed-forward layer: "gelu" (tanh form, as GPT-2), "gelu_erf" (with the
            error function, as some of its descendants), "relu" or "swiglu".
        tied: the output matrix is the token embedding (Press and Wolf 2017), as in GPT-2.
        output_bias: the logits have a bias.
        final_norm: a LayerNorm stands before the output, as in GPT-2.
        dropout: probability of dropping an element after the embedding and after each of a
            block's two branches, in [0, 1).
        norm_epsilon: added to the variance in each LayerNorm.

    Raises:
        ValueError: a field is out of range; it is named, with what was expected.
    """

    vocab_size: int
    max_seq_len: int = 32
    embed_dim: int = 128
    num_layers: int = 2
    num_heads: int = 4
    ff_dim: int = 256
    activation: Activation = "gelu"
    tied: bool = False
    output_bias: bool = True
    final_norm: bool = True
    dropout: float = 0.0
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("vocab_size", "max_seq_len", "embed_dim", "num_layers", "num_heads", "ff_dim"):
            self._integer(name, 1, 2**31 - 1)
        self._choice("activation", ("gelu", "gelu_erf", "relu", "swiglu"))
        for name in ("tied", "output_bias", "final_norm"):
            self._boolean(name)
        self._number("dropout", 0, 1, "[)")
        self._number("norm_epsilon", 0, 1, "()")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"num_heads must divide embed_dim; got {self.num_heads} heads for "
                f"embed_dim {self.embed_dim}"
            )

    @property
    def head_dim(self) -> int:
        """D, the width of one head."""
        return self.embed_dim // self.num_heads

    def parameters_by_part(self) -> dict[str, int]:
        """How many parameters each part has. The parts' sum is `num_parameters()`.

        A block has 4E² + 2EF + F + 9E: attention 4E² + 4E, the feed-forward 2EF + F + E and
        the two norms 4E. SwiGLU's second input matrix adds EF + F.
        """
        V, S, E = self.vocab_size, self.max_seq_len, self.embed_dim
        L, F = self.num_layers, self.ff_dim
        gate = E * F + F if self.activation == "swiglu" else 0
        return {
            "token embedding": V * E,
            "position embedding": S * E,
            "blocks": L * (4 * E * E + 2 * E * F + F + 9 * E + gate),
            "final norm": 2 * E if self.final_norm else 0,
            "output": (0 if self.tied else E * V) + (V if self.output_bias else 0),
        }

    def num_parameters(self) -> int:
        """How many numbers a model of this configuration learns.

        Example:
            >>> GPTConfig(vocab_size=5000).num_parameters()
            1554312
        """
        return sum(self.parameters_by_part().values())


@dataclass(frozen=True)
class TrainConfig(_Config):
    """How a model is trained. Together with the data it determines every bit of the result.

    Attributes:
        batch_size: B, rows of T tokens in one forward and backward pass.
        steps: optimizer steps in the whole run.
        learning_rate: the highest, reached after the warm-up.
        min_learning_rate: the lowest, reached at the last step; None: a tenth of `learning_rate`.
        warmup_steps: steps over which the learning rate rises linearly.
        schedule: how it falls afterwards: "cosine", "linear", "constant" (not at all), or "wsd"
            (warm-up, stable, decay: not at all until the last `decay_steps`).
        decay_steps: of "wsd": steps over which it falls at the end; None: a fifth of `steps`.
        weight_decay: decoupled decay of matrices; biases and gains are never decayed.
        beta1: decay of AdamW's first moment.
        beta2: decay of AdamW's second moment.
        epsilon: added to the root of the second moment.
        clip: largest norm of the gradient over all parameters; 0 clips nothing.
        grad_accum: passes whose gradients make one optimizer step.
        seed: of initialisation, data order and dropout, 0 … 2⁶⁴ − 1.
        eval_every: steps between evaluations; 0: only at the end.
        eval_batches: batches of validation text in one evaluation.
        patience: evaluations in a row without a lower loss after which a run ends; 0: never.
        ema: decay of the running average of the weights, in [0, 1); 0: no average is kept.
        skip_outliers: an update whose gradient norm is above this many times its running mean is
            skipped; 0: none is. At least 1.
        dtype: what is computed in: "float32", "bf16" or "fp16". The optimizer works on float32
            weights in any case; "fp16" scales the loss so that small gradients are not lost.
        checkpoint_activations: keep one activation a block and compute the others anew in the
            backward: less memory for a third more arithmetic, and the same bits.

    Raises:
        ValueError: a field is out of range; it is named, with what was expected.
    """

    batch_size: int = 32
    steps: int = 1500
    learning_rate: float = 1e-3
    min_learning_rate: float | None = None
    warmup_steps: int = 100
    schedule: Schedule = "cosine"
    decay_steps: int | None = None
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    clip: float = 1.0
    grad_accum: int = 1
    seed: int = 1337
    eval_every: int = 250
    eval_batches: int = 20
    patience: int = 0
    ema: float = 0.0
    skip_outliers: float = 0.0
    dtype: Precision = "float32"
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "grad_accum", "eval_batches"):
            self._integer(name, 1)
        for name in ("warmup_steps", "eval_every", "patience"):
            self._integer(name, 0)
        self._integer("seed", 0, LARGEST_SEED)
        self._number("learning_rate", 0, math.inf, "(]")
        if self.min_learning_rate is not None:
            self._number("min_learning_rate", 0, self.learning_rate)
        self._choice("schedule", ("cosine", "linear", "constant", "wsd"))
        if self.decay_steps is not None:
            self._integer("decay_steps", 1)
        self._number("weight_decay", 0, math.inf)
        self._number("beta1", 0, 1, "[)")
        self._number("beta2", 0, 1, "[)")
        self._number("epsilon", 0, math.inf, "(]")
        self._number("clip", 0, math.inf)
        self._choice("dtype", ("float32", "bf16", "fp16"))
        self._boolean("checkpoint_activations")
        self._number("ema", 0, 1, "[)")
        self._number("skip_outliers", 0, math.inf)
        if 0 < self.skip_outliers < 1:
            raise ValueError(
                f"skip_outliers must be 0 (off) or a factor of at least 1; got {self.skip_outliers}"
            )
