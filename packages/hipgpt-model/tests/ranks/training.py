"""Trains a small model on all ranks and writes losses, figures and weights of rank 0 to a file.

training.py OUT [--zero 0|1] [--from CHECKPOINT] [--save PATH --at STEP] [--accum N] [--dropout P]
"""

import argparse

import numpy as np

from hipgpt_kernels import load_backend
from hipgpt_model import GPTConfig, TokenData, TrainConfig, Trainer
from hipgpt_model.distributed.checkpoint import save_together
from hipgpt_model.distributed.ranks import Ranks
from hipgpt_model.distributed.world import find_world

parser = argparse.ArgumentParser()
parser.add_argument("out")
parser.add_argument("--zero", type=int, default=1)
parser.add_argument("--from", dest="source")
parser.add_argument("--save")
parser.add_argument("--at", type=int, default=0)
parser.add_argument("--accum", type=int, default=1)
parser.add_argument("--ema", type=float, default=0.0)
parser.add_argument("--bucket-bytes", type=int, default=0)
a = parser.parse_args()

world = find_world()
ranks = Ranks(world, a.zero, bucket_bytes=a.bucket_bytes) if world else None
backend = load_backend("cpu", threads=1)
config = GPTConfig(67, 16, 32, 3, 4, 48)
training = TrainConfig(
    batch_size=8, steps=12, learning_rate=3e-3, warmup_steps=2, grad_accum=a.accum, ema=a.ema,
    eval_batches=3,
)  # fmt: skip
data = TokenData(np.random.default_rng(1).integers(0, 67, 3000).astype(np.uint16), 16)
if a.source:
    trainer = Trainer.from_checkpoint(a.source, data, backend, ranks=ranks)
else:
    trainer = Trainer(config, training, data, backend, ranks=ranks)
losses, norms = [], []
for report in trainer.run(a.at - trainer.step if a.at else None):
    losses.append(report.loss)
    norms.append(report.norm)
figures = trainer.evaluate()
if a.save:
    state = trainer.state()
    save_together(a.save, state.header(), state, world, ranks.own)
if world is None or world.leads:
    np.savez(
        a.out,
        losses=losses,
        norms=norms,
        evaluation=[figures.loss, figures.accuracy, figures.tokens],
        **dict(trainer.model.parameters.items()),
    )
moments = trainer.model.parameters.m.shape[0]
assert world is None or a.zero == 0 or moments <= trainer.model.parameters.size / world.size + 2048
