"""The engine without a network: turns, cancelling, failing, ending."""

import queue
import threading
import time

import numpy as np
import pytest

from hipgpt_cli.serve.answer import Answer
from hipgpt_cli.serve.engine import Engine
from hipgpt_cli.serve.limits import Limits
from hipgpt_cli.serve.problems import ApiError
from hipgpt_cli.serve.slots import Slots
from hipgpt_cli.serve.tickets import Ticket
from hipgpt_model.generate import SamplingConfig, generate


class Asked:
    """A request, and what came of it."""

    def __init__(self, tokenizer, texts=1, seconds=60.0, **sampling):
        self.news = queue.SimpleQueue()
        config = SamplingConfig(**{"num_tokens": 5, "top_k": 0, **sampling})
        answers = [Answer(i, tokenizer.encode("the"), config, tokenizer) for i in range(texts)]
        self.ticket = Ticket(answers, self.news.put, time.monotonic() + seconds)

    def texts(self):
        """The whole texts, or the error that ended the request."""
        texts = [""] * len(self.ticket.answers)
        finished = 0
        while finished < len(texts):
            what = self.news.get(timeout=20)
            if isinstance(what, ApiError):
                return what
            for piece in what:
                texts[piece.index] += piece.text
                finished += piece.finish is not None
        return texts


class Gate(Slots):
    """Rows that take a step only when they are let."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.steps = threading.Semaphore(0)
        self.error = None

    def step(self, wanted=()):
        assert self.steps.acquire(timeout=20)
        if self.error is not None:
            raise self.error
        return super().step(wanted)


@pytest.fixture
def start(tiny_model):
    """start(rows=…, …) -> (engine, its rows); the engine ends with the test."""
    engines = []

    def make(kind=Slots, **limits):
        limits = Limits(**{"rows": 2, **limits})
        slots = kind(tiny_model, limits.rows)
        engine = Engine(tiny_model, slots, limits)
        engines.append((engine, slots))
        engine.start()
        return engine, slots

    yield make
    for engine, slots in engines:
        if isinstance(slots, Gate):
            slots.error = None
            slots.steps.release(1000)
        engine.stop()
        assert not engine.alive
        with pytest.raises(ApiError, match="shutting down"):
            engine.submit(Ticket([], print, 0))


def test_a_text_is_that_of_generate(start, tiny_model, tiny_tokenizer):
    """Also past S, where `generate` begins its cache anew, and with a penalty."""
    for sampling in ({}, {"repetition_penalty": 3.0}, {"top_p": 0.5}, {"temperature": 0}):
        config = SamplingConfig(num_tokens=30, **{"top_k": 0, "seed": 3, **sampling})
        ids = list(generate(tiny_model, tiny_tokenizer.encode("the"), config))
        engine, _ = start()
        asked = Asked(tiny_tokenizer, num_tokens=30, seed=3, **sampling)
        engine.submit(asked.ticket)
        assert asked.texts() == [tiny_tokenizer.decode(ids)]
        engine.stop()


def test_small_requests_do_not_wait_for_large_ones(start, tiny_tokenizer):
    """With one row, the second request's only text is written after the first's first."""
    engine, slots = start(Gate, rows=1)
    large = Asked(tiny_tokenizer, texts=10, num_tokens=1)
    small = Asked(tiny_tokenizer, num_tokens=1)
    engine.submit(large.ticket)
    while engine.running == 0:
        time.sleep(0.001)
    engine.submit(small.ticket)
    slots.steps.release(3)
    assert len(small.texts()) == 1
    assert engine.waiting >= 6
    slots.steps.release(100)
    assert len(large.texts()) == 10


def test_cancelling_frees_rows_and_the_queue(start, tiny_tokenizer):
    engine, slots = start(Gate)
    asked = Asked(tiny_tokenizer, texts=5, num_tokens=1000)
    engine.submit(asked.ticket)
    while engine.running < 2:
        time.sleep(0.001)
    engine.cancel(asked.ticket)
    assert engine.waiting == 0
    after = Asked(tiny_tokenizer, num_tokens=3)
    engine.submit(after.ticket)
    slots.steps.release(10)
    assert len(after.texts()) == 1
    assert engine.counts.cancelled == 1
    assert slots.free == 2
    assert asked.news.empty() or all(piece.finish is None for piece in asked.news.get())


def test_too_many_are_refused_with_a_time(start, tiny_tokenizer):
    engine, slots = start(Gate, rows=1, queue=2)
    first = [Asked(tiny_tokenizer, num_tokens=1) for _ in range(3)]
    for asked in first:
        engine.submit(asked.ticket)
    while engine.running == 0:
        time.sleep(0.001)
    with pytest.raises(ApiError) as refused:
        engine.submit(Asked(tiny_tokenizer).ticket)
    assert refused.value.status == 429
    assert refused.value.retry_after >= 1
    slots.steps.release(10)
    assert all(len(asked.texts()) == 1 for asked in first)
    assert engine.counts.refused == 1


def test_time_is_up_for_those_that_wait_as_well(start, tiny_tokenizer):
    engine, slots = start(Gate, rows=1, seconds=0.05)
    asked = [Asked(tiny_tokenizer, seconds=0.05, num_tokens=1000) for _ in range(2)]
    for one in asked:
        engine.submit(one.ticket)
    time.sleep(0.1)
    slots.steps.release(10)
    assert [one.texts().status for one in asked] == [504, 504]
    assert engine.counts.timed_out == 2


@pytest.mark.parametrize("error", [FloatingPointError("not finite"), MemoryError(), KeyError("x")])
def test_a_failing_step_ends_its_requests_and_not_the_engine(start, tiny_tokenizer, error):
    engine, slots = start(Gate)
    asked = Asked(tiny_tokenizer)
    engine.submit(asked.ticket)
    slots.error = error
    slots.steps.release()
    assert asked.texts().status == 500
    slots.error = None
    slots.steps.release(100)
    after = Asked(tiny_tokenizer)
    engine.submit(after.ticket)
    assert len(after.texts()) == 1
    assert slots.free == 2


def test_numbers_that_are_not_finite_end_their_requests(start, tiny_model, tiny_tokenizer):
    """The rows begin anew; with sound weights the same engine goes on."""
    engine, slots = start()
    weight = tiny_model.parameters["final_norm.weight"]
    kept = weight.copy()
    weight[:] = np.nan
    asked = [Asked(tiny_tokenizer) for _ in range(3)]
    for one in asked:
        engine.submit(one.ticket)
    assert {one.texts().status for one in asked} == {500}
    weight[:] = kept
    after = Asked(tiny_tokenizer)
    engine.submit(after.ticket)
    assert len(after.texts()) == 1
    assert slots.free == 2


def test_scores_where_tokens_are_launched_ahead(start, tiny_tokenizer, monkeypatch):
    """As on a GPU: texts with and without log-probabilities, begun at any time, are all right."""
    monkeypatch.setattr("hipgpt_kernels.decode_loop.HostLoop.ahead", 4)

    def ask(scored, seed):
        asked = Asked(tiny_tokenizer, num_tokens=20, seed=seed)
        asked.ticket.answers[0].logprobs = 1 if scored else None
        return asked

    engine, _ = start(rows=3)
    alone = {}
    for scored in (False, True):
        for seed in range(6):
            asked = ask(scored, seed)
            engine.submit(asked.ticket)
            alone[scored, seed] = asked.texts()
    assert all(alone[False, seed] == alone[True, seed] for seed in range(6))
    together = {key: ask(*key) for key in alone}
    for asked in together.values():
        engine.submit(asked.ticket)
        time.sleep(0.001)
    assert {key: asked.texts() for key, asked in together.items()} == alone


def test_a_prompt_that_cannot_be_read_fails_alone(start, tiny_tokenizer):
    engine, slots = start()
    bad = Asked(tiny_tokenizer)
    bad.ticket.answers[0].ids = [10**6]
    bad.ticket.answers[0].echo = True
    bad.ticket.answers[0].logprobs = 1
    good = Asked(tiny_tokenizer)
    engine.submit(bad.ticket)
    engine.submit(good.ticket)
    assert len(good.texts()) == 1
    assert bad.texts().status == 500
    assert slots.free == 2


def test_the_end_answers_everybody(start, tiny_tokenizer):
    engine, slots = start(Gate)
    asked = [Asked(tiny_tokenizer, texts=3, num_tokens=1000) for _ in range(3)]
    for one in asked:
        engine.submit(one.ticket)
    threading.Timer(0.05, slots.steps.release, [10]).start()
    engine.stop()
    assert [one.texts().status for one in asked] == [503] * 3


def test_scores_of_a_prompt_are_those_of_the_model(start, tiny_model, tiny_tokenizer):
    ids = tiny_tokenizer.encode("the quick brown")[:8]
    logits = tiny_model.backend.to_numpy(tiny_model.logits(np.array([ids], np.int32)))[0]
    logits = logits.astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    engine, _ = start()
    scores = engine._scores(ids, 3)
    assert scores[0] == (ids[0], None, None)
    for place in range(1, len(ids)):
        assert scores[place].id == ids[place]
        assert np.isclose(scores[place].logprob, expected[place - 1, ids[place]], atol=1e-6)
        best = max(value for _, value in scores[place].top)
        assert np.isclose(best, expected[place - 1].max(), atol=1e-6)


def test_company_does_not_change_a_bit(tiny_model):
    """On the CPU's own code a row's logits are the same bits alone and among others."""
    if "vector code" not in tiny_model.backend.description:
        pytest.skip("without a compiler the CPU backend is NumPy, whose products round by size")
    random = np.random.default_rng(0)
    prompts = [random.integers(0, 300, random.integers(1, 9)).tolist() for _ in range(8)]

    def logits(numbers):
        slots = Slots(tiny_model, 8)
        sampling = [SamplingConfig(num_tokens=40, top_k=0, seed=seed) for seed in range(8)]
        rows = {slots.add(prompts[number], sampling[number]): number for number in numbers}
        seen = {number: [] for number in numbers}
        for _ in range(30):  # past S, so that caches are begun anew
            for token in slots.step(rows):
                seen[rows[token.slot]].append(token.logits.tobytes())
        return seen

    together = logits(range(8))
    for number in range(8):
        assert logits([number])[number] == together[number]
