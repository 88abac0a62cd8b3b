"""The sample that ends a training: a line of held-out text, and how the model goes on from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_cli import say

if TYPE_CHECKING:
    from hipgpt_model.train import Trainer
    from hipgpt_tokenizer import Tokenizer

_PROMPT_CHARACTERS = 24
_LOOK_TOKENS = 1 << 15


def say_sample(trainer: Trainer, tokenizer: Tokenizer) -> str:
    """Print a sample; return the prompt that it continues, which may be empty."""
    from hipgpt_cli.writing import Writer
    from hipgpt_model.generate import SamplingConfig

    start = trainer.data.train_tokens
    held_out = [int(token) for token in trainer.data.tokens[start : start + _LOOK_TOKENS]]
    prompt = pick_prompt(tokenizer.decode(held_out))
    if not prompt and tokenizer.eot_id is None:
        return prompt  # there is nothing to start from
    stop_ids = frozenset() if tokenizer.eot_id is None else frozenset({tokenizer.eot_id})
    sampling = SamplingConfig(seed=trainer.config.seed, stop_ids=stop_ids)
    text = "".join(Writer(trainer.model, tokenizer, prompt, sampling))
    say.line()
    start_of = f'after "{prompt}" from the held-out text' if prompt else "from nothing"
    say.fact("Sample", f"{start_of}:")
    say.quoted(prompt + text)
    return prompt


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
