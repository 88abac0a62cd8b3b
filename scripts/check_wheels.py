"""Build the wheel of every package and try each, alone, in an empty environment.

    hatch run wheels:check

A package gets its siblings from the wheels just built and nothing else from here; the tokenizer is
installed without any index, which proves that it needs nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

TOKENIZER = """
from hipgpt_tokenizer import Tokenizer
text = "To be, or not to be: that is the question. " * 20
tokenizer = Tokenizer.train(text, vocab_size=280)
assert tokenizer.decode(tokenizer.encode(text)) == text
import importlib.metadata as metadata
names = {found.metadata["Name"].lower() for found in metadata.distributions()}
assert names <= {"hipgpt-tokenizer", "pip", "setuptools"}, names
"""

KERNELS = """
import numpy as np
from hipgpt_kernels import load_backend
backend = load_backend("auto")
x, weight = np.eye(3, dtype=np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)
assert (backend.linear_forward(x, weight) == weight.T).all()
"""

MODEL = """
import numpy as np
from hipgpt_kernels import load_backend
from hipgpt_model import GPTConfig, TokenData, TrainConfig, Trainer
config = GPTConfig(vocab_size=11, max_seq_len=8, embed_dim=8, num_layers=1, num_heads=2, ff_dim=16)
data = TokenData(np.tile(np.arange(11, dtype=np.uint16), 100), config.max_seq_len)
trainer = Trainer(config, TrainConfig(steps=5, batch_size=4), data, load_backend("cpu"))
losses = [report.loss for report in trainer.run()]
assert len(losses) == 5 and losses[-1] < losses[0], losses
"""

CLI = """
import subprocess, sys, pathlib
hipgpt = str(pathlib.Path(sys.executable).with_name("hipgpt"))
pathlib.Path("text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 400)
options = "--data text.txt --steps 5 --vocab-size 300 --dim 16 --heads 2 --ff 16 --layers 1"
subprocess.run([hipgpt, "train", *options.split(), "--batch", "4"], check=True)
out = subprocess.run([hipgpt, "generate", "--prompt", "the", "--num-tokens", "5", "--seed", "1"],
                     check=True, capture_output=True, text=True)
assert out.stdout, out
subprocess.run([hipgpt, "info"], check=True)
"""

PACKAGES = {
    "hipgpt-tokenizer": TOKENIZER,
    "hipgpt-kernels": KERNELS,
    "hipgpt-model": MODEL,
    "hipgpt-cli": CLI,
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder, "wheels")
        for package in PACKAGES:
            build(package, wheels)
        for package, program in PACKAGES.items():
            check(package, program, wheels, Path(folder, package))
            sys.stdout.write(f"{package}: works alone\n")


def build(package: str, wheels: Path) -> None:
    """Build one wheel, by way of its sdist, as the index would."""
    command = [sys.executable, "-m", "build", "--quiet", "--outdir", str(wheels)]
    # GPU code for every architecture takes minutes; test_hip_build.py looks after it.
    environment = {**os.environ, "HIPGPT_BUILD_KERNELS": "never"}
    subprocess.run([*command, str(ROOT / "packages" / package)], check=True, env=environment)


def check(package: str, program: str, wheels: Path, folder: Path) -> None:
    """Install one wheel in an empty environment and run its program in an empty folder."""
    venv.create(folder, with_pip=True)
    python = next(
        path for name in ("bin/python", "Scripts/python.exe") if (path := folder / name).exists()
    )
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-index"] if package == "hipgpt-tokenizer" else []
    subprocess.run([*pip, *alone, "--find-links", str(wheels), package], check=True)
    empty = folder / "empty"
    empty.mkdir()
    subprocess.run([str(python), "-c", program], check=True, cwd=empty)


if __name__ == "__main__":
    main()
