"""A folder of Hugging Face's: every option is done or refused by name, whatever the files hold."""

import json

import numpy as np
import pytest

from hipgpt_model import GPTConfig
from hipgpt_model.interop import safetensors
from hipgpt_model.interop.errors import InteropError
from hipgpt_model.interop.gpt2 import gpt2_tensors
from hipgpt_model.interop.huggingface import config_json, open_gpt2, write_tensors

from .models import random_weights, tiny_config


def gpt2_config(**options):
    return tiny_config(**{"tied": True, "output_bias": False, **options})


@pytest.fixture
def folder(tmp_path, rng):
    """A tiny GPT-2 as Hugging Face stores it."""
    config = gpt2_config()
    (tmp_path / "config.json").write_text(json.dumps(config_json(config, 0)))
    with (tmp_path / "model.safetensors").open("wb") as file:
        write_tensors(file, config, random_weights(config, rng).items())
    return tmp_path


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def rewrite(folder, edit):
    """Change the tensors of a folder: edit(dict) in place."""
    path = folder / "model.safetensors"
    with safetensors.SafetensorsFile(path) as file:
        tensors = {name: file.read(name) for name in file.tensors}
    edit(tensors)
    with path.open("wb") as file:
        shapes = {name: array.shape for name, array in tensors.items()}
        safetensors.write(file, shapes, tensors.items(), {"format": "pt"})
    return tensors


def everything(folder):
    source = open_gpt2(folder)
    source.check()
    return source.config, dict(source.tensors())


@pytest.mark.parametrize("options", [{}, {"tied": False}, {"activation": "relu", "ff_dim": 96},
                                     {"activation": "gelu_erf", "dropout": 0.25}])  # fmt: skip
def test_a_round_trip_gives_the_same_model(tmp_path, rng, options):
    config = gpt2_config(**options)
    weights = random_weights(config, rng)
    (tmp_path / "config.json").write_text(json.dumps(config_json(config, None)))
    with (tmp_path / "model.safetensors").open("wb") as file:
        write_tensors(file, config, weights.items())
    again, tensors = everything(tmp_path)
    assert again == config
    assert list(tensors) == list(weights)
    for name, array in tensors.items():
        assert array.tobytes() == weights[name].tobytes()


def test_defaults_are_those_of_transformers(folder):
    """A config.json may leave out what GPT-2 124M has."""
    path = folder / "config.json"
    path.write_text('{"model_type": "gpt2"}')
    assert open_gpt2(folder).config == GPTConfig(
        50257, 1024, 768, 12, 12, 3072, tied=True, output_bias=False, dropout=0.1
    )


REFUSED = {
    "model_type": ("llama", "model_type is 'llama'; hipgpt imports 'gpt2' only"),
    "activation_function": ("silu", "activation_function is 'silu'; hipgpt has gelu_new"),
    "add_cross_attention": (True, "add_cross_attention is set"),
    "auto_map": ({"AutoModel": "x.Y"}, "auto_map is set: the model brings code of its own"),
    "quantization_config": ({"bits": 4}, "quantization_config is set"),
    "scale_attn_weights": ("no", "scale_attn_weights is 'no', expected true or false"),
    "tie_word_embeddings": (1, "tie_word_embeddings is 1, expected true or false"),
    "n_head": (5, "num_heads must divide embed_dim"),
    "n_layer": (-1, "num_layers must be an integer, at least 1"),
    "n_embd": ("24", "embed_dim must be an integer"),
    "n_inner": (0, "ff_dim must be an integer, at least 1"),
    "layer_norm_epsilon": (0, "norm_epsilon must be"),
    "resid_pdrop": (1.0, "dropout must be"),
    "vocab_size": (True, "vocab_size must be an integer"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_options_that_hipgpt_lacks_are_refused(folder, key):
    value, message = REFUSED[key]
    change(folder, **{key: value})
    with pytest.raises(InteropError) as caught:
        open_gpt2(folder)
    assert message in str(caught.value)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"model_type"', "[" * 100_000, "\ud800"])
def test_a_config_that_is_no_json_object_is_refused(folder, text):
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InteropError, match=r"config\.json"):
        open_gpt2(folder)


def test_a_forged_number_of_blocks_costs_nothing(folder):
    change(folder, n_layer=2**31 - 1)
    with pytest.raises(InteropError, match="2147483647 blocks with 12 tensors each"):
        open_gpt2(folder).check()


def test_forged_sizes_are_compared_with_the_tensors(folder):
    change(folder, vocab_size=2**31 - 1)
    with pytest.raises(InteropError, match=r"wte.weight has shape \(37, 24\)"):
        everything(folder)


def test_missing_and_unknown_tensors_are_named(folder):
    tensors = rewrite(folder, lambda t: t.pop("transformer.h.1.mlp.c_fc.bias"))
    with pytest.raises(InteropError, match=r"lacks the tensor transformer\.h\.1\.mlp\.c_fc\.bias"):
        everything(folder)
    bias = np.zeros(40, np.float32)
    rewrite(folder, lambda t: t.update({"transformer.h.1.mlp.c_fc.bias": bias, "score": bias}))
    with pytest.raises(InteropError, match="not of a GPT-2: score"):
        everything(folder)
    assert tensors


def test_an_untied_model_needs_its_matrix(folder):
    change(folder, tie_word_embeddings=False)
    with pytest.raises(InteropError, match=r"lacks the tensor lm_head\.weight; tie_word"):
        everything(folder)


def test_a_tied_model_may_hold_its_matrix_twice_but_not_two(folder):
    rewrite(folder, lambda t: t.update({"lm_head.weight": t["transformer.wte.weight"]}))
    everything(folder)
    rewrite(folder, lambda t: t.update({"lm_head.weight": t["lm_head.weight"] + 1}))
    with pytest.raises(InteropError, match="set it to false to use both"):
        everything(folder)


def test_masks_of_old_files_are_ignored(folder):
    rewrite(
        folder,
        lambda t: t.update(
            {
                "transformer.h.0.attn.bias": np.ones((1, 1, 12, 12), np.float32),
                "transformer.h.0.attn.masked_bias": np.array(-1e4, np.float32),
            }
        ),
    )
    everything(folder)


def split(folder, files):
    """Cut model.safetensors into files, {name: predicate of a tensor's name}, with an index."""
    with safetensors.SafetensorsFile(folder / "model.safetensors") as file:
        tensors = {name: file.read(name) for name in file.tensors}
    (folder / "model.safetensors").unlink()
    places = {}
    for name, belongs in files.items():
        part = {tensor: array for tensor, array in tensors.items() if belongs(tensor)}
        with (folder / name).open("wb") as file:
            shapes = {tensor: array.shape for tensor, array in part.items()}
            safetensors.write(file, shapes, part.items(), {})
        places |= dict.fromkeys(part, name)
    return places


def write_index(folder, places):
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": places}))


TWO = {
    "a.safetensors": lambda name: ".h.0." in name,
    "b.safetensors": lambda name: ".h.0." not in name,
}


def test_a_model_in_two_files(folder):
    before = everything(folder)[1]
    write_index(folder, split(folder, TWO))
    after = everything(folder)[1]
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    "name",
    ["../a.safetensors", "/etc/a.safetensors", "x/a.safetensors", "x\\a.safetensors", "a.bin", "",
     "..", 3, None],
)  # fmt: skip
def test_an_index_names_files_beside_it_only(folder, name):
    places = split(folder, TWO)
    places["transformer.wte.weight"] = name
    write_index(folder, places)
    with pytest.raises(InteropError, match=r"expected a \.safetensors file beside it"):
        everything(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda p: p.update({"transformer.wte.weight": "c.safetensors"}),
            "c.safetensors, which",
        ),
        (lambda p: p.update({"transformer.wte.weight": "a.safetensors"}), "but it is not"),
        (lambda p: p.update({"nothing": "a.safetensors"}), "says that nothing is in"),
        (lambda p: p.clear(), "has no weight_map"),
    ],
)
def test_an_index_that_is_wrong_is_refused(folder, edit, message):
    places = split(folder, TWO)
    edit(places)
    write_index(folder, places)
    with pytest.raises(InteropError, match=message):
        everything(folder)


def test_a_tensor_in_two_files_is_refused(folder):
    places = split(folder, {**TWO, "c.safetensors": lambda name: "wte" in name})
    write_index(folder, places)
    with pytest.raises(InteropError, match=r"is in b\.safetensors and c\.safetensors"):
        everything(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "weights.pkl"])
def test_pickles_are_never_opened(folder, monkeypatch, name):
    """Nor unpickled: the module is not even there."""
    import sys

    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    monkeypatch.setitem(sys.modules, "pickle", None)
    with pytest.raises(InteropError, match=f"{name} only, a pickle, which can run any code"):
        everything(folder)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(InteropError, match=r"it has no config\.json"):
        open_gpt2(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(InteropError, match=r"has no model\.safetensors and no"):
        everything(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "swiglu"}, "cannot express the activation swiglu, only gelu and gelu_erf"),
        ({"final_norm": False}, "without a norm before the output.*--final-norm"),
        ({"output_bias": True}, "cannot express a bias of the output.*--no-output-bias"),
    ],
)
def test_what_gpt2_cannot_express_is_not_written(options, message):
    with pytest.raises(InteropError, match=message):
        config_json(gpt2_config(**options), 0)


def test_a_name_that_gpt2_lacks():
    with pytest.raises(ValueError, match=r"no name for output\.bias"):
        gpt2_tensors(tiny_config())
