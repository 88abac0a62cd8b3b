"""All ranks write one checkpoint; it must be the bytes that one process writes."""

import sys
from pathlib import Path

import numpy as np

from hipgpt_kernels import load_backend
from hipgpt_model import GPTConfig, TokenData, TrainConfig, Trainer, save_training
from hipgpt_model.distributed import checkpoint
from hipgpt_model.distributed.layout import Layout
from hipgpt_model.distributed.world import find_world

folder = Path(sys.argv[1])
world = find_world()
backend = load_backend("cpu", threads=1)
config = GPTConfig(70_001, 12, 64, 1, 4, 40, tied=True)  # a table of more than one chunk
data = TokenData(np.random.default_rng(0).integers(0, 37, 2000).astype(np.uint16), 12)
trainer = Trainer(config, TrainConfig(batch_size=2, steps=1, ema=0.9), data, backend)
for _ in trainer.run():
    pass
state = trainer.state()
layout = Layout(config, world.size, 0)
header = state.header("abc", {"loss": 1.0})
checkpoint.save_together(folder / "together", header, state, world, layout.own(world.rank))
if world.leads:
    save_training(folder / "alone", trainer, "abc", metrics={"loss": 1.0})
    assert (folder / "together").read_bytes() == (folder / "alone").read_bytes()
    assert {path.name for path in folder.iterdir()} == {"together", "alone"}
world.barrier()

try:  # no rank goes on where one cannot write
    checkpoint.save_together(
        folder / "missing" / "together", header, state, world, layout.own(world.rank)
    )
except OSError as error:
    assert "rank 0" in str(error)  # noqa: PT017 - not under pytest
else:
    raise AssertionError("a folder that is not there was written to")
print("well")
