"""The contract of what training has beside its layers: batches, losses, optimizer, averages.

`Control` names the numbers by which a step decides over itself on the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hipgpt_kernels.backend.terms import Array, Number


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


class Training(ABC):
    """The ops of a training step that are no layer's."""

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
    def take_row(self, table: Array, cursor: Array, out: Array) -> None:
        """out = table[cursor]; cursor += 1: what changes from step to step, prepared for many.

        Args:
            table: (rows, W) int64; other 8-byte types travel as views.
            cursor: () int64, in [0, rows), updated.
            out: (W,) int64, written.
        """

    @abstractmethod
    def row_means(self, x: Array, *, out: Array | None = None) -> Array:
        """out[r] = the mean of x[r], summed in float64, on the device.

        Args:
            x: (rows, n), n > 0.
            out: (rows,) float64.
        """

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
