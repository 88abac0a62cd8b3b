"""GPT-2 as Hugging Face stores it: a folder with config.json and safetensors, both ways.

    config.json                     sizes and options
    model.safetensors               the tensors; or, where they are split into several files,
    model.safetensors.index.json    which file has which tensor

Every option of `transformers`' GPT-2 that changes what the model computes is either done here or
refused by name. The odd thing: two of its options only scale the attention's scores, so reading
folds them into the queries, and nothing is left of them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from hipgpt_model.config import GPTConfig
from hipgpt_model.interop import safetensors
from hipgpt_model.interop.errors import InteropError
from hipgpt_model.interop.gpt2 import gpt2_tensors, refuse_what_gpt2_lacks
from hipgpt_model.interop.shards import Shards

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from hipgpt_model.config import Activation
    from hipgpt_model.interop.gpt2 import TensorNames

ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "gelu": "gelu_erf",
    "gelu_python": "gelu_erf",
    "relu": "relu",
}
"""Hugging Face's names of the functions that we have. Its "gelu_fast" is the tanh form written
differently."""

_DEFAULTS: dict[str, Any] = {  # of transformers' GPT2Config, for what config.json leaves out
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": None,
    "activation_function": "gelu_new",
    "resid_pdrop": 0.1,
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "tie_word_embeddings": True,
}

_REFUSED = {
    "add_cross_attention": "the model attends to a second text",
    "auto_map": "the model brings code of its own",
    "quantization_config": "the tensors are quantised",
}
"""Keys that change what is computed, and what it means where they are set."""


@dataclass(frozen=True)
class Source:
    """A GPT-2 on disk.

    Attributes:
        config: as ours.
        folder: where it lies.
        query_scale: what queries are multiplied with, so that our 1/√D is right.
        by_layer: whether those of block i are also divided by i + 1.
    """

    config: GPTConfig
    folder: Path
    query_scale: float
    by_layer: bool

    def check(self) -> None:
        """See that every tensor is there and none is too many. No value is read.

        Raises:
            InteropError: a tensor is missing, unknown, or of another shape than config.json says,
                or a file is damaged.
        """
        with Shards(self.folder) as shards:
            self._found(shards)

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Our name and values of every tensor, in the order of `parameter_table`.

        Yields:
            (name, float32 array), one at a time.

        Raises:
            InteropError: as `check`.
        """
        with Shards(self.folder) as shards:
            for tensor, name in self._found(shards):
                yield tensor.ours, self._ours(tensor, shards.read(name))

    def _found(self, shards: Shards) -> list[tuple[TensorNames, str]]:
        """Every tensor with its name in these files."""
        if len(shards.names()) < 12 * self.config.num_layers:  # before a table is made of them
            raise InteropError(
                f"{self.folder} has {len(shards.names())} tensors; config.json speaks of "
                f"{self.config.num_layers} blocks with 12 tensors each"
            )
        names = gpt2_tensors(self.config)
        prefix = _prefix(shards, names)
        found = {tensor.ours: _theirs(tensor, prefix) for tensor in names}
        _check(shards, names, found, self.config, prefix)
        return [(tensor, found[tensor.ours]) for tensor in names]

    def _ours(self, tensor: TensorNames, values: np.ndarray) -> np.ndarray:
        if tensor.transposed:
            values = np.ascontiguousarray(values.T)
        if ".attention.qkv." in tensor.ours:
            block = int(tensor.ours.split(".")[1])
            scale = self.query_scale / (block + 1 if self.by_layer else 1)
            if scale != 1:
                values[: self.config.embed_dim] *= np.float32(scale)
        return values


def open_gpt2(folder: str | os.PathLike[str]) -> Source:
    """A GPT-2 in a folder. Only config.json is read yet.

    Raises:
        InteropError: it is no GPT-2, or has an option that hipgpt lacks; it is named.
        OSError: a file cannot be read.
    """
    folder = Path(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise InteropError(f"{folder} is no model of Hugging Face: it has no config.json")
    values = read_json(path)
    kind = values.get("model_type")
    if kind != "gpt2":
        raise InteropError(f"{path}: model_type is {kind!r}; hipgpt imports 'gpt2' only")
    for key, meaning in _REFUSED.items():
        if values.get(key):
            raise InteropError(f"{path}: {key} is set: {meaning}, which hipgpt cannot do")
    options = {key: values.get(key, default) for key, default in _DEFAULTS.items()}
    for key in ("scale_attn_weights", "scale_attn_by_inverse_layer_idx", "tie_word_embeddings"):
        if not isinstance(options[key], bool):
            raise InteropError(f"{path}: {key} is {options[key]!r}, expected true or false")
    name = options["activation_function"]
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise InteropError(
            f"{path}: activation_function is {name!r}; hipgpt has {', '.join(ACTIVATIONS)}"
        )
    inner = options["n_inner"]
    E = options["n_embd"]
    try:
        config = GPTConfig(
            vocab_size=options["vocab_size"],
            max_seq_len=options["n_positions"],
            embed_dim=E,
            num_layers=options["n_layer"],
            num_heads=options["n_head"],
            ff_dim=4 * E if inner is None and isinstance(E, int) else cast("int", inner),
            activation=ACTIVATIONS[name],
            tied=options["tie_word_embeddings"],
            output_bias=False,
            final_norm=True,
            dropout=options["resid_pdrop"],
            norm_epsilon=options["layer_norm_epsilon"],
        )
    except ValueError as error:
        raise InteropError(f"{path}: {error}") from None
    root = 1.0 if options["scale_attn_weights"] else math.sqrt(config.head_dim)
    return Source(config, folder, root, options["scale_attn_by_inverse_layer_idx"])


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InteropError: the file holds none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InteropError(f"{path} is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise InteropError(f"{path} holds no JSON object")
    return value


def _prefix(shards: Shards, names: tuple[TensorNames, ...]) -> str:
    """What stands before the blocks' names: nothing where only the inner model was saved."""
    first = names[0].huggingface
    return "" if first not in shards and first.removeprefix("transformer.") in shards else (
        "transformer."
    )  # fmt: skip


def _theirs(tensor: TensorNames, prefix: str) -> str:
    if tensor.huggingface.startswith("transformer."):
        return prefix + tensor.huggingface.removeprefix("transformer.")
    return tensor.huggingface


def _check(
    shards: Shards,
    names: tuple[TensorNames, ...],
    found: Mapping[str, str],
    config: GPTConfig,
    prefix: str,
) -> None:
    """Every tensor is there in its shape, and no other that would count."""
    for tensor in names:
        name = found[tensor.ours]
        if name not in shards:
            reason = (
                "; tie_word_embeddings is false, so the output needs a matrix of its own"
                if tensor.ours == "output.weight"
                else ""
            )
            raise InteropError(f"{shards.folder} lacks the tensor {name}{reason}")
        if shards.shape(name) != tensor.huggingface_shape:
            raise InteropError(
                f"{shards.folder}: {name} has shape {shards.shape(name)}; config.json calls for "
                f"{tensor.huggingface_shape}"
            )
    for name in sorted(shards.names() - set(found.values())):
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            continue  # the causal mask, which old files hold as a tensor
        if name == "lm_head.weight" and config.tied:
            if np.array_equal(shards.read(name), shards.read(f"{prefix}wte.weight")):
                continue
            raise InteropError(
                f"{shards.folder}: lm_head.weight differs from wte.weight, but tie_word_embeddings "
                "in config.json is true; set it to false to use both"
            )
        raise InteropError(f"{shards.folder} has a tensor that is not of a GPT-2: {name}")


# --- writing ----------------------------------------------------------------------------------


def config_json(config: GPTConfig, eos_id: int | None) -> dict[str, Any]:
    """The config.json of a model.

    Args:
        config: the model.
        eos_id: the id that begins and ends texts, or None.

    Raises:
        InteropError: `transformers` has no GPT-2 like it; the sentence says why.
    """
    names = {"gelu": "gelu_new", "gelu_erf": "gelu", "relu": "relu"}
    refuse_what_gpt2_lacks(config, "Hugging Face's GPT-2", tuple(names))
    return {
        "activation_function": names[config.activation],
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.0,
        "bos_token_id": eos_id,
        "embd_pdrop": config.dropout,
        "eos_token_id": eos_id,
        "initializer_range": 0.02,
        "layer_norm_epsilon": config.norm_epsilon,
        "model_type": "gpt2",
        "n_embd": config.embed_dim,
        "n_head": config.num_heads,
        "n_inner": None if config.ff_dim == 4 * config.embed_dim else config.ff_dim,
        "n_layer": config.num_layers,
        "n_positions": config.max_seq_len,
        "reorder_and_upcast_attn": False,
        "resid_pdrop": config.dropout,
        "scale_attn_by_inverse_layer_idx": False,
        "scale_attn_weights": True,
        "tie_word_embeddings": config.tied,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def write_tensors(
    file: IO[bytes], config: GPTConfig, tensors: Iterable[tuple[str, np.ndarray]]
) -> None:
    """Write model.safetensors.

    Args:
        file: where to.
        config: the model; one that `config_json` takes.
        tensors: our name and values of every tensor, in the order of `parameter_table`.
    """
    names = gpt2_tensors(config)
    shapes = {tensor.huggingface: tensor.huggingface_shape for tensor in names}
    values = (
        (tensor.huggingface, np.ascontiguousarray(array.T) if tensor.transposed else array)
        for tensor, (_, array) in zip(names, tensors, strict=True)
    )
    safetensors.write(file, shapes, values, {"format": "pt"})
