"""What a model of some size consists of and takes: parameters with their formulas, memory by part.

The odd thing: formulas stand here as text beside the numbers that the model package computes, and a
test evaluates the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hipgpt_model.config import GPTConfig


@dataclass(frozen=True)
class Part:
    """One part of a model.

    Attributes:
        name: "blocks".
        formula: in the letters V S E L F: "L·(4E² + 2E·F + F + 9E)".
        parameters: how many.
    """

    name: str
    formula: str
    parameters: int


def parts(config: GPTConfig) -> list[Part]:
    """The parts of a model, from the first to the last; those without parameters left out."""
    block = "4E² + 3E·F + 2F + 9E" if config.activation == "swiglu" else "4E² + 2E·F + F + 9E"
    output = ([] if config.tied else ["E·V"]) + (["V"] if config.output_bias else [])
    formulas = {
        "token embedding": "V·E",
        "position embedding": "S·E",
        "blocks": f"L·({block})",
        "final norm": "2E",
        "output": " + ".join(output),
    }
    return [
        Part(name, formulas[name], number)
        for name, number in config.parameters_by_part().items()
        if number
    ]


@dataclass(frozen=True)
class Memory:
    """Bytes by part.

    Attributes:
        training: with a batch of B rows of S tokens; the text's ids come on top.
        generation: of one text.
    """

    training: dict[str, int]
    generation: dict[str, int]


def memory(config: GPTConfig, batch_size: int) -> Memory:
    """What training and generation take."""
    from hipgpt_model.memory import generation_bytes, training_bytes

    return Memory(training_bytes(config, batch_size), generation_bytes(config))
