"""A whole life in small: a model of one layer trains three steps and writes four tokens.

On a GPU, as the CPU does it, in each precision. The odd thing: everything is so small that it runs
in the emulator of AMD's GPUs too (HIPGPT_EMULATE, see conftest.py), within seconds. The text is a
round of six tokens, so that after three steps the likeliest one leads by more than 16 bits round.
"""

import numpy as np
import pytest

from hipgpt_model import GPTConfig, SamplingConfig, TokenData, TrainConfig, Trainer
from hipgpt_model.generate import generate

pytestmark = pytest.mark.gpu

V, S, E, L, H, F = 61, 8, 32, 1, 2, 48
PROMPT = [3, 4, 5]
STEPS, TOKENS = 3, 4
TOLERANCE = {"float32": 2e-6, "bf16": 1e-3, "fp16": 1e-4}
"""Of a loss, as in test_train_gpu.py: what 24, 8 and 11 bits of mantissa leave."""
LEAD = {"float32": 1e-4, "bf16": 0.1, "fp16": 0.02}
"""By how much the CPU's likeliest token must lead, so that another one would be wrong."""


def trained(backend, dtype="float32"):
    """A trainer after its three steps, and what they reported."""
    ids = np.arange(360) % 6
    options = {"batch_size": 2, "steps": STEPS, "warmup_steps": 1, "learning_rate": 0.007}
    trainer = Trainer(
        GPTConfig(V, S, E, L, H, F),
        TrainConfig(**options, dtype=dtype),
        TokenData(ids.astype(np.uint16), S),
        backend,
    )
    return trainer, list(trainer.run())


def greedy(trainer):
    """Four tokens after the prompt."""
    return list(generate(trainer.model, PROMPT, SamplingConfig(num_tokens=TOKENS, temperature=0)))


def leads(trainer, drawn):
    """By how much each drawn token leads over the next likeliest."""
    ids = np.array([PROMPT + drawn], np.int32)
    logits = trainer.backend.to_numpy(trainer.model.logits(trainer.backend.from_numpy(ids)))
    ordered = np.sort(logits[0, len(PROMPT) - 1 : -1], axis=-1)
    return ordered[:, -1] - ordered[:, -2]


@pytest.mark.parametrize("dtype", ["float32", "bf16", "fp16"])
def test_three_steps_and_four_tokens_are_the_cpu_s(hip, any_backend, dtype):
    ours, reports = trained(hip, dtype)
    theirs, expected = trained(any_backend)
    assert [one.skipped for one in reports] == [False] * STEPS
    for name, factor in (("loss", 1), ("norm", 1 if dtype == "float32" else 20)):
        assert [getattr(one, name) for one in reports] == pytest.approx(
            [getattr(one, name) for one in expected], rel=factor * TOLERANCE[dtype]
        )
    assert reports[-1].loss < reports[0].loss
    drawn = greedy(theirs)
    assert leads(theirs, drawn).min() > LEAD[dtype]
    assert greedy(ours) == drawn
