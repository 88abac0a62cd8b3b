"""OpenAI's own client against the server: it reads every answer, stream and refusal."""

import threading

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
