"""GET /metrics: the engine's counts in Prometheus' text format, lines of a name and a number."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hipgpt_cli.serve.engine import Engine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(engine: Engine) -> str:
    """All metrics of an engine."""
    counts = engine.counts
    counters = {
        "requests_total": (counts.requests, "Requests that were taken."),
        "requests_refused_total": (counts.refused, "Requests refused because too many waited."),
        "requests_cancelled_total": (counts.cancelled, "Requests whose client went away."),
        "requests_timed_out_total": (counts.timed_out, "Requests that took too long."),
        "requests_failed_total": (counts.failed, "Requests that failed in the model."),
        "texts_total": (counts.texts, "Texts written to their end."),
        "prompt_tokens_total": (counts.prompt_tokens, "Tokens read from prompts."),
        "tokens_total": (counts.tokens, "Tokens drawn."),
        "steps_total": (counts.steps, "Steps, each one token for every row."),
        "busy_seconds_total": (round(counts.busy_s, 6), "Time that the engine worked."),
    }
    gauges = {
        "rows_running": (engine.running, "Texts being written."),
        "rows_waiting": (engine.waiting, "Texts waiting for a row."),
    }
    lines = []
    for kind, metrics in (("counter", counters), ("gauge", gauges)):
        for name, (value, meaning) in metrics.items():
            lines += [
                f"# HELP hipgpt_{name} {meaning}",
                f"# TYPE hipgpt_{name} {kind}",
                f"hipgpt_{name} {value}",
            ]
    return "\n".join(lines) + "\n"
