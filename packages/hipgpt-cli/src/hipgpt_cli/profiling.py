"""Where the time of a training step goes: recorded, added up by kernel or op, drawn.

The odd thing: a step that is profiled is launched op by op, because events cannot be put into a
captured graph; its sum of kernels is what the captured step takes, up to the gaps between them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hipgpt_cli.errors import UserError
from hipgpt_cli.files import replacing
from hipgpt_kernels.recorder import record

if TYPE_CHECKING:
    from pathlib import Path

    from hipgpt_kernels import Backend
    from hipgpt_kernels.recorder import Span
    from hipgpt_model.config import GPTConfig, TrainConfig

WARM_UP = 3
HEAD_START = 2.0
"""Times what Python takes to launch a step: how long the GPU is kept busy beforehand."""
FORMATS = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class Line:
    """A kernel, or an op on the CPU.

    Attributes:
        kernel: its name.
        op: the backend's methods that launched it.
        launches: in one step.
        milliseconds: in one step.
        share: of all lines.
    """

    kernel: str
    op: str
    launches: float
    milliseconds: float
    share: float


@dataclass(frozen=True)
class Profile:
    """A step's time.

    Attributes:
        lines: longest first.
        milliseconds: the sum of the lines.
        step_ms: wall clock of a step that is not recorded, launched op by op.
        steps: how many were recorded.
        event_ms: what two events cost, taken off each launch.
    """

    lines: list[Line]
    milliseconds: float
    step_ms: float
    steps: int
    event_ms: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def top(self, count: int) -> list[Line]:
        """The longest lines, and one more for the rest."""
        if len(self.lines) <= count:
            return self.lines
        rest = self.lines[count:]
        others = Line(
            f"{len(rest)} others",
            "",
            sum(line.launches for line in rest),
            sum(line.milliseconds for line in rest),
            sum(line.share for line in rest),
        )
        return [*self.lines[:count], others]


def profile_training(
    config: GPTConfig, training: TrainConfig, backend: Backend, steps: int
) -> Profile:
    """Record training steps on random tokens."""
    from hipgpt_cli.bench.ours import OursTraining

    trained = OursTraining(config, training, backend, graph=False)
    trained.run(WARM_UP)
    began = time.perf_counter()
    trained.trainer.train_step()
    launched_ms = (time.perf_counter() - began) * 1e3
    backend.synchronize()
    began = time.perf_counter()
    trained.run(steps)
    step_ms = (time.perf_counter() - began) * 1e3 / steps
    spans: list[Span] = []
    event_ms = 0.0
    for _ in range(steps):
        with record(backend, head_start_ms=HEAD_START * launched_ms) as recording:
            trained.trainer.train_step()
        spans += recording.spans
        event_ms = recording.event_ms
    return summed(spans, steps, step_ms, event_ms)


def summed(spans: list[Span], steps: int, step_ms: float, event_ms: float) -> Profile:
    """Spans added up by kernel."""
    took: defaultdict[str, float] = defaultdict(float)
    count: defaultdict[str, int] = defaultdict(int)
    ops: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for span in spans:
        took[span.kernel] += span.milliseconds
        count[span.kernel] += 1
        ops[span.kernel][span.op] = None
    whole = sum(took.values())
    lines = [
        Line(
            kernel,
            ", ".join(name for name in ops[kernel] if name),
            count[kernel] / steps,
            milliseconds / steps,
            milliseconds / whole if whole else 0.0,
        )
        for kernel, milliseconds in sorted(took.items(), key=lambda item: -item[1])
    ]
    return Profile(lines, whole / steps, step_ms, steps, event_ms)


def check_picture(path: Path) -> None:
    """See that a picture could be drawn, before anything is measured.

    Raises:
        UserError: matplotlib is missing, or the file's ending names no format.
    """
    import importlib.util

    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--plot {path}: expected a name that ends with {', '.join(FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("--plot needs matplotlib: pip install 'hipgpt-cli[plot]'")


def draw(profile: Profile, title: str, path: Path, count: int = 20) -> None:
    """Horizontal bars, the longest on top, coloured by op."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    lines = profile.top(count)
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(lines)), layout="constrained")
    axes = figure.subplots()
    ops = list(dict.fromkeys(line.op for line in lines))
    colors = colormaps["tab20"]
    axes.barh(
        [line.kernel for line in lines],
        [line.milliseconds for line in lines],
        color=[colors(ops.index(line.op) % 20) for line in lines],
    )
    for row, line in enumerate(lines):
        axes.text(
            line.milliseconds, row, f" {100 * line.share:.1f} %", va="center", fontsize="small"
        )
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("milliseconds in one step")
    axes.set_title(f"{title}\n{profile.milliseconds:.3g} ms in {len(profile.lines)} kernels or ops")
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix("."), dpi=150, metadata=metadata)
