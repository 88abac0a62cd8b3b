"""report.html: a run on one page, to look at and to pass on.

Curves, figures, samples, configuration, text and machine, in one file that needs no network, no
script and no other file; light or dark as the reader's system is. The odd thing: it is made from
what the run's folder holds and from nothing else, so it can be made again at any time.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from hipgpt_cli import human
from hipgpt_cli.files import write_text
from hipgpt_cli.history import PANELS, History, read_history
from hipgpt_cli.plot_svg import draw_svg

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hipgpt_cli.runs import Run

_SAMPLES = 12
"""At most so many are shown: the first, the last, and some evenly between."""

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --card: #f6f6f4; --ink: #1d1d1b; --dim: #6a6a66;
  --line: #dededa; --train: #0072b2; --held: #c75000; --accent: #c75000; }
@media (prefers-color-scheme: dark) { :root { --page: #161618; --card: #202023; --ink: #e8e8e4;
  --dim: #9a9a96; --line: #3a3a3e; --train: #56b4e9; --held: #f0a04b; --accent: #f0a04b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 88rem; padding: 2rem 1.5rem 4rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .8rem; }
.sub { color: var(--dim); margin: .2rem 0 1.4rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.2rem, 1fr)); gap: .7rem; }
.card { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
.card b { display: block; font-size: 1.35rem; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.card span { color: var(--dim); font-size: .82rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: .9rem; }
.plots > div { background: var(--card); border-radius: .5rem; padding: .6rem .5rem .2rem; }
.plot { width: 100%; height: auto; display: block; font: 11px system-ui, sans-serif; }
.plot .title { font-size: 13px; font-weight: 600; fill: var(--ink); }
.plot .unit { font-weight: 400; font-size: 10.5px; fill: var(--dim); }
.plot .key, .plot .tick { fill: var(--dim); font-size: 10.5px; }
.plot .tick.y { text-anchor: end; } .plot .tick.x { text-anchor: middle; }
.plot .grid { stroke: var(--line); stroke-width: .7; }
.plot .axis { stroke: var(--dim); stroke-width: .8; }
.plot polyline { fill: none; stroke-linejoin: round; }
.plot .train { stroke: var(--train); stroke-width: 1.7; }
.plot .raw { stroke: var(--train); stroke-width: .8; opacity: .3; }
.plot .held-out { stroke: var(--held); stroke-width: 1.5; stroke-dasharray: 5 3; }
.plot circle.held-out { fill: var(--held); stroke: none; }
.plot circle.train { fill: var(--train); }
.samples { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: .9rem;
  align-items: start; }
.sample { background: var(--card); border-radius: .5rem; padding: .6rem .9rem; }
.sample b { color: var(--dim); font-size: .82rem; font-weight: 400; }
pre { margin: .2rem 0 0; max-height: 17rem; overflow: auto; white-space: pre-wrap;
  overflow-wrap: anywhere;
  font: 13px/1.45 ui-monospace, monospace; }
pre i { font-style: normal; color: var(--accent); }
.tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem;
  align-items: start; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
td { border-top: 1px solid var(--line); padding: .18rem .4rem .18rem 0; vertical-align: top; }
td:first-child { white-space: nowrap; }
td + td { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
footer { color: var(--dim); font-size: .82rem; margin-top: 3rem; }
"""


def write_report(run: Run, path: Path | None = None) -> Path:
    """Make the report of a run.

    Args:
        run: the run.
        path: the file; None is report.html in the run's folder.

    Returns:
        The file.

    Raises:
        UserError: nothing was recorded yet.
    """
    path = path or run.report
    write_text(path, make_report(run))
    return path


def make_report(run: Run) -> str:
    """The page's text."""
    history = read_history(run)
    plots = [svg for panel in PANELS if (svg := draw_svg(panel, history))]
    title = escape(run.name)
    return "".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}: report of a training</title><style>{STYLE}</style></head><body>\n",
            f'<h1>{title}</h1>\n<p class="sub">{escape(_summary(history))}</p>\n',
            _cards(_headline(history)),
            '<h2>Curves</h2>\n<div class="plots">',
            *(f"<div>{svg}</div>\n" for svg in plots),
            "</div>\n",
            _samples(run),
            '<h2>Configuration</h2>\n<div class="tables">',
            *_tables(history.config),
            "</div>\n",
            f"<footer>{escape(_footer(history))}</footer>\n</body></html>\n",
        ]
    )


def _summary(history: History) -> str:
    config = history.config
    begun = str(config.get("created", ""))[:16].replace("T", " ")
    done, steps = history.lines[-1]["step"], config.get("training", {}).get("steps")
    progress = f"{human.count(done)} steps"
    if isinstance(steps, int) and steps != done:
        progress = f"{human.count(done)} of {human.count(steps)} steps"
    device = str(config.get("machine", {}).get("device", ""))
    data = str(config.get("options", {}).get("data", ""))
    parts = [f"begun {begun} UTC" if begun else "", progress, device, data]
    return " · ".join(part for part in parts if part)


def _headline(history: History) -> dict[str, str]:
    """The figures that one looks for first, by what they are."""
    last = {
        name: history.last(name)
        for name in (
            "loss", "validation_loss", "validation_perplexity", "validation_accuracy",
            "tokens_per_s",
        )
    }  # fmt: skip
    cards: dict[str, str] = {}
    if last["loss"] is not None:
        cards["training loss, last step"] = f"{last['loss']:.3f}"
    if last["validation_loss"] is not None:
        cards["validation loss"] = f"{last['validation_loss']:.3f}"
    best = history.best("validation_loss")
    if best and best[0] != last["validation_loss"]:
        cards[f"best validation loss, step {human.count(best[1])}"] = f"{best[0]:.3f}"
    if last["validation_perplexity"] is not None:
        cards["validation perplexity"] = f"{last['validation_perplexity']:.1f}"
    if last["validation_accuracy"] is not None:
        cards["of next tokens guessed right"] = human.percent(last["validation_accuracy"])
    parameters = _parameters(history.config)
    if parameters:
        cards["parameters"] = human.short(parameters)
    tokens = history.lines[-1]["step"] * history.tokens_per_step
    if tokens:
        in_epoch = history.config.get("text", {}).get("train_tokens")
        epochs = f", {tokens / in_epoch:.3g} epochs" if in_epoch else ""
        cards[f"tokens read{epochs}"] = human.short(tokens)
    hours = History(history.name, history.config, history.lines, "time").train(PANELS[0])
    if len(hours):
        cards["computing"] = human.duration(3600 * hours.x[-1])
    if last["tokens_per_s"] is not None:
        cards["tokens per second"] = human.short(last["tokens_per_s"])
    return cards


def _parameters(config: Mapping[str, Any]) -> int:
    from hipgpt_model.config import GPTConfig

    try:
        return GPTConfig.from_dict(config["model"]).num_parameters()
    except (KeyError, TypeError, ValueError):
        return 0


def _cards(figures: Mapping[str, str]) -> str:
    cards = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>\n'
        for name, value in figures.items()
    )
    return f'<div class="cards">{cards}</div>\n'


def _samples(run: Run) -> str:
    from hipgpt_cli.sample import read_samples

    samples = read_samples(run.samples)
    if not samples:
        return ""
    if len(samples) > _SAMPLES:
        last = len(samples) - 1
        samples = [samples[number * last // (_SAMPLES - 1)] for number in range(_SAMPLES)]
    shown = "".join(
        f'<div class="sample"><b>after step {human.count(step)}</b>'
        f"<pre><i>{escape(sample.prompt)}</i>{escape(sample.text)}</pre></div>\n"
        for step, sample in samples
    )
    return f'<h2>Samples</h2>\n<div class="samples">{shown}</div>\n'


def _tables(config: Mapping[str, Any]) -> list[str]:
    model, training = dict(config.get("model", {})), dict(config.get("training", {}))
    options = {
        name: value
        for name, value in config.get("options", {}).items()
        if name not in model and name not in training
    }
    return [
        _table("Model", model),
        _table("Training", training),
        _table("Text", {"source": options.pop("data", None), **config.get("text", {})}),
        _table("Run", options),
        _table("Machine", config.get("machine", {})),
    ]


def _table(caption: str, values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(str(name).replace('_', ' '))}</td><td>{escape(_value(value))}</td></tr>\n"
        for name, value in values.items()
        if value is not None
    )
    return f"<table><caption>{escape(caption)}</caption>{rows}</table>\n" if rows else ""


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) >= 10_000:
        return human.count(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _footer(history: History) -> str:
    version = history.config.get("machine", {}).get("hipgpt-cli", "")
    updated = str(history.config.get("updated", ""))[:16].replace("T", " ")
    return f"hipgpt {version}; the run's folder as of {updated} UTC".replace("  ", " ")
