"""What happened in a run: its metrics as curves, ready to be drawn by whoever draws.

A panel is one figure: its curves of training and of validation, its unit, its kind of axis. The odd
thing: a curve is smoothed from both ends, so that the smooth one does not lag behind the other, as
an average of the past alone would where a loss falls steeply.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from hipgpt_cli.errors import UserError
from hipgpt_cli.metrics import read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hipgpt_cli.runs import Run

X_AXES = {"step": "optimizer steps", "tokens": "tokens of training text", "time": "hours"}


@dataclass(frozen=True)
class Panel:
    """One kind of figure.

    Attributes:
        name: for --metric.
        title: above it.
        unit: beside its axis.
        train: which metric of training, and what is made of it.
        validation: likewise of evaluations; None where there is none.
        log: the axis is logarithmic.
        smooth: the curve of training is noisy.
    """

    name: str
    title: str
    unit: str
    train: tuple[str, Callable[[float], float]]
    validation: tuple[str, Callable[[float], float]] | None = None
    log: bool = False
    smooth: bool = False


def _same(value: float) -> float:
    return value


def _percent(value: float) -> float:
    return 100 * value


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


PANELS = (
    Panel("loss", "Loss", "nats per token", ("loss", _same), ("validation_loss", _same),
          smooth=True),
    Panel("perplexity", "Perplexity", "exp(loss)", ("loss", _exp), ("validation_loss", _exp),
          log=True, smooth=True),
    Panel("accuracy", "Accuracy", "% of next tokens", ("accuracy", _percent),
          ("validation_accuracy", _percent), smooth=True),
    Panel("learning-rate", "Learning rate", "", ("learning_rate", _same)),
    Panel("gradient-norm", "Gradient norm", "before clipping", ("norm", _same), log=True,
          smooth=True),
    Panel("speed", "Speed", "tokens per second", ("tokens_per_s", _same)),
)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """Points in order.

    Attributes:
        x: steps, tokens or hours.
        y: values, all finite.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class History:
    """A run as curves.

    Attributes:
        name: the run's.
        config: its config.json.
        lines: of metrics.jsonl.
        axis: "step", "tokens" or "time".
    """

    name: str
    config: dict[str, Any]
    lines: tuple[dict[str, Any], ...]
    axis: str

    def train(self, panel: Panel) -> Curve:
        """The curve of training; empty where nothing was recorded."""
        return self._curve(*panel.train)

    def validation(self, panel: Panel) -> Curve:
        """The curve of evaluations; empty where there is none."""
        return self._curve(*panel.validation) if panel.validation else Curve((), ())

    def last(self, name: str) -> float | None:
        """The newest value of a metric."""
        values = [line[name] for line in self.lines if is_number(line.get(name))]
        return float(values[-1]) if values else None

    def best(self, name: str) -> tuple[float, int] | None:
        """(smallest value of a metric, its step)."""
        values = [(line[name], line["step"]) for line in self.lines if is_number(line.get(name))]
        return min(values) if values else None

    @property
    def tokens_per_step(self) -> int:
        """Tokens of training text in a step; 0 where config.json does not say."""
        training, model = self.config.get("training", {}), self.config.get("model", {})
        try:
            per_row = training["batch_size"] * model["max_seq_len"]
            return int(per_row * training.get("grad_accum", 1))
        except (KeyError, TypeError, ValueError):
            return 0

    def _curve(self, name: str, change: Callable[[float], float]) -> Curve:
        points = [
            (x, change(line[name]))
            for line, x in zip(self.lines, self._places(), strict=True)
            if is_number(line.get(name))
        ]
        return Curve(tuple(x for x, _ in points), tuple(y for _, y in points))

    def _places(self) -> list[float]:
        """Where each line stands on the axis."""
        if self.axis == "step":
            return [float(line["step"]) for line in self.lines]
        if self.axis == "tokens":
            return [float(line["step"] * self.tokens_per_step) for line in self.lines]
        places, before, last = [], 0.0, 0.0
        for line in self.lines:
            elapsed = line.get("elapsed_s")
            if is_number(elapsed):
                if elapsed < last:  # the run went on in another process, whose clock began anew
                    before += last
                last = float(elapsed)
            places.append((before + last) / 3600)
        return places


def read_history(run: Run, axis: str = "step") -> History:
    """The history of a run.

    Raises:
        UserError: the folder is no run, or nothing was recorded in it.
    """
    config = run.read_config()
    lines = read_lines(run.metrics) if run.metrics.is_file() else []
    if not lines:
        raise UserError(f"run {run.name} has no metrics yet: {run.metrics} is missing or empty")
    history = History(run.name, config, tuple(lines), axis)
    if axis == "tokens" and not history.tokens_per_step:
        raise UserError(f"{run.config} does not say how many tokens a step has; use --x step")
    return history


def smoothed(values: Sequence[float], weight: float) -> tuple[float, ...]:
    """Exponential moving averages from the left and from the right, and their mean.

    Each is corrected for its start as Adam's means are (Kingma and Ba 2015, section 3).

    Args:
        values: what was recorded.
        weight: how much of an average stays from one point to the next, 0 ≤ weight < 1.

    >>> smoothed((4.0, 4.0, 4.0), 0.5)
    (4.0, 4.0, 4.0)
    >>> smoothed((1.0, 2.0, 3.0), 0.0)
    (1.0, 2.0, 3.0)
    """
    left = _averages(values, weight)
    right = _averages(values[::-1], weight)[::-1]
    return tuple((one + two) / 2 for one, two in zip(left, right, strict=True))


def _averages(values: Sequence[float], weight: float) -> list[float]:
    mean, result = 0.0, []
    for number, value in enumerate(values, 1):
        mean = weight * mean + (1 - weight) * value
        result.append(mean / (1 - weight**number))
    return result


def smooth_weight(points: int) -> float:
    """A weight that suits so many points: an average over about a fiftieth of them.

    >>> smooth_weight(20), smooth_weight(1000)
    (0.0, 0.95)
    """
    return 0.0 if points < 50 else 1 - 1 / max(points / 50, 2)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of a line can be drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
