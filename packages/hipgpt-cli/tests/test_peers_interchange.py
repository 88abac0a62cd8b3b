"""What the commands write, in the programs that it is for: transformers, llama.cpp, the harness.

The odd thing: a real tokenizer takes part here, so that text goes in at one end and comes out at
the other in both programs.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from hipgpt_cli.load import named_model
from hipgpt_kernels import load_backend
from hipgpt_model import GPTConfig, Parameters, save_weights
from hipgpt_model.checkpoint import load_model
from hipgpt_model.evaluate import score
from hipgpt_model.gpt import GPT
from hipgpt_tokenizer import Tokenizer

SHARED = Path(__file__).parents[4] / "shared" / "data"

TEXTS = [
    "the quick brown fox",
    " jumps\n\nover 12345 lazy dogs!",
    "naïve café — 日本語 🦊",
    "a  b",
    "It's",
]

SIZES = {"max_seq_len": 256, "embed_dim": 64, "num_layers": 2, "num_heads": 4, "ff_dim": 128,
         "tied": True, "output_bias": False}  # fmt: skip


def save_run(folder, tokenizer, seed=5, **options):
    """A run with random weights, wider than a fresh model's, so that its text does not repeat."""
    config = GPTConfig(**{"vocab_size": tokenizer.vocab_size, **SIZES, **options})
    backend = load_backend("cpu")
    parameters = Parameters(config, backend, training=False)
    parameters.initialize(seed)
    parameters.load(
        {
            name: array * np.float32(6 if array.ndim == 2 else 1)
            for name, array in parameters.to_dict().items()
        }
    )
    (folder / "checkpoints").mkdir(parents=True)
    tokenizer.save(folder / "tokenizer.json")
    save_weights(
        folder / "checkpoints" / "step-00000000.msgpack",
        GPT(config, backend, parameters),
        tokenizer.fingerprint,
    )
    (folder / "config.json").write_text('{"format": "hipgpt-run", "version": 1}')
    return config


@pytest.fixture(params=["gpt2", "gpt4"])
def made(request, tmp_path, words):
    """The run "made", with a tokenizer of either split pattern."""
    tokenizer = Tokenizer.train(
        [words, *TEXTS], 360, special_tokens=["<|endoftext|>"], pattern=request.param
    )
    save_run(tmp_path / "runs" / "made", tokenizer)
    return tokenizer


@pytest.fixture
def transformers(monkeypatch):
    """transformers, kept off the network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("torch", reason="PyTorch is in the environment `peers` only")
    return pytest.importorskip("transformers", reason="it is in the environment `peers` only")


def test_auto_classes_load_the_folder(run, made, tmp_path, transformers):
    """The same ids for a text, the same text for the ids, the same 200 greedy tokens."""
    assert run("export", "hf", "made", "out").exit_code == 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert ids == made.encode(text)
        assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == made.eot_id == model.config.eos_token_id
    inputs = tokenizer(TEXTS[0], return_tensors="pt")
    expected = model.generate(
        **inputs, max_new_tokens=200, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    result = run("generate", "--run", "made", "--prompt", TEXTS[0], "--num-tokens", "200",
                 "--temp", "0", "--eos-id", "-1")  # fmt: skip
    assert result.exit_code == 0, result.output
    theirs = tokenizer.decode(expected[0, inputs["input_ids"].shape[1] :])
    assert result.stdout == theirs + "\n"
    assert len(set(expected[0].tolist())) > 20


def test_llama_cpp_reads_text_and_writes_the_same(run, made, tmp_path):
    xllamacpp = pytest.importorskip("xllamacpp", reason="it is in the environment `peers` only")
    assert run("export", "gguf", "made", "made.gguf", "--type", "f32").exit_code == 0
    settings = xllamacpp.CommonParams()
    settings.model.path = str(tmp_path / "made.gguf")
    settings.n_ctx, settings.n_parallel, settings.warmup = 256, 1, False
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(settings)
    for text in TEXTS:
        answer = server.handle_completions(
            {"prompt": text, "n_predict": 40, "temperature": 0.0, "ignore_eos": True, "seed": 1}
        )
        answer = answer if isinstance(answer, dict) else json.loads(answer)
        assert answer["usage"]["prompt_tokens"] == len(made.encode(text))
        result = run("generate", "--run", "made", "--prompt", text, "--num-tokens", "40",
                     "--temp", "0", "--eos-id", "-1")  # fmt: skip
        ours, theirs = result.stdout.removesuffix("\n"), answer["choices"][0]["text"]
        # Either may end inside a character, and says so in its own way.
        length = min(len(ours), len(theirs)) - 2
        assert ours[:length] == theirs[:length]


def test_a_wider_model_without_a_bias(run, tmp_path, words, transformers):
    """--widen: the logits that transformers finds are those of the model with its bias."""
    import torch

    tokenizer = Tokenizer.train(words, 320, special_tokens=["<|endoftext|>"])
    save_run(tmp_path / "runs" / "made", tokenizer, output_bias=True, norm_epsilon=1e-2)
    found = load_model(named_model("made", "runs", None).checkpoint, load_backend("cpu"))
    bias = np.linspace(-3, 3, tokenizer.vocab_size, dtype=np.float32)
    found.parameters.load({**found.parameters.to_dict(), "output.bias": bias})
    save_weights(named_model("made", "runs", None).checkpoint, found, tokenizer.fingerprint)
    assert run("export", "hf", "made", "out", "--widen").exit_code == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = np.random.default_rng(0).integers(0, 300, (2, 200)).astype(np.int32)
    with torch.no_grad():
        theirs = model(torch.tensor(ids, dtype=torch.long)).logits.numpy()
    ours = found.logits(ids)
    assert np.abs(theirs - ours).max() < 2e-5 * np.abs(ours).max()


def test_gpt2s_official_vocabulary(run, tmp_path, transformers):
    """50,257 ids, as Hugging Face's own class saves them."""
    if not (SHARED / "gpt2" / "vocab.json").is_file():
        pytest.skip("GPT-2's vocabulary is not at ../shared/data")
    import torch

    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_positions=64, n_embd=32, n_layer=1, n_head=2)
    )
    with torch.no_grad():
        for tensor in theirs.parameters():
            tensor.mul_(6)
    theirs.save_pretrained("theirs")
    files = {name: str(SHARED / "gpt2" / name) for name in ("vocab.json", "merges.txt")}
    tokenizer = transformers.GPT2Tokenizer(files["vocab.json"], files["merges.txt"])
    tokenizer.save_pretrained("theirs")
    result = run("import", "hf", "theirs")
    assert result.exit_code == 0, result.output
    ours = Tokenizer.load(tmp_path / "runs" / "theirs" / "tokenizer.json")
    for text in TEXTS:
        assert ours.encode(text) == tokenizer(text)["input_ids"]
    inputs = tokenizer(TEXTS[0], return_tensors="pt")
    expected = theirs.eval().generate(
        **inputs, max_new_tokens=40, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    result = run("generate", "--run", "theirs", "--prompt", TEXTS[0], "--num-tokens", "40",
                 "--temp", "0", "--eos-id", "-1")  # fmt: skip
    assert result.stdout == tokenizer.decode(expected[0, inputs["input_ids"].shape[1] :]) + "\n"


@pytest.mark.slow
def test_perplexity_of_wikitext(run, tmp_path, words, transformers):
    """All of WikiText-2's test part, scored window by window by transformers."""
    path = SHARED / "wikitext2-test.txt"
    if not path.is_file():
        pytest.skip("WikiText-2 is not at ../shared/data")
    import torch

    part = path.read_text("utf-8")[:200_000]
    tokenizer = Tokenizer.train(part, 800, special_tokens=["<|endoftext|>"])
    save_run(tmp_path / "runs" / "wiki", tokenizer, embed_dim=32, ff_dim=64)
    assert run("export", "hf", "wiki", "out").exit_code == 0
    (tmp_path / "part.txt").write_text(part, "utf-8")
    result = run("evaluate", "--run", "wiki", "--data", "part.txt", "--stride", "128", "--json")
    ours = json.loads(result.stdout)["text"]

    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = torch.tensor(their_tokenizer(part)["input_ids"])
    total, done = 0.0, 1
    for start in range(0, len(ids), 128):
        text = ids[start : start + 257]
        with torch.no_grad():
            logits = model(text[None, :-1]).logits[0]
        losses = torch.nn.functional.cross_entropy(logits, text[1:], reduction="none")
        total += losses[done - start - 1 :].double().sum().item()
        done = start + len(text)
        if done == len(ids):
            break
    assert ours["tokens"] == len(ids) - 1
    assert ours["perplexity"] == pytest.approx(np.exp(total / (len(ids) - 1)), rel=1e-5)


# --- lm-evaluation-harness --------------------------------------------------------------------


@pytest.fixture
def harness(monkeypatch):
    """The harness, kept off the network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    return pytest.importorskip("lm_eval", reason="it is in the environment `peers` only")


@pytest.fixture
def questions(tmp_path, words):
    lines = words.splitlines()
    path = tmp_path / "questions.jsonl"
    with path.open("w") as file:
        for number in range(40):
            endings = [" ".join(lines[number + 20 * part].split()[part:6]) for part in range(1, 5)]
            file.write(json.dumps({
                "activity_label": "Words", "ctx_a": lines[number] + " [title] Now .",
                "ctx_b": "then it", "endings": endings, "label": str(number % 4),
            }) + "\n")  # fmt: skip
    return path


def task(name, path, output, **options):
    split = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(path)}},
             "test_split": "test", "output_type": output}  # fmt: skip
    return {"task": name, **split, **options}


def metric(name):
    return {"metric": name, "aggregation": "mean", "higher_is_better": True}


@pytest.mark.filterwarnings("ignore")  # the harness's own
def test_the_harness_finds_what_evaluate_finds(run, made, questions, tmp_path, harness):
    from lm_eval.tasks.hellaswag.utils import process_docs

    from hipgpt_cli.harness import HipGPT

    (tmp_path / "pages.jsonl").write_text(json.dumps({"page": " ".join(TEXTS) * 40}) + "\n")
    found = harness.simple_evaluate(
        model=HipGPT(run="made", device="cpu"),
        tasks=[
            task("hs", questions, "multiple_choice", process_docs=process_docs,
                 doc_to_text="{{query}}", doc_to_target="{{label}}", doc_to_choice="choices",
                 metric_list=[metric("acc"), metric("acc_norm")]),
            task("page", tmp_path / "pages.jsonl", "loglikelihood_rolling", doc_to_text="",
                 doc_to_target="{{page}}", metric_list=[{"metric": "bits_per_byte"}]),
            task("writes", tmp_path / "pages.jsonl", "generate_until",
                 doc_to_text="{{page[:20]}}", doc_to_target="x",
                 generation_kwargs={"until": ["q"], "max_gen_toks": 30, "do_sample": False},
                 metric_list=[metric("exact_match")]),
        ],
        bootstrap_iters=0, log_samples=True,
    )  # fmt: skip
    value = json.loads(run("evaluate", "--run", "made", "--hellaswag", questions, "--json").stdout)
    for name in ("acc", "acc_norm"):
        assert found["results"]["hs"][f"{name},none"] == value["hellaswag"][name]
    assert 2 < found["results"]["page"]["bits_per_byte,none"] < 40
    text = found["samples"]["writes"][0]["resps"][0][0]
    result = run("generate", "--run", "made", "--prompt", (" ".join(TEXTS))[:20], "--num-tokens",
                 "30", "--temp", "0", "--stop", "q")  # fmt: skip
    assert result.stdout == text + "\n"


def test_a_whole_text_is_scored_once(made, harness):
    """Σ ln p of every token after the one that begins it, over several windows."""
    from lm_eval.api.instance import Instance

    from hipgpt_cli.harness import HipGPT

    text = " ".join(TEXTS) * 12
    model = HipGPT(run="made", device="cpu")
    (total,) = model.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)])
    ids = [made.eot_id, *made.encode(text)]
    assert 513 < len(ids) < 770, "three windows"
    found = load_model(named_model("made", "runs", None).checkpoint, load_backend("cpu"))
    windows = [(ids[:1], ids[1:257]), (ids[256:257], ids[257:513])]
    windows.append((ids[max(len(ids) - 257, 0) : 513], ids[513:]))
    assert total == pytest.approx(
        sum(one.log_likelihood for one in score(found, windows)), rel=1e-6
    )
    with pytest.raises(ValueError, match="leave batch_size"):
        HipGPT(run="made", batch_size=8)
