"""GPT-2's tensors: our name of each, Hugging Face's and llama.cpp's, and which way round it lies.

The odd thing: GPT-2 was released with matrices as (in, out), and Hugging Face keeps them so; ours
and llama.cpp's are (out, in).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hipgpt_model.parameter_specs import parameter_table

if TYPE_CHECKING:
    from hipgpt_model.config import GPTConfig

_WHOLE = {  # ours → (Hugging Face's, llama.cpp's)
    "token_embedding": ("transformer.wte.weight", "token_embd.weight"),
    "position_embedding": ("transformer.wpe.weight", "position_embd.weight"),
    "final_norm": ("transformer.ln_f", "output_norm"),
    "output.weight": ("lm_head.weight", "output.weight"),
}

_IN_BLOCK = {
    "norm1": ("ln_1", "attn_norm"),
    "attention.qkv": ("attn.c_attn", "attn_qkv"),
    "attention.output": ("attn.c_proj", "attn_output"),
    "norm2": ("ln_2", "ffn_norm"),
    "feed_forward.up": ("mlp.c_fc", "ffn_up"),
    "feed_forward.down": ("mlp.c_proj", "ffn_down"),
}


@dataclass(frozen=True)
class TensorNames:
    """One tensor of a GPT-2.

    Attributes:
        ours: its name in `parameter_table`.
        huggingface: its name in a safetensors file.
        gguf: its name in a GGUF file.
        shape: ours.
        transposed: whether Hugging Face has it the other way round.
    """

    ours: str
    huggingface: str
    gguf: str
    shape: tuple[int, ...]
    transposed: bool

    @property
    def huggingface_shape(self) -> tuple[int, ...]:
        """Its shape in a safetensors file."""
        return self.shape[::-1] if self.transposed else self.shape


def gpt2_tensors(config: GPTConfig) -> tuple[TensorNames, ...]:
    """Every tensor of a model, in the order of `parameter_table`.

    Raises:
        ValueError: GPT-2 has no name for one, such as a bias of the output.
    """
    return tuple(_named(spec.name, spec.shape) for spec in parameter_table(config))


def _named(name: str, shape: tuple[int, ...]) -> TensorNames:
    if name in _WHOLE:
        return TensorNames(name, *_WHOLE[name], shape, transposed=False)
    stem, _, kind = name.rpartition(".")  # kind: weight or bias
    if stem in _WHOLE:
        theirs, llama = _WHOLE[stem]
        return TensorNames(name, f"{theirs}.{kind}", f"{llama}.{kind}", shape, transposed=False)
    place, _, part = stem.removeprefix("blocks.").partition(".")
    if part not in _IN_BLOCK:
        raise ValueError(f"GPT-2 has no name for {name}")
    theirs, llama = _IN_BLOCK[part]
    return TensorNames(
        name,
        f"transformer.h.{place}.{theirs}.{kind}",
        f"blk.{place}.{llama}.{kind}",
        shape,
        transposed=len(shape) == 2,
    )


def refuse_what_gpt2_lacks(config: GPTConfig, form: str, activations: tuple[str, ...]) -> None:
    """See that a format of GPT-2 models can express a model.

    Args:
        config: the model.
        form: the format, for the sentence.
        activations: those that it knows.

    Raises:
        InteropError: it cannot; the sentence says why, and which option of training avoids it.
    """
    from hipgpt_model.interop.errors import InteropError

    if config.activation not in activations:
        raise InteropError(
            f"{form} cannot express the activation {config.activation}, only "
            f"{' and '.join(activations)}: the model has to be trained with one of these"
        )
    if not config.final_norm:
        raise InteropError(
            f"{form} cannot express a model without a norm before the output: the model has to be "
            "trained with final_norm (--final-norm)"
        )
    if config.output_bias:
        raise InteropError(
            f"{form} cannot express a bias of the output: the model has to be trained without "
            "output_bias (--no-output-bias), or to be exported as a wider one (--widen)"
        )
