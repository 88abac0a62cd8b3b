"""GGUF, the one file that llama.cpp runs a model from: sizes, tokenizer and tensors.

    "GGUF", version 3, number of tensors, number of keys
    keys: name, type, value
    tensors: name, sizes (the innermost first), format, place
    data, each tensor on a multiple of 32 bytes; all little-endian

The odd thing: not every tensor takes the format that was asked for. Vectors and the positions stay
float32, as llama.cpp itself has them; rows that are no whole blocks of 32 become f16; and beside
q4_0 the output matrix is q8_0, because every token is chosen by it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypeAlias

from hipgpt_model.interop.gpt2 import gpt2_tensors, refuse_what_gpt2_lacks
from hipgpt_model.interop.quantize import Kind, fits, quantize, quantized_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

    from hipgpt_model.config import GPTConfig
    from hipgpt_model.interop.gpt2 import TensorNames

Value: TypeAlias = "int | float | bool | str | list[int] | list[str]"

ALIGNMENT = 32
NORMAL, CONTROL = 1, 3
"""Types of a token: text, and a special one."""

_TENSOR_TYPES: dict[Kind, int] = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}
_FILE_TYPES: dict[Kind, int] = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "bf16": 32}
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE tokenizer as llama.cpp wants it.

    Attributes:
        tokens: one an id, spelled in GPT-2's byte symbols; special tokens as their text.
        types: `NORMAL` or `CONTROL`, one an id.
        merges: "left right", most urgent first.
        pattern: llama.cpp's name of how text is split: "gpt-2".
        eos_id: the id that begins and ends texts.
    """

    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    pattern: str
    eos_id: int


def check(config: GPTConfig) -> None:
    """See that llama.cpp can run a model.

    Raises:
        InteropError: it cannot; the sentence says why.
    """
    refuse_what_gpt2_lacks(config, "llama.cpp's GPT-2", ("gelu",))


def tensor_kinds(config: GPTConfig, kind: Kind) -> dict[str, Kind]:
    """Our name of each tensor and the format that it takes in a file of `kind`."""
    chooser = "token_embedding" if config.tied else "output.weight"  # what the logits are made with
    kinds: dict[str, Kind] = {}
    for tensor in gpt2_tensors(config):
        if len(tensor.shape) == 1 or tensor.ours == "position_embedding":
            kinds[tensor.ours] = "f32"
        elif not fits(tensor.shape, kind):
            kinds[tensor.ours] = "f16"
        elif kind == "q4_0" and tensor.ours == chooser:
            kinds[tensor.ours] = "q8_0"
        else:
            kinds[tensor.ours] = kind
    return kinds


def write_gguf(
    file: IO[bytes],
    config: GPTConfig,
    tensors: Iterable[tuple[str, np.ndarray]],
    vocabulary: Vocabulary,
    *,
    kind: Kind,
    name: str,
) -> None:
    """Write a model.

    Args:
        file: where to.
        config: the model; one that `check` takes.
        tensors: our name and float32 values of every tensor, in the order of `parameter_table`.
        vocabulary: as many tokens as the model has ids.
        kind: format of the matrices.
        name: of the model, for people.

    Raises:
        InteropError: the model cannot be expressed so.
        ValueError: the vocabulary has another size than the model.
    """
    check(config)
    if not len(vocabulary.tokens) == len(vocabulary.types) == config.vocab_size:
        raise ValueError(
            f"the vocabulary has {len(vocabulary.tokens)} tokens and {len(vocabulary.types)} "
            f"types; the model has {config.vocab_size} ids"
        )
    names = gpt2_tensors(config)
    kinds = tensor_kinds(config, kind)
    keys = _keys(config, vocabulary, kind, name)
    head = [b"GGUF", struct.pack("<IQQ", 3, len(names), len(keys))]
    head += [_text(key) + _value(value) for key, value in keys.items()]
    place = 0
    for tensor in names:
        head.append(_tensor_info(tensor, kinds[tensor.ours], place))
        place += _padded(quantized_bytes(tensor.shape, kinds[tensor.ours]))
    raw = b"".join(head)
    file.write(raw.ljust(_padded(len(raw)), b"\0"))
    for tensor, (ours, array) in zip(names, tensors, strict=True):
        if ours != tensor.ours or array.shape != tensor.shape:
            raise ValueError(f"expected {tensor.ours} {tensor.shape}; got {ours} {array.shape}")
        data = quantize(array, kinds[ours])
        file.write(data.data)
        file.write(b"\0" * (_padded(data.size) - data.size))


def _keys(config: GPTConfig, vocabulary: Vocabulary, kind: Kind, name: str) -> dict[str, Value]:
    keys: dict[str, Value] = {
        "general.architecture": "gpt2",
        "general.name": name,
        "general.file_type": _FILE_TYPES[kind],
        "gpt2.context_length": config.max_seq_len,
        "gpt2.embedding_length": config.embed_dim,
        "gpt2.block_count": config.num_layers,
        "gpt2.feed_forward_length": config.ff_dim,
        "gpt2.attention.head_count": config.num_heads,
        "gpt2.attention.layer_norm_epsilon": config.norm_epsilon,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": vocabulary.pattern,
        "tokenizer.ggml.tokens": list(vocabulary.tokens),
        "tokenizer.ggml.token_type": list(vocabulary.types),
        "tokenizer.ggml.merges": list(vocabulary.merges),
        "tokenizer.ggml.bos_token_id": vocabulary.eos_id,
        "tokenizer.ggml.eos_token_id": vocabulary.eos_id,
        "tokenizer.ggml.add_bos_token": False,
    }
    if kind in ("q8_0", "q4_0"):
        keys["general.quantization_version"] = 2
    return keys


def _padded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Value) -> bytes:
    """A typed value; a list is of texts or of signed integers."""
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    if value and isinstance(value[0], int):
        return struct.pack(f"<IIQ{len(value)}i", _ARRAY, _INT32, len(value), *value)
    head = struct.pack("<IIQ", _ARRAY, _STRING, len(value))
    return head + b"".join(_text(text) for text in value if isinstance(text, str))


def _tensor_info(tensor: TensorNames, kind: Kind, place: int) -> bytes:
    sizes = tensor.shape[::-1]  # llama.cpp counts from the innermost
    return _text(tensor.gguf) + struct.pack(
        f"<I{len(sizes)}QIQ", len(sizes), *sizes, _TENSOR_TYPES[kind], place
    )
