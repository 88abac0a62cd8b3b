"""The GGUF file: what stands where, and which tensor takes which format."""

import io
import struct

import numpy as np
import pytest

from hipgpt_model.interop.errors import InteropError
from hipgpt_model.interop.gguf import CONTROL, NORMAL, Vocabulary, tensor_kinds, write_gguf
from hipgpt_model.interop.quantize import dequantize

from .models import random_weights, tiny_config


def gpt2_config(**options):
    return tiny_config(**{"tied": True, "output_bias": False, **options})


def vocabulary(size):
    tokens = [f"t{number}" for number in range(size)]
    return Vocabulary(tokens, [NORMAL] * (size - 1) + [CONTROL], ["t t1"], "gpt-2", size - 1)


def written(config, weights, kind="f32"):
    file = io.BytesIO()
    write_gguf(file, config, weights.items(), vocabulary(config.vocab_size), kind=kind, name="tiny")
    return file.getvalue()


class Reader:
    """The format read by the letter."""

    def __init__(self, data):
        self.data, self.place = data, 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.place)
        self.place += struct.calcsize("<" + form)
        return values[0] if len(values) == 1 else values

    def text(self):
        return bytes(self.take(f"{self.take('Q')}s")).decode()

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            of, count = self.take("IQ")
            return [self.value(of) for _ in range(count)]
        return self.take({4: "I", 5: "i", 6: "f", 7: "?"}[kind])


def read(data):
    """Keys, and tensors as (sizes, type, bytes from its place on)."""
    reader = Reader(data)
    assert reader.take("4s") == b"GGUF"
    version, tensors, keys = reader.take("IQQ")
    assert version == 3
    values = {reader.text(): reader.value(reader.take("I")) for _ in range(keys)}
    infos = {}
    for _ in range(tensors):
        name = reader.text()
        sizes = [reader.take("Q") for _ in range(reader.take("I"))]
        infos[name] = (sizes, *reader.take("IQ"))
    start = -(-reader.place // 32) * 32
    assert all(place % 32 == 0 for _, _, place in infos.values())
    return values, {name: (s, t, data[start + place :]) for name, (s, t, place) in infos.items()}


@pytest.mark.parametrize("tied", [True, False])
def test_keys_and_tensors(rng, tied):
    config = gpt2_config(tied=tied)
    weights = random_weights(config, rng)
    keys, tensors = read(written(config, weights))
    assert keys["general.architecture"] == "gpt2"
    assert keys["gpt2.context_length"] == 12
    assert keys["gpt2.attention.head_count"] == 3
    assert keys["gpt2.attention.layer_norm_epsilon"] == pytest.approx(1e-5)
    assert keys["tokenizer.ggml.tokens"] == [f"t{number}" for number in range(37)]
    assert keys["tokenizer.ggml.token_type"] == [1] * 36 + [3]
    assert keys["tokenizer.ggml.eos_token_id"] == 36
    assert keys["tokenizer.ggml.add_bos_token"] is False
    assert ("output.weight" in tensors) is not tied
    sizes, form, data = tensors["blk.1.ffn_up.weight"]
    assert (sizes, form) == ([24, 40], 0)
    expected = weights["blocks.1.feed_forward.up.weight"]
    assert data[: expected.nbytes] == expected.tobytes()


def test_which_tensor_takes_which_format():
    kinds = tensor_kinds(gpt2_config(embed_dim=64, num_heads=2, ff_dim=40, tied=False), "q4_0")
    assert kinds["blocks.0.attention.qkv.weight"] == "q4_0"
    assert kinds["blocks.0.feed_forward.down.weight"] == "f16", "rows of 40 are no whole blocks"
    assert kinds["token_embedding"] == "q4_0"
    assert kinds["output.weight"] == "q8_0"
    assert kinds["position_embedding"] == kinds["final_norm.weight"] == "f32"
    tied = tensor_kinds(gpt2_config(embed_dim=64, num_heads=2), "q4_0")
    assert tied["token_embedding"] == "q8_0"


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0", "q4_0"])
def test_stored_numbers_are_those_of_the_format(rng, kind):
    config = gpt2_config(embed_dim=32, num_heads=2)
    weights = random_weights(config, rng)
    keys, tensors = read(written(config, weights, kind))
    _, form, data = tensors["blk.0.attn_qkv.weight"]
    assert keys["general.file_type"] == {"f16": 1, "bf16": 32, "q8_0": 7, "q4_0": 2}[kind]
    assert form == {"f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2}[kind]
    count = 96 * {"f16": 64, "bf16": 64, "q8_0": 34, "q4_0": 18}[kind]
    stored = np.frombuffer(data[:count], np.uint8)
    exact = weights["blocks.0.attention.qkv.weight"]
    assert np.abs(dequantize(stored, (96, 32), kind) - exact).max() < 0.2 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "gelu_erf"}, "cannot express the activation gelu_erf, only gelu"),
        ({"activation": "relu"}, "cannot express the activation relu"),
        ({"final_norm": False}, "--final-norm"),
        ({"output_bias": True}, "--no-output-bias"),
    ],
)
def test_what_llama_cpp_cannot_run_is_refused(rng, options, message):
    config = gpt2_config(**options)
    with pytest.raises(InteropError, match=message):
        written(config, random_weights(config, rng))


def test_a_vocabulary_of_another_size_is_refused(rng):
    config = gpt2_config()
    with pytest.raises(ValueError, match="36 tokens and 36 types; the model has 37 ids"):
        write_gguf(io.BytesIO(), config, random_weights(config, rng).items(), vocabulary(36),
                   kind="f32", name="x")  # fmt: skip
