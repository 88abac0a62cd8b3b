"""`hipgpt import hf`, `export hf` and `export gguf`: files of other programs in and out.

The odd thing: the model that goes round is made here, with random weights; Hugging Face's own
programs have their say in test_peers_interchange.py.
"""

import json
import sys
import types

import numpy as np
import pytest

from hipgpt_model import GPTConfig, parameter_table
from hipgpt_model.interop.huggingface import config_json, write_tensors
from hipgpt_tokenizer import Tokenizer

END = "<|endoftext|>"


def save_gpt2(folder, tokenizer, **options):
    """A tiny GPT-2 as Hugging Face stores it."""
    sizes = {"vocab_size": tokenizer.vocab_size, "max_seq_len": 16, "embed_dim": 32,
             "num_layers": 1, "num_heads": 2, "ff_dim": 64, "tied": True,
             "output_bias": False}  # fmt: skip
    config = GPTConfig(**{**sizes, **options})
    rng = np.random.default_rng(0)
    weights = {
        spec.name: rng.standard_normal(spec.shape).astype(np.float32)
        for spec in parameter_table(config)
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_json(config, tokenizer.eot_id)))
    with (folder / "model.safetensors").open("wb") as file:
        write_tensors(file, config, weights.items())
    return config


@pytest.fixture
def tokenizer(words):
    return Tokenizer.train(words, 300, special_tokens=[END])


@pytest.fixture
def folder(tmp_path, tokenizer):
    """./theirs, a model with its tokenizer."""
    path = tmp_path / "theirs"
    save_gpt2(path, tokenizer)
    tokenizer.save(path / "tokenizer.json")
    return path


@pytest.fixture
def taken(folder, run, tmp_path):
    """The run "theirs", taken over from ./theirs."""
    result = run("import", "hf", folder)
    assert result.exit_code == 0, result.output
    return tmp_path / "runs" / "theirs"


class _NotInTheCacheError(OSError):
    """What the client raises where it reaches nobody and has kept nothing."""


class Hub:
    """What huggingface_hub would be asked for."""

    def __init__(self, folder=None, error=None):
        self.folder, self.error, self.calls = folder, error, []

    def snapshot_download(self, repository, **options):
        self.calls.append(("download", repository, options))
        if self.error:
            raise self.error
        return str(self.folder)

    def create_repo(self, repository, **options):
        self.calls.append(("create", repository, options))
        return f"https://hub.example/{repository}"

    def upload_folder(self, **options):
        self.calls.append(("upload", options["repo_id"], options))
        if self.error:
            raise self.error

    def install(self, monkeypatch):
        module = types.ModuleType("huggingface_hub")
        module.snapshot_download = self.snapshot_download
        module.HfApi = lambda: self
        errors = types.ModuleType("huggingface_hub.errors")
        errors.HfHubHTTPError = type("HfHubHTTPError", (OSError,), {})
        errors.LocalEntryNotFoundError = _NotInTheCacheError
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
        return self


# --- import -----------------------------------------------------------------------------------


def test_an_imported_model_is_a_run(run, taken):
    """It writes text, and `info` and `evaluate` know it."""
    written = run("generate", "--run", "theirs", "--prompt", "the", "--num-tokens", "5")
    assert written.exit_code == 0, written.output
    assert "theirs, step 0" in written.stderr
    assert "theirs, step 0" in run("info", "--run", "theirs").stdout
    assert json.loads((taken / "config.json").read_text())["imported"]["from"].endswith("theirs")


def test_export_of_an_import_has_the_same_bytes(run, folder, taken, tmp_path):
    assert run("export", "hf", "theirs", "out").exit_code == 0
    out = tmp_path / "out"
    same = (out / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert same
    assert run("import", "hf", "out").exit_code == 0
    assert run("export", "hf", "out", "again").exit_code == 0
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name


def test_a_run_of_that_name_is_left_alone_unless_told(run, folder, taken):
    before = (taken / "config.json").read_bytes()
    result = run("import", "hf", folder)
    assert result.exit_code == 2
    assert "run theirs exists already: --reset replaces it" in result.stderr
    assert (taken / "config.json").read_bytes() == before
    assert run("import", "hf", folder, "--reset").exit_code == 0
    assert run("import", "hf", folder, "--run-name", "other").exit_code == 0


def test_a_reset_with_a_damaged_model_deletes_nothing(run, folder, taken):
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    result = run("import", "hf", folder, "--reset")
    assert result.exit_code == 1
    assert "damaged or no safetensors file" in result.stderr
    assert (taken / "checkpoints" / "step-00000000.msgpack").is_file()


def test_pickled_weights_leave_nothing_behind(run, folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    result = run("import", "hf", folder)
    assert result.exit_code == 1
    assert "a pickle, which can run any code when it is loaded and is never opened" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_gpt2s_own_tokenizer_files_are_read(run, folder, tokenizer, tmp_path):
    (folder / "tokenizer.json").unlink()
    tokenizer.save_gpt2(folder)
    assert run("import", "hf", folder).exit_code == 0
    saved = Tokenizer.load(tmp_path / "runs" / "theirs" / "tokenizer.json")
    assert saved.fingerprint == tokenizer.fingerprint


def test_ids_that_the_tokenizer_lacks_become_special_tokens(run, folder, tokenizer, tmp_path):
    """Names come from added_tokens.json where there is one."""
    save_gpt2(folder, tokenizer, vocab_size=304)
    (folder / "added_tokens.json").write_text('{"<|pad|>": 301}')
    result = run("import", "hf", folder)
    assert result.exit_code == 0, result.stderr
    assert "the model has 4 ids that its tokenizer lacks" in result.stderr
    saved = Tokenizer.load(tmp_path / "runs" / "theirs" / "tokenizer.json")
    assert saved.vocab_size == 304
    assert saved.special_tokens["<|pad|>"] == 301
    assert saved.special_tokens["<|unused-303|>"] == 303
    text = "the quick brown fox"
    assert saved.encode(text) == tokenizer.encode(text)


def test_a_tokenizer_with_too_many_ids_is_refused(run, folder, tokenizer):
    save_gpt2(folder, tokenizer, vocab_size=299)
    result = run("import", "hf", folder)
    assert result.exit_code == 1
    assert "has 300 ids, but the model only 299" in result.stderr


def test_a_missing_tokenizer_is_asked_for(run, folder, tmp_path):
    (folder / "tokenizer.json").rename(tmp_path / "elsewhere.json")
    result = run("import", "hf", folder)
    assert result.exit_code == 1
    assert "--tokenizer-path names it" in result.stderr
    result = run("import", "hf", folder, "--tokenizer-path", "elsewhere.json")
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("source", ["./nothing", "a/b/c", "no such", "-"])
def test_what_is_neither_a_folder_nor_a_repository(run, source):
    result = run("import", "hf", "--", source)
    assert result.exit_code == 2
    assert "neither a folder nor the name of a repository" in result.stderr


def test_a_repository_is_downloaded_without_its_pickles(run, folder, tmp_path, monkeypatch):
    hub = Hub(folder).install(monkeypatch)
    result = run("import", "hf", "someone/tiny", "--revision", "v1")
    assert result.exit_code == 0, result.output
    ((_, repository, options),) = hub.calls
    assert (repository, options["revision"]) == ("someone/tiny", "v1")
    assert not any(name.endswith(("bin", "*")) for name in options["allow_patterns"])
    assert (tmp_path / "runs" / "tiny" / "config.json").is_file()


def test_a_repository_that_cannot_be_had(run, monkeypatch):
    Hub(error=OSError("404 Client Error.\n\nRepository Not Found")).install(monkeypatch)
    result = run("import", "hf", "someone/nothing")
    assert result.exit_code == 1
    assert "cannot be had from the hub: 404 Client Error. Repository Not Found" in result.stderr
    assert "defect" not in result.stderr


def test_a_repository_without_a_network(run, monkeypatch):
    Hub(error=_NotInTheCacheError("a long story")).install(monkeypatch)
    result = run("import", "hf", "someone/nothing")
    assert result.exit_code == 1
    assert "is no folder here, and cannot be had from the hub: there is no network" in result.stderr


def test_without_huggingface_hub(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    result = run("import", "hf", "someone/tiny")
    assert result.exit_code == 1
    assert 'pip install "hipgpt-cli[hf]"' in result.stderr


def test_a_revision_of_a_folder_is_refused(run, folder):
    result = run("import", "hf", folder, "--revision", "v1")
    assert result.exit_code == 2
    assert "--revision is for a repository" in result.stderr


# --- export -----------------------------------------------------------------------------------


def test_a_folder_for_transformers(run, taken, tmp_path):
    result = run("export", "hf", "theirs", "out", "--license", "mit")
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "README.md", "config.json", "generation_config.json", "merges.txt", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json", "vocab.json",
    }  # fmt: skip
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert 'license: "mit"' in card
    assert str(tmp_path) not in card, "a path of the author's machine"


def test_a_trained_run_tells_what_it_was_trained_on(run, text, tiny, tmp_path):
    result = run("train", "--data", text, "--run-name", "plain", *tiny, "--tied",
                 "--no-output-bias")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert run("export", "hf", "plain", "out").exit_code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| trained on | words.txt |" in card
    assert "| optimizer steps | 12 |" in card
    assert "trained with hipgpt" in card


def test_a_folder_that_is_not_empty_is_left_alone(run, taken, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    result = run("export", "hf", "theirs", "out")
    assert result.exit_code == 1
    assert "out is not empty; --force" in result.stderr
    assert run("export", "hf", "theirs", "out", "--force").exit_code == 0


def test_what_a_format_cannot_express_is_refused(run, trained):
    """The run "tiny" has a bias of the output."""
    for arguments in (("hf", "tiny", "out"), ("gguf", "tiny", "tiny.gguf")):
        result = run("export", *arguments)
        assert result.exit_code == 1
        assert "cannot express a bias of the output" in result.stderr
        assert "--no-output-bias" in result.stderr
        assert not (trained.parent.parent / arguments[-1]).exists()


def test_a_bias_of_the_output_becomes_width(run, trained, tmp_path):
    """The wider model writes the same text; one without a bias has nothing to widen."""
    result = run("export", "hf", "tiny", "out", "--widen")
    assert result.exit_code == 0, result.output
    assert "is 18 numbers wide instead of 16" in result.stderr
    assert "| layers, heads, width | 1, 2, 18 |" in (tmp_path / "out" / "README.md").read_text()
    assert run("import", "hf", "out", "--run-name", "wide").exit_code == 0
    options = ("--prompt", "the quick", "--num-tokens", "30", "--seed", "3")
    texts = [run("generate", "--run", name, *options).stdout for name in ("tiny", "wide")]
    assert texts[0] == texts[1]
    result = run("export", "gguf", "wide", "x.gguf", "--widen")
    assert result.exit_code == 1
    assert "--widen cannot help: wide has no bias of the output" in result.stderr


def test_a_folder_is_published(run, taken, monkeypatch):
    hub = Hub().install(monkeypatch)
    result = run("export", "hf", "theirs", "out", "--push", "me/mine", "--private")
    assert result.exit_code == 0, result.output
    assert "https://hub.example/me/mine" in result.stdout
    create, upload = hub.calls
    assert create[2] == {"repo_type": "model", "private": True, "exist_ok": True}
    assert upload[2]["folder_path"] == "out"
    hub.error = ValueError("no token")
    result = run("export", "hf", "theirs", "out", "--force", "--push", "me/mine")
    assert result.exit_code == 1
    assert "me/mine cannot be published: no token" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--push", "no name"], "no name of a repository"),
        (["--private"], "--private says who may see"),
    ],
)
def test_bad_options_of_a_push(run, taken, tmp_path, arguments, message):
    result = run("export", "hf", "theirs", "out", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0", "q4_0"])
def test_a_file_for_llama_cpp(run, taken, tmp_path, kind):
    result = run("export", "gguf", "theirs", "out.gguf", "--type", kind)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.gguf").read_bytes().startswith(b"GGUF\x03\0\0\0")
    assert "out.gguf" in result.stdout
    again = run("export", "gguf", "theirs", "out.gguf", "--type", kind)
    assert again.exit_code == 1
    assert "out.gguf exists; --force replaces it" in again.stderr


def test_rows_that_are_no_whole_blocks_are_told(run, folder, tokenizer):
    save_gpt2(folder, tokenizer, ff_dim=40)
    assert run("import", "hf", folder).exit_code == 0
    result = run("export", "gguf", "theirs", "out.gguf", "--type", "q8_0")
    assert result.exit_code == 0
    said = (
        "f16 instead of q8_0, because rows must be a multiple of 32 numbers: blocks.0.feed_forward"
    )
    assert said in result.stderr


def test_a_tokenizer_that_ends_no_text_is_refused(run, folder, words):
    plain = Tokenizer.train(words, 300)
    plain.save(folder / "tokenizer.json")
    assert run("import", "hf", folder).exit_code == 0
    result = run("export", "gguf", "theirs", "out.gguf")
    assert result.exit_code == 1
    assert "llama.cpp needs a token that ends texts" in result.stderr


def test_run_is_a_name_a_folder_or_a_file(run, taken, tmp_path):
    file = taken / "checkpoints" / "step-00000000.msgpack"
    for number, name in enumerate(("theirs", taken, file)):
        result = run("export", "gguf", name, f"{number}.gguf")
        assert result.exit_code == 0, result.output
    result = run("export", "gguf", file, "x.gguf", "--step", "0")
    assert "is a file by itself; leave --step out" in result.stderr
    result = run("export", "gguf", "nothing", "x.gguf")
    assert "there is no run nothing" in result.stderr
