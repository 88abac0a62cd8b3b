"""The README.md of a model that is published: what it is, from the facts that its run has kept.

The odd thing: where the text came from is told by its last name only, because a path on the
author's machine is nobody else's business.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from hipgpt_cli import human

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hipgpt_model.checkpoint import CheckpointHeader
    from hipgpt_model.config import GPTConfig

_NAMES = {
    "validation_loss": "loss on held-out text",
    "val_loss": "loss on held-out text",
    "loss": "loss",
    "accuracy": "next tokens guessed right",
}


def model_card(
    name: str,
    model: GPTConfig,
    header: CheckpointHeader,
    run: Mapping[str, Any],
    *,
    license_id: str | None,
    repository: str | None,
) -> str:
    """The card, with the front matter that the hub reads.

    Args:
        name: of the model.
        model: its sizes as they go out.
        header: of its checkpoint.
        run: what its run keeps, {} where it has none.
        license_id: such as "mit"; None leaves it out.
        repository: where it will be; None: told as a folder.
    """
    size = model.num_parameters()
    front = ["library_name: transformers", "pipeline_tag: text-generation"]
    if license_id:
        front.append(f"license: {json.dumps(license_id)}")
    front += ["tags:", "- gpt2", "- hipgpt"]
    facts = [
        ("parameters", human.count(size)),
        ("layers, heads, width", f"{model.num_layers}, {model.num_heads}, {model.embed_dim}"),
        ("feed-forward width, activation", f"{model.ff_dim}, {model.activation}"),
        ("context", f"{human.count(model.max_seq_len)} tokens"),
        ("vocabulary", f"{human.count(model.vocab_size)} ids, byte-level BPE"),
        ("output matrix", "the token embedding" if model.tied else "its own"),
        *_training_facts(header, run),
    ]
    made = "trained" if header.step or not run.get("imported") else "saved"
    where = repository or "path/to/this/folder"
    return f"""---
{chr(10).join(front)}
---

# {_plain(name)}

A GPT-2 style language model, {made} with hipgpt.

| | |
|---|---|
{chr(10).join(f"| {label} | {_plain(value)} |" for label, value in facts)}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{where}")
model = AutoModelForCausalLM.from_pretrained("{where}")
inputs = tokenizer("Once upon a time", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=50, do_sample=True)[0]))
```

Or with hipgpt: `hipgpt import hf {where}`.

## Limits

The model continues text like that which it was trained on. What it writes may be wrong, or
unfitting; nobody has tested it for any particular use.
"""


def _training_facts(header: CheckpointHeader, run: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    options, imported = run.get("options") or {}, run.get("imported") or {}
    if imported.get("from"):
        facts.append(("taken over from", _last_name(imported["from"])))
    if options.get("data"):
        facts.append(("trained on", _last_name(options["data"])))
    if header.step:
        facts.append(("optimizer steps", human.count(header.step)))
    training = header.training.to_dict() if header.training else run.get("training") or {}
    if training:
        batch = training["batch_size"] * training["grad_accum"] * header.model.max_seq_len
        facts.append(("tokens a step", human.count(batch)))
        facts.append(("highest learning rate", f"{training['learning_rate']:g}"))
    for key, value in header.metrics.items():
        facts.append((_NAMES.get(key, key.replace("_", " ")), f"{value:.4g}"))
    return facts


def _last_name(source: str) -> str:
    """The end of a path; any other source as it is.

    >>> _last_name("/home/me/secret/poems.txt"), _last_name("stdlib")
    ('poems.txt', 'stdlib')
    """
    is_path = source.startswith((".", "~", "/")) or re.match(r"[A-Za-z]:|\\\\", source)
    return PurePath(source.replace("\\", "/")).name if is_path else source


def _plain(text: str) -> str:
    r"""Text that is no Markdown and stays in its cell.

    >>> _plain("a|b<c>")
    'a\\|b&lt;c&gt;'
    """
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", text)
