"""The body of POST /v1/completions, read field by field into a `CompletionRequest`.

The odd thing: a field that this server cannot honour is refused with the reason, never ignored; and
null counts as left out, because OpenAI's clients send it for that.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hipgpt_cli.serve.problems import ApiError

if TYPE_CHECKING:
    from hipgpt_cli.serve.limits import Limits

DEFAULT_TOKENS = 16
LEAST_TOP_P = 1e-9
"""What 0 stands for, which OpenAI allows: the likeliest token alone."""

REFUSED = {
    "frequency_penalty": (0, "repetition_penalty is there"),
    "presence_penalty": (0, "repetition_penalty is there"),
    "logit_bias": ({}, "top_k, top_p and min_p are there"),
    "suffix": ("", "the model only continues text"),
}
"""Fields of OpenAI that cannot be honoured: the value that asks for nothing, and what there is."""


@dataclass(frozen=True)
class CompletionRequest:
    """What a client asks for; checked, and complete.

    Attributes:
        prompts: each a text, or ids.
        seed: that of choice 0; choice i has seed + i.
        logprobs: alternatives for each token, or None for no log-probabilities at all.
        truncate: keep only so many of a prompt's last tokens; −1: as many as the model can see.
        model: the name that was asked for, or None.
        stops: strings that end the text and are not part of it.
    The others are the fields of the same name.
    """

    model: str | None
    prompts: list[str | list[int]]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    n: int
    best_of: int
    stream: bool
    include_usage: bool
    echo: bool
    logprobs: int | None
    stops: list[str]
    seed: int
    ignore_eos: bool
    truncate: int | None

    @property
    def rows(self) -> int:
        """Texts that have to be written."""
        return len(self.prompts) * self.best_of


class _Fields:
    """The object's fields, taken out one by one; what is left over is unknown."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = {name: value for name, value in values.items() if value is not None}

    def take(self, name: str, default: Any) -> Any:
        return self.values.pop(name, default)

    def text(self, name: str) -> str | None:
        value = self.take(name, None)
        if value is not None and not isinstance(value, str):
            raise _wrong(name, "a string", value)
        return value

    def flag(self, name: str) -> bool:
        value = self.take(name, False)
        if not isinstance(value, bool):
            raise _wrong(name, "true or false", value)
        return value

    def integer(self, name: str, default: Any, low: int, high: int) -> Any:
        """An integer in low … high, or the default."""
        value = self.take(name, default)
        if value is default:
            return value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _wrong(name, f"an integer, {low} … {high}", value)
        return value

    def number(self, name: str, default: float, low: float, high: float, wanted: str) -> float:
        """A finite number in low … high."""
        value = self.take(name, default)
        right = isinstance(value, int | float) and not isinstance(value, bool)
        if not right or not low <= value <= high:  # NaN is in no interval
            raise _wrong(name, wanted, value)
        return float(value)


def parse(values: Any, limits: Limits) -> CompletionRequest:
    """Check a decoded body.

    Args:
        values: what the JSON was.
        limits: what may be asked for.

    Raises:
        ApiError: status 400; the sentence names the field, what was expected, and what came.
    """
    if not isinstance(values, dict):
        raise ApiError(400, f"the body must be a JSON object; got {_shown(values)}")
    fields = _Fields(values)
    for name, (nothing, instead) in REFUSED.items():
        value = fields.take(name, nothing)
        if value != nothing or isinstance(value, bool):
            raise ApiError(
                400,
                f"{name} is not supported here: {instead}; leave it out",
                param=name,
                code="unsupported_parameter",
            )
    stream = fields.flag("stream")
    n = fields.integer("n", 1, 1, limits.most_texts)
    best_of = fields.integer("best_of", n, 1, limits.most_texts)
    request = CompletionRequest(
        model=fields.text("model"),
        prompts=_prompts(fields.take("prompt", "")),
        max_tokens=fields.integer("max_tokens", DEFAULT_TOKENS, 0, limits.tokens),
        temperature=fields.number("temperature", 1, 0, 100, "a number, 0 … 100"),
        top_p=max(fields.number("top_p", 1, 0, 1, "a number, 0 … 1"), LEAST_TOP_P),
        top_k=max(fields.integer("top_k", 0, -1, 2**31 - 1), 0),  # others write −1 for "all"
        min_p=fields.number("min_p", 0, 0, 1, "a number, 0 … 1"),
        repetition_penalty=fields.number(
            "repetition_penalty", 1, 0.01, 100, "a number, 0.01 … 100"
        ),
        n=n,
        best_of=best_of,
        stream=stream,
        include_usage=_include_usage(fields.take("stream_options", None), stream=stream),
        echo=fields.flag("echo"),
        logprobs=fields.integer("logprobs", None, 0, limits.logprobs),
        stops=_stops(fields.take("stop", []), limits),
        seed=_seed(fields.integer("seed", None, -(2**63), 2**64 - 1)),
        ignore_eos=fields.flag("ignore_eos"),
        truncate=fields.integer("truncate_prompt_tokens", None, -1, 2**31 - 1),
    )
    fields.text("user")  # who the client's own user is: nothing here depends on it
    if fields.values:
        name = next(iter(fields.values))
        raise ApiError(400, f"{_shown(name)} is not a field of this request", param=name[:100])
    _check_together(request, limits)
    return request


def _check_together(request: CompletionRequest, limits: Limits) -> None:
    if request.best_of < request.n:
        raise ApiError(
            400,
            f"best_of must be at least n; got best_of {request.best_of} and n {request.n}",
            param="best_of",
        )
    if request.stream and request.best_of > request.n:
        raise ApiError(
            400,
            "the best of several texts is known only when all are written, so best_of above n "
            "cannot be streamed; leave stream or best_of out",
            param="best_of",
        )
    if request.rows > limits.most_texts:
        raise ApiError(
            400,
            f"the request asks for {request.rows} texts (prompts × max(n, best_of)); this server "
            f"writes at most {limits.most_texts} for one request: send several",
            param="prompt" if len(request.prompts) > 1 else "n",
        )
    if request.max_tokens == 0 and not request.echo:
        raise ApiError(
            400, "max_tokens 0 writes nothing; it is of use only with echo", param="max_tokens"
        )
    if request.truncate == 0:
        raise _wrong("truncate_prompt_tokens", "−1 or at least 1", 0)


def _prompts(value: Any) -> list[str | list[int]]:
    """A string, ids, or a list of either."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(_is_id(item) for item in value):
            return [value]
        if all(
            isinstance(item, str)
            or (isinstance(item, list) and item and all(_is_id(id_) for id_ in item))
            for item in value
        ):
            return value
    raise _wrong("prompt", "a string, a list of strings, a list of ids or a list of such", value)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _stops(value: Any, limits: Limits) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise _wrong("stop", "a string or a list of strings", value)
    if len(stops) > limits.stops:
        raise _wrong("stop", f"at most {limits.stops} strings", stops)
    if not all(0 < len(stop) <= limits.stop_characters for stop in stops):
        raise _wrong("stop", f"strings of 1 … {limits.stop_characters} characters", stops)
    return stops


def _include_usage(value: Any, *, stream: bool) -> bool:
    if value is None:
        return False
    if not isinstance(value, dict) or value.keys() - {"include_usage"}:
        raise _wrong("stream_options", 'an object such as {"include_usage": true}', value)
    if not stream:
        raise ApiError(400, "stream_options goes with stream only", param="stream_options")
    usage = value.get("include_usage")
    if usage is not None and not isinstance(usage, bool):
        raise _wrong("stream_options", "an object with include_usage true or false", value)
    return bool(usage)


def _seed(value: int | None) -> int:
    return secrets.randbits(32) if value is None else value % 2**64


def _wrong(name: str, wanted: str, value: Any) -> ApiError:
    return ApiError(400, f"{name} must be {wanted}; got {_shown(value)}", param=name)


def _shown(value: Any) -> str:
    """A value as far as a sentence has room for it."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return "an integer of more than 70 digits"
    if isinstance(value, dict | list):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
