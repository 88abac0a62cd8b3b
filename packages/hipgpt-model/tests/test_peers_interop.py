"""Hugging Face's and llama.cpp's own programs read what is written, and are read.

The odd thing: weights here are random, which is harder than real ones; nothing repeats itself.
"""

import json
import math

import numpy as np
import pytest

from hipgpt_model import GPT, GPTConfig, Parameters, perplexity
from hipgpt_model.generate import SamplingConfig, generate
from hipgpt_model.interop.gguf import NORMAL, Vocabulary, write_gguf
from hipgpt_model.interop.huggingface import config_json, open_gpt2, write_tensors
from hipgpt_model.interop.quantize import dequantize, quantize

from .models import random_weights

torch = pytest.importorskip("torch", reason="PyTorch is in the environment `peers` only")
transformers = pytest.importorskip(
    "transformers", reason="transformers is in the environment `peers` only"
)

TINY = {"vocab_size": 67, "n_positions": 24, "n_embd": 36, "n_layer": 2, "n_head": 3}

THEIRS = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "five heads of seven": {"n_embd": 35, "n_head": 5},
    "one head": {"n_head": 1, "n_layer": 1},
    "narrow": {"n_inner": 19},
    "epsilon": {"layer_norm_epsilon": 0.01},
    **{
        name: {"activation_function": name, "tie_word_embeddings": name < "gelu_n"}
        for name in ("gelu", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh", "relu")
    },
    "no scale": {"scale_attn_weights": False},
    "scale by layer": {"scale_attn_by_inverse_layer_idx": True, "n_layer": 4},
    "both scales": {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
    "upcast": {"reorder_and_upcast_attn": True},
}

OURS = {
    "gpt2": {},
    "untied": {"tied": False},
    "erf": {"activation": "gelu_erf"},
    "relu": {"activation": "relu", "tied": False},
    "five heads of seven": {"embed_dim": 35, "num_heads": 5, "ff_dim": 41},
    "one head": {"num_heads": 1, "num_layers": 1, "norm_epsilon": 1e-3},
}


def random_gpt2(options, seed=0, scale=0.2):
    """transformers' GPT-2, in which no tensor is 0 or 1."""
    torch.manual_seed(seed)
    values = {"attn_implementation": "eager", "bos_token_id": 0, "eos_token_id": 0, **TINY}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**values, **options})).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensor.normal_(0, scale)
            if "ln_" in name and name.endswith("weight"):
                tensor.add_(1)
    return model


def theirs_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor(ids, dtype=torch.long)).logits.numpy()


def imported(folder, backend):
    """The model in a folder of Hugging Face's."""
    source = open_gpt2(folder)
    parameters = Parameters(source.config, backend, training=False)
    parameters.load(dict(source.tensors()))
    return GPT(source.config, backend, parameters)


def exported(config, weights, folder, eos_id=0):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_json(config, eos_id)))
    with (folder / "model.safetensors").open("wb") as file:
        write_tensors(file, config, weights.items())
    return folder


def our_config(**options):
    values = {"vocab_size": 67, "max_seq_len": 24, "embed_dim": 36, "num_layers": 2,
              "num_heads": 3, "ff_dim": 144, "tied": True, "output_bias": False}  # fmt: skip
    return GPTConfig(**{**values, **options})


def assert_close(ours, theirs, exact):
    """Our largest error is at most three times theirs, plus a floor for where that is luck."""
    size = np.abs(exact).max()
    error, other = np.abs(ours - exact).max(), np.abs(theirs - exact).max()
    assert error <= 3 * other + 2e-6 * size, f"{error / size:.1e}, theirs {other / size:.1e}"


@pytest.mark.parametrize("options", THEIRS.values(), ids=THEIRS)
def test_their_model_gives_the_same_logits_here(backend, rng, tmp_path, options):
    theirs = random_gpt2(options)
    theirs.save_pretrained(tmp_path)
    ids = rng.integers(0, 67, (3, 24)).astype(np.int32)
    model = imported(tmp_path, backend)
    ours = backend.to_numpy(model.logits(backend.from_numpy(ids)))
    expected = theirs_logits(theirs, ids)
    for block in theirs.transformer.h:
        block.attn.reorder_and_upcast_attn = False  # which refuses float64
    assert_close(ours, expected, theirs_logits(theirs.double(), ids))


@pytest.mark.parametrize("options", OURS.values(), ids=OURS)
def test_our_model_gives_the_same_logits_there(backend, rng, tmp_path, options):
    config = our_config(**options)
    weights = random_weights(config, rng, scale=0.2)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        exported(config, weights, tmp_path), attn_implementation="eager"
    ).eval()
    parameters = Parameters(config, backend, training=False)
    parameters.load(weights)
    model = GPT(config, backend, parameters)
    ids = rng.integers(0, 67, (3, 24)).astype(np.int32)
    ours = backend.to_numpy(model.logits(backend.from_numpy(ids)))
    expected = theirs_logits(theirs, ids)
    assert_close(ours, expected, theirs_logits(theirs.double(), ids))


@pytest.mark.parametrize("options", OURS.values(), ids=OURS)
def test_export_import_export_changes_no_byte(rng, tmp_path, options):
    config = our_config(**options)
    first = exported(config, random_weights(config, rng), tmp_path / "first")
    source = open_gpt2(first)
    assert source.config == config
    second = exported(source.config, dict(source.tensors()), tmp_path / "second")
    for name in ("model.safetensors", "config.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_their_library_reads_our_file_and_ours_theirs(rng, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="comes with transformers")
    config = our_config()
    weights = random_weights(config, rng)
    path = exported(config, weights, tmp_path) / "model.safetensors"
    tensors = safetensors.load_file(path)
    assert tensors["transformer.wte.weight"].tobytes() == weights["token_embedding"].tobytes()
    safetensors.save_file(tensors, path, {"format": "pt"})
    for name, array in open_gpt2(tmp_path).tensors():
        assert array.tobytes() == weights[name].tobytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_files_are_read_exactly(any_backend, tmp_path, dtype):
    theirs = random_gpt2({}).to(getattr(torch, dtype))
    theirs.save_pretrained(tmp_path)
    model = imported(tmp_path, any_backend)
    expected = theirs.float().transformer.h[1].mlp.c_fc.weight.detach().numpy().T
    assert np.array_equal(model.parameters["blocks.1.feed_forward.up.weight"], expected)


def test_a_model_in_several_files(any_backend, rng, tmp_path):
    theirs = random_gpt2({"tie_word_embeddings": False})
    theirs.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    ids = rng.integers(0, 67, (2, 24)).astype(np.int32)
    ours = imported(tmp_path, any_backend).logits(ids)
    assert np.abs(ours - theirs_logits(theirs, ids)).max() < 1e-4


def test_only_the_inner_model_as_in_the_oldest_files(any_backend, rng, tmp_path):
    """GPT2Model's names lack `transformer.`, and its files have the mask as a tensor."""
    from safetensors.torch import save_file

    theirs = random_gpt2({})
    state = {
        name.removeprefix("transformer."): tensor.contiguous()
        for name, tensor in theirs.state_dict().items()
        if name != "lm_head.weight"
    }
    for i in range(2):
        state[f"h.{i}.attn.bias"] = torch.ones(1, 1, 24, 24).tril()
        state[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    theirs.config.save_pretrained(tmp_path)
    save_file(state, tmp_path / "model.safetensors")
    ids = rng.integers(0, 67, (2, 24)).astype(np.int32)
    ours = imported(tmp_path, any_backend).logits(ids)
    assert np.abs(ours - theirs_logits(theirs, ids)).max() < 1e-4


@pytest.mark.parametrize("options", [{}, {"n_head": 5, "n_embd": 60}], ids=["twelve", "five"])
def test_two_hundred_greedy_tokens_are_the_same(backend, tmp_path, options):
    theirs = random_gpt2(
        {"n_positions": 224, "vocab_size": 503, "n_embd": 48, "n_head": 12, **options}, scale=0.15
    )
    theirs.save_pretrained(tmp_path)
    prompt = [3, 1, 4, 1, 5, 9]
    expected = theirs.generate(
        torch.tensor([prompt]), max_new_tokens=200, do_sample=False, eos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip
    sampling = SamplingConfig(num_tokens=200, temperature=0.0)
    ours = list(generate(imported(tmp_path, backend), prompt, sampling))
    assert len(set(ours)) > 10, "the text repeats itself: it would prove little"
    assert ours == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize("stride", [24, 7])
def test_perplexity_of_the_same_windows(backend, rng, tmp_path, stride):
    """A script with transformers that scores each token in the window in which ours does."""
    theirs = random_gpt2({})
    theirs.save_pretrained(tmp_path)
    tokens = rng.integers(0, 67, 400)
    total, done = 0.0, 1
    for start in range(0, len(tokens), stride):
        text = torch.tensor(tokens[start : start + 25])
        if start + len(text) <= done:
            break
        with torch.no_grad():
            logits = theirs(text[None, :-1]).logits[0].double()
        losses = torch.nn.functional.cross_entropy(logits, text[1:], reduction="none")
        total += losses[done - start - 1 :].sum().item()
        done = start + len(text)
    assert done == len(tokens)
    report = perplexity(imported(tmp_path, backend), tokens, stride)
    assert report.loss == pytest.approx(total / (len(tokens) - 1), rel=1e-6)


# --- llama.cpp --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0", "q4_0"])
def test_the_bytes_are_those_of_llama_cpps_package(rng, kind):
    gguf = pytest.importorskip("gguf", reason="gguf is in the environment `peers` only")
    rows = rng.standard_normal((700, 96)).astype(np.float32)
    rows[3] = 0
    rows[4, :32] = np.arange(32) / 2
    rows[5] *= 1e-6
    rows[6, 7] = -100
    theirs = gguf.quants.quantize(rows, getattr(gguf.GGMLQuantizationType, kind.upper()))
    ours = quantize(rows, kind)
    assert ours.tobytes() == np.ascontiguousarray(theirs).tobytes()
    again = gguf.quants.dequantize(theirs, getattr(gguf.GGMLQuantizationType, kind.upper()))
    assert np.array_equal(dequantize(ours, rows.shape, kind), again)


LLAMA = {"max_seq_len": 240, "vocab_size": 320, "embed_dim": 96, "num_heads": 6, "ff_dim": 160}

BOUNDS = {"f32": 2e-3, "f16": 4e-3, "bf16": 4e-2, "q8_0": 0.15, "q4_0": 2.0}
"""Of ln p, the largest difference among 1,600, against ours in float32. Random weights feel every
bit: measured are 0.0016, 0.002, 0.025, 0.1 and 1.3. Of f32's, llama.cpp's table of GELU makes all:
it has 16 bits."""


def llama_answer(path, prompt, count, settings):
    """What llama.cpp writes greedily: (id, {id: ln p of the likeliest}) for each token."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="xllamacpp is in `peers` only")
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup = settings
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_prompt = False
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    answer = xllamacpp.Server(params).handle_completions(
        {"prompt": prompt, "n_predict": count, "temperature": 0.0, "ignore_eos": True,
         "logprobs": 8, "cache_prompt": False}
    )  # fmt: skip
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    return [
        (place["id"], {top["id"]: top["logprob"] for top in place["top_logprobs"]})
        for place in answer["choices"][0]["logprobs"]["content"]
    ]


def made_up_vocabulary(size):
    """Tokens of no meaning, all ASCII: llama.cpp holds back what ends inside a character."""
    tokens = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    tokens += [f"t{number}" for number in range(size - len(tokens))]
    return Vocabulary(tokens, [NORMAL] * size, ["a b"], "gpt-2", size - 1)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", BOUNDS)
def test_llama_cpp_runs_our_file(any_backend, rng, tmp_path, kind, tied):
    """200 greedy tokens and the likeliest ids at each place; with f32 the same text as ours."""
    config = our_config(**LLAMA, tied=tied)
    weights = random_weights(config, rng, scale=0.12)
    if not tied:
        weights["output.weight"][-1] = 0  # the end of text
    path = tmp_path / f"{kind}.gguf"
    with path.open("wb") as file:
        write_gguf(file, config, weights.items(), made_up_vocabulary(320), kind=kind, name="random")
    parameters = Parameters(config, any_backend, training=False)
    parameters.load(weights)
    model = GPT(config, any_backend, parameters)
    prompt = [int(id_) for id_ in rng.integers(0, 300, 9)]
    theirs = llama_answer(path, prompt, 200, (240, 1, False))
    ids = [id_ for id_, _ in theirs]
    assert len(ids) == 200
    logits = model.logits(np.array([(prompt + ids)[:-1]], np.int32))[0, len(prompt) - 1 :]
    exact = logits.astype(np.float64)
    exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))  # (200, V)
    worst = max(
        abs(p - exact[place, id_])
        for place, (_, tops) in enumerate(theirs)
        for id_, p in tops.items()
    )
    assert worst < BOUNDS[kind], f"ln p differs by {worst:.2g}"
    assert math.isfinite(worst)
    if kind == "f32":
        sampling = SamplingConfig(num_tokens=200, temperature=0.0)
        assert ids == list(generate(model, prompt, sampling))
        assert len(set(ids)) > 10, "the text repeats itself: it would prove little"


def test_their_reader_finds_what_we_wrote(rng, tmp_path):
    gguf = pytest.importorskip("gguf", reason="gguf is in the environment `peers` only")
    config = our_config(**LLAMA)
    weights = random_weights(config, rng)
    path = tmp_path / "tiny.gguf"
    with path.open("wb") as file:
        write_gguf(file, config, weights.items(), made_up_vocabulary(320), kind="q8_0", name="é")
    reader = gguf.GGUFReader(path)
    assert reader.get_field("general.name").contents() == "é"
    assert reader.get_field("tokenizer.ggml.tokens").contents()[:2] == ["!", '"']
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == len(weights)
    for tensor in tensors.values():
        assert tensor.data.size > 0
    stored = tensors["position_embd.weight"].data
    assert np.array_equal(stored, weights["position_embedding"])
