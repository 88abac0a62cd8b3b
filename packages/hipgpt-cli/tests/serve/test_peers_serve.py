"""OpenAI's own client against the server: it reads every answer, stream and refusal."""

import json
import threading

import numpy as np
import pytest

openai = pytest.importorskip("openai", reason="the official client is in the environment `peers`")


@pytest.fixture
def official(client):
    """OpenAI's client, pointed at the server."""
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{client.port}/v1", api_key="none", max_retries=0, timeout=30
    ) as made:
        yield made


def test_models(official):
    assert [model.id for model in official.models.list()] == ["tiny"]
    assert official.models.retrieve("tiny").owned_by == "hipgpt"


def test_completion(official, client):
    made = official.completions.create(
        model="tiny", prompt="the", max_tokens=8, seed=1, n=2, logprobs=2, echo=True, stop=["zz"],
        extra_body={"top_k": 40},
    )  # fmt: skip
    assert [choice.index for choice in made.choices] == [0, 1]
    assert made.usage.prompt_tokens == len(client.tokenizer.encode("the"))
    scores = made.choices[0].logprobs
    assert len(scores.tokens) == len(scores.token_logprobs) == len(scores.text_offset)
    assert made.choices[0].text.startswith("the")


def test_stream(official, client):
    asked = {"prompt": "the fox", "max_tokens": 20, "seed": 5}
    pieces = list(official.completions.create(
        model="tiny", stream=True, stream_options={"include_usage": True}, **asked
    ))  # fmt: skip
    text = "".join(choice.text for piece in pieces for choice in piece.choices)
    assert text == client.text(**asked)
    assert pieces[-1].usage.completion_tokens == 20
    assert len(pieces) > 5


def test_a_stream_that_is_closed_early_frees_its_row(official, client):
    with official.completions.create(
        model="tiny", prompt="the", max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
    ) as stream:
        next(iter(stream))
    client.wait(lambda engine: engine.running == 0)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "gpt-4"}, "NotFoundError"),
        ({"prompt": "long " * 50}, "BadRequestError"),
        ({"presence_penalty": 1}, "BadRequestError"),
        ({"extra_body": {"nonsense": 1}}, "BadRequestError"),
    ],
)
def test_refusals_are_its_own_exceptions(official, fields, error):
    with pytest.raises(getattr(openai, error)) as caught:
        official.completions.create(**{"model": "tiny", "prompt": "the", **fields})
    assert caught.value.body["message"]


def test_chat_is_a_404_with_the_reason(official):
    with pytest.raises(openai.NotFoundError, match="continues text"):
        official.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x"}])


def test_a_busy_server_is_a_rate_limit(serving):
    with serving(pause_s=0.02, rows=1, queue=1) as client:
        asked = {"max_tokens": 4000, "stream": True, "ignore_eos": True}
        with client.open(**asked), client.open(**asked):
            client.wait(lambda engine: engine.running == engine.waiting == 1)
            with openai.OpenAI(
                base_url=f"http://127.0.0.1:{client.port}/v1", api_key="none", max_retries=0
            ) as official, pytest.raises(openai.RateLimitError) as caught:  # fmt: skip
                official.completions.create(model="tiny", prompt="the")
            assert int(caught.value.response.headers["retry-after"]) >= 1


def test_a_failure_inside_a_stream_is_an_exception(serving):
    with serving(pause_s=0.05, seconds=0.2) as client, openai.OpenAI(
        base_url=f"http://127.0.0.1:{client.port}/v1", api_key="none", max_retries=0
    ) as official:  # fmt: skip
        stream = official.completions.create(
            model="tiny",
            prompt="the",
            max_tokens=1000,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        with pytest.raises(openai.APIError, match="the request took more than"):
            for _ in stream:
                pass


def test_64_of_them_at_once(official, client):
    """Each reads its own text: what it gets alone."""
    seeds = range(64)
    alone = [client.text(prompt="the", seed=seed, max_tokens=10) for seed in seeds]
    together = {}

    def read(seed):
        stream = official.completions.create(
            model="tiny", prompt="the", seed=seed, max_tokens=10, stream=True
        )
        together[seed] = "".join(piece.choices[0].text for piece in stream)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [together.get(seed) for seed in seeds] == alone


def test_lm_evaluation_harness_gets_the_models_own_numbers(client, tmp_path, tiny_tokenizer):
    """`local-completions`: log-likelihoods and greediness of continuations, and generated text."""
    harness = pytest.importorskip("lm_eval.models.openai_completions", reason="no lm-eval here")
    pytest.importorskip("transformers", reason="the harness reads the tokenizer with it")
    from lm_eval.api.instance import Instance

    tiny_tokenizer.save(tmp_path / "tokenizer.json")
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    model = harness.LocalCompletionsAPI(
        model="tiny",
        base_url=f"http://127.0.0.1:{client.port}/v1/completions",
        tokenizer_backend="huggingface",
        tokenizer=str(tmp_path),
        max_length=8,
        batch_size=4,
    )
    pairs = [("the", " quick"), ("a lazy", " dog"), ("the sun", " until"), ("fox", " jumps over")]

    def asked(kind, arguments):
        return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)

    answers = model.loglikelihood([asked("loglikelihood", pair) for pair in pairs])
    gpt = client.engine._model
    for (context, continuation), (value, greedy) in zip(pairs, answers, strict=True):
        first = tiny_tokenizer.encode(context)
        second = tiny_tokenizer.encode(context + continuation)[len(first) :]
        ids = np.array([[*first, *second]], np.int32)
        logits = gpt.backend.to_numpy(gpt.logits(ids))[0].astype(float)
        scores = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        rows = scores[len(first) - 1 : -1]
        expected = sum(row[id_] for row, id_ in zip(rows, second, strict=True))
        assert value == pytest.approx(expected, abs=1e-4)
        assert greedy == all(row.argmax() == id_ for row, id_ in zip(rows, second, strict=True))

    (text,) = model.generate_until(
        [asked("generate_until", ("the", {"until": ["zzz"], "max_gen_toks": 5}))]
    )
    assert text == client.text(prompt="the", temperature=0, max_tokens=5)
