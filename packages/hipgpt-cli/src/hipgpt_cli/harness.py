"""hipgpt's models in lm-evaluation-harness: `python -m hipgpt_cli.harness` is its `lm_eval`.

Importing this module registers the model type "hipgpt". The odd thing: it is the only module that
needs the package lm_eval, so nothing of hipgpt imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ImportError as error:
    raise ImportError(
        'lm-evaluation-harness is not installed: pip install "hipgpt-cli[lm-eval]"'
    ) from error

from hipgpt_cli.stops import StopFilter
from hipgpt_cli.writing import prompt_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lm_eval.api.instance import Instance

_GENERATED = 256
"""Tokens at most where a task does not say; the harness's own default."""


@register_model("hipgpt")
class HipGPT(LM):  # type: ignore[misc]
    """A run, as the harness wants a model.

    Args:
        run: the run's name, its folder, or a checkpoint file.
        runs_dir: the folder of runs.
        step: which of its checkpoints; None: the newest.
        device: "auto", "cpu" or "hip"; "cuda:0", the harness's own default, is "auto".
        dtype: "float32", "bf16" or "fp16".
        threads: CPU threads; None: every core.
        batch_size: what the harness always gives: 1, its default, or "auto"; rows of like length
            are put together by the number of their tokens.
        max_batch_size: likewise.

    Raises:
        UserError: there is no such run or device.
        ValueError: another batch_size.
    """

    def __init__(
        self,
        run: str,
        runs_dir: str = "runs",
        step: int | None = None,
        device: str | None = "auto",
        dtype: str = "float32",
        threads: int | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if batch_size not in (None, 1, "1", "auto") or max_batch_size is not None:
            raise ValueError(
                "hipgpt chooses its batches by the number of tokens; leave batch_size and "
                "max_batch_size out"
            )
        from hipgpt_cli.device import open_device
        from hipgpt_cli.load import named_model
        from hipgpt_model.checkpoint import load_model

        trained = named_model(run, runs_dir, step)
        self.tokenizer = trained.tokenizer()
        self.model = load_model(
            trained.checkpoint,
            open_device("auto" if device in (None, "cuda:0") else device, threads),
            dtype=dtype,
        )

    @property
    def _start(self) -> list[int]:
        """The ids before a text that has no context."""
        return prompt_ids(self.tokenizer, "")

    def _encode(self, text: str) -> Sequence[int]:
        return self.tokenizer.encode(text, allowed_special="all")

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(ln p, whether it is the greedy text) of each continuation after its context."""
        from hipgpt_model.evaluate import score
        from hipgpt_model.hellaswag import split_ids

        pairs = []
        for context, continuation in _arguments(requests):
            before, after = split_ids(self._encode, context, continuation)
            pairs.append((before or self._start, after))
        results = [(one.log_likelihood, one.greedy) for one in score(self.model, pairs)]
        for arguments, result in zip(_arguments(requests), results, strict=True):
            self.cache_hook.add_partial("loglikelihood", arguments, result)
        return results

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """ln p of each whole text, after the token that separates texts."""
        from hipgpt_model.evaluate import score

        results = []
        for (text,) in _arguments(requests):
            ids = [*self._start, *self._encode(text)]
            pairs = rolling_windows(ids, len(self._start), self.model.config.max_seq_len)
            results.append(sum(one.log_likelihood for one in score(self.model, pairs)))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), results[-1])
        return results

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """What the model writes after each context, up to a stop text."""
        results = []
        for context, options in _arguments(requests):
            results.append(self._generate(context, dict(options)))
            self.cache_hook.add_partial("generate_until", (context, options), results[-1])
        return results

    def _generate(self, context: str, options: dict[str, Any]) -> str:
        from hipgpt_model.generate import SamplingConfig, generate

        until = options.pop("until", None) or []
        stop = StopFilter([text for text in ([until] if isinstance(until, str) else until) if text])
        temperature = float(options.pop("temperature", 0.0))
        sampling = SamplingConfig(
            num_tokens=int(options.pop("max_gen_toks", _GENERATED)),
            temperature=temperature if options.pop("do_sample", temperature > 0) else 0.0,
            top_k=int(options.pop("top_k", 0)),
            top_p=float(options.pop("top_p", 1.0)),
            seed=int(options.pop("seed", 0)),
            stop_ids=frozenset(() if self.tokenizer.eot_id is None else (self.tokenizer.eot_id,)),
        )
        if options:
            raise ValueError(f"hipgpt has no generation option {', '.join(sorted(options))}")
        decoder = self.tokenizer.stream()
        text = ""
        ids = list(self._encode(context)) or self._start
        for token in generate(self.model, ids, sampling):
            text += stop.feed(decoder.feed(token))
            if stop.found is not None:
                return text
        return text + stop.feed(decoder.flush()) + stop.flush()


def rolling_windows(
    ids: Sequence[int], first: int, S: int
) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Contexts and continuations that cover ids[first:], each id once, as the harness cuts a text.

    Every window but the first is full: the last one takes as much context as has room.

    >>> rolling_windows([0, 1, 2, 3, 4, 5, 6], 1, 4)
    [([0], [1, 2, 3, 4]), ([2, 3, 4], [5, 6])]
    """
    pairs = []
    while first < len(ids):
        end = min(first + S, len(ids))
        pairs.append((ids[max(end - S - 1, 0) : first], ids[first:end]))
        first = end
    return pairs


def _arguments(requests: Iterable[Instance]) -> list[tuple[Any, ...]]:
    return [request.args for request in requests]


def main() -> None:
    """lm-evaluation-harness's own command line, with the model type "hipgpt"."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
