"""The sample that ends a training: a line of held-out text, and how the model goes on from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hipgpt_cli import say

if TYPE_CHECKING:
    from hipgpt_model.train import Trainer
    from hipgpt_tokenizer import Tokenizer

_PROMPT_CHARACTERS = 24
_LOOK_TOKENS = 256


def say_sample(trainer: Trainer, tokenizer: Tokenizer) -> str:
    """Print a sample; return the prompt that it continues."""
    from hipgpt_cli.writing import Writer
    from hipgpt_model.generate import SamplingConfig

    start = trainer.data.train_tokens
    held_out = [int(token) for token in trainer.data.tokens[start : start + _LOOK_TOKENS]]
    prompt = pick_prompt(tokenizer.decode(held_out))
    stop_ids = frozenset() if tokenizer.eot_id is None else frozenset({tokenizer.eot_id})
    sampling = SamplingConfig(seed=trainer.config.seed, stop_ids=stop_ids)
    text = "".join(Writer(trainer.model, tokenizer, prompt, sampling))
    say.line()
    say.fact("Sample", f'after "{prompt}" from the held-out text:')
    say.quoted(prompt + text)
    return prompt


def pick_prompt(text: str) -> str:
    r"""The first few words of the first whole line that has any; "" where there is none.

    >>> pick_prompt("ond.\n\nROMEO:\nIt is my lady; O, it is my love!\n")
    'ROMEO:'
    >>> pick_prompt("x\nIt is my lady, O, it is my love!")
    'It is my lady, O, it is'
    """
    _, _, rest = text.partition("\n")
    for line in rest.splitlines():
        words = line.replace("<|endoftext|>", " ").replace("\ufffd", "").split()
        prompt = ""
        for word in words:
            if prompt and len(prompt) + 1 + len(word) > _PROMPT_CHARACTERS:
                break
            prompt = f"{prompt} {word}".strip()
        if len(prompt) > 1:
            return prompt[: 2 * _PROMPT_CHARACTERS]
    return ""
