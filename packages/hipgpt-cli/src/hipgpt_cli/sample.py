"""Samples of a training: a line of held-out text, and how the model goes on from it.

The odd thing: every sample of a run has the same prompt and the same random numbers, so what
changes from one to the next is the model alone. With --ema it is the average that writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hipgpt_cli import say
from hipgpt_cli.files import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from hipgpt_model.train import Trainer
    from hipgpt_tokenizer import Tokenizer

_PROMPT_CHARACTERS = 24
_LOOK_TOKENS = 1 << 15


@dataclass(frozen=True)
class Sample:
    """What a model wrote.

    Attributes:
        prompt: what it was given, which may be nothing.
        text: how it went on.
    """

    prompt: str
    text: str


def make_sample(trainer: Trainer, tokenizer: Tokenizer) -> Sample | None:
    """A sample of the model as it is; None where there is nothing to start from."""
    from hipgpt_cli.writing import Writer
    from hipgpt_model.generate import SamplingConfig

    start = trainer.data.train_tokens
    held_out = trainer.data.read(start, start + _LOOK_TOKENS).tolist()
    prompt = pick_prompt(tokenizer.decode(held_out))
    if not prompt and tokenizer.eot_id is None:
        return None
    stop_ids = frozenset() if tokenizer.eot_id is None else frozenset({tokenizer.eot_id})
    sampling = SamplingConfig(seed=trainer.config.seed, stop_ids=stop_ids)
    with trainer.averaged():
        return Sample(prompt, "".join(Writer(trainer.model, tokenizer, prompt, sampling)))


def say_sample(trainer: Trainer, tokenizer: Tokenizer) -> str:
    """Print a sample; return the prompt that it continues, which may be empty."""
    sample = make_sample(trainer, tokenizer)
    if sample is None:
        return ""
    prompt = sample.prompt
    say.line()
    start_of = f'after "{prompt}" from the held-out text' if prompt else "from nothing"
    say.fact("Sample", f"{start_of}:")
    say.quoted(prompt + sample.text)
    return prompt


def record_sample(path: Path, step: int, sample: Sample) -> None:
    """Append a line to samples.jsonl: step, prompt and text."""
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(step, sample))


def read_samples(path: Path) -> list[tuple[int, Sample]]:
    """(step, sample) of every whole line of a samples.jsonl; none where there is no file."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
            found.append((int(values["step"]), Sample(str(values["prompt"]), str(values["text"]))))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def drop_samples_after(path: Path, step: int) -> None:
    """Forget the samples of later steps, which a run that goes on from `step` makes again."""
    found = read_samples(path)
    kept = [(number, sample) for number, sample in found if number <= step]
    if len(kept) < len(found):
        with replacing(path) as file:
            for number, sample in kept:
                file.write(_line(number, sample).encode())


def _line(step: int, sample: Sample) -> str:
    line = {"step": step, "prompt": sample.prompt, "text": sample.text}
    return json.dumps(line, ensure_ascii=False) + "\n"


def pick_prompt(text: str) -> str:
    r"""The first few words of a line that reads like one; else of any line; else "".

    >>> pick_prompt("ond.\n\nROMEO:\nIt is my lady, O, it is my love!\n")
    'It is my lady, O, it is'
    >>> pick_prompt("x\n0x3f: 0x40, # 12\n")
    '0x3f: 0x40, # 12'
    >>> pick_prompt("all in one line")
    'in one line'
    """
    clean = text.replace("<|endoftext|>", "\n").replace("\ufffd", "")
    whole = clean.partition("\n")[2].splitlines() or [clean.partition(" ")[2]]
    lines = [line.strip() for line in whole if len(line.strip()) > 1]
    line = next(filter(_reads_well, lines), lines[0] if lines else "")
    prompt = ""
    for word in line.split():
        if prompt and len(prompt) + 1 + len(word) > _PROMPT_CHARACTERS:
            break
        prompt = f"{prompt} {word}".strip()
    return prompt[: 2 * _PROMPT_CHARACTERS]


def _reads_well(line: str) -> bool:
    """Whether a line is words: three at least, and hardly anything but letters."""
    letters = sum(character.isalpha() or character == " " for character in line)
    return line.count(" ") >= 2 and letters >= 0.85 * len(line)
