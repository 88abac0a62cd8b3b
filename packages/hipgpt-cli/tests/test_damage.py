"""4,000 damaged tokenizers and configurations of runs: refused in a sentence, or as before.

The odd thing: the damage is that of the model package's tests, loaded from there; JSON has no
checksum, so what loads all the same must be told apart by the tokenizer's fingerprint.
"""

import importlib.util
import json
import time
import tracemalloc
from pathlib import Path

import pytest

from hipgpt_cli.errors import UserError
from hipgpt_cli.load import Trained
from hipgpt_cli.runs import Run
from hipgpt_model.checkpoint import read_header
from hipgpt_tokenizer import Tokenizer

_SPEC = importlib.util.spec_from_file_location(
    "damage", Path(__file__).parents[2] / "hipgpt-model" / "tests" / "damage.py"
)
damage = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(damage)


def as_json(value):
    """JSON of forged values; bytes, which it has not, become text."""
    return json.dumps(value, default=repr).encode()


def outcome(load):
    """What load() gives, and what it says where it refuses; never slow, never large."""
    tracemalloc.reset_peak()
    before, began = tracemalloc.get_traced_memory()[0], time.perf_counter()
    try:
        return load(), ""
    except (UserError, ValueError) as error:
        return None, f"{type(error).__module__} {error}"
    finally:
        assert time.perf_counter() - began < 3
        assert tracemalloc.get_traced_memory()[1] - before < 8_000_000


def is_ours(message):
    """Whether it is a sentence of hipgpt, and one that can be read."""
    return message.startswith("hipgpt_") and len(message) < 1500


@pytest.fixture(autouse=True)
def _traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("how", ["damaged", "forged"])
def test_another_tokenizer_never_passes_for_the_models_own(trained, how):
    """1,000 of each: a model takes the tokenizer that it was trained with, or none."""
    run = Run(trained)
    checkpoint = run.checkpoint(12)
    model = Trained(checkpoint, read_header(checkpoint), "tiny")
    raw = run.tokenizer.read_bytes()
    own, values, loaded = Tokenizer.load(run.tokenizer), json.loads(raw), 0
    for seed in range(1000):
        content = damage.damaged(raw, seed) if how == "damaged" else as_json(
            damage.forged(values, seed))  # fmt: skip
        run.tokenizer.write_bytes(content)
        found, message = outcome(model.tokenizer)
        assert found == own or is_ours(message), seed
        loaded += found is not None
    assert loaded < 700


@pytest.mark.parametrize("how", ["damaged", "forged"])
def test_a_damaged_configuration_of_a_run_is_refused_or_understood(trained, how):
    """1,000 of each, as `hipgpt train --resume` reads them."""
    from hipgpt_cli.resume import REPORTING

    run = Run(trained)
    raw = run.config.read_bytes()
    values = json.loads(raw)
    for seed in range(1000):
        content = damage.damaged(raw, seed) if how == "damaged" else as_json(
            damage.forged(values, seed))  # fmt: skip
        run.config.write_bytes(content)
        found, message = outcome(run.read_config)
        assert found is not None or is_ours(message), seed
        if found is not None:
            for name in set(REPORTING) & found.get("options", {}).keys() - {"tensorboard"}:
                assert type(found["options"][name]) is int, (seed, name)


@pytest.mark.parametrize("seed", range(25))
def test_the_command_itself_refuses_in_one_sentence(run, trained, seed):
    """A few through the whole program: one line, no traceback, nothing lost."""
    made = Run(trained)
    path = [made.config, made.tokenizer, made.newest_checkpoint(), made.tokens][seed % 4]
    path.write_bytes(damage.damaged(path.read_bytes(), seed))
    result = run("train", "--resume", "--run-name", "tiny", "--steps", "13")
    assert result.exit_code in (0, 1), result.output
    assert "defect" not in result.stderr
    if result.exit_code:
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
    assert made.checkpoint(4).is_file()
