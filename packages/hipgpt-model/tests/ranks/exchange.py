"""On every rank: sum random gradients and spread weights; compare with NumPy's on one."""

import sys

import numpy as np

from hipgpt_kernels import load_backend
from hipgpt_model import GPTConfig, Parameters
from hipgpt_model.distributed.exchange import exchange_for
from hipgpt_model.distributed.layout import Layout
from hipgpt_model.distributed.world import find_world

zero = int(sys.argv[1])
world = find_world()
backend = load_backend("cpu", threads=1)
config = GPTConfig(37, 12, 24, 3, 3, 40, tied=True)
parameters = Parameters(config, backend, training=True)
layout = Layout(parameters.config, world.size, 10_000)
exchange = exchange_for(world, layout, zero, backend)

everyone = [
    np.random.default_rng(rank).normal(size=parameters.size).astype(np.float32)
    for rank in range(world.size)
]
expected = np.sum(np.array(everyone, np.float64), axis=0).astype(np.float32)
gradients = everyone[world.rank].copy()
for bucket in layout.buckets:
    exchange.sum_gradients(gradients, bucket)
exchange.settle()
for own in layout.own(world.rank):
    np.testing.assert_array_equal(gradients[own.flat], expected[own.flat])
if zero == 0:
    np.testing.assert_array_equal(gradients, expected)

exchange.spread(gradients)
np.testing.assert_array_equal(gradients, expected)

numbers = np.full(world.size, -1.0, np.float32)
numbers[world.rank] = world.rank
exchange.gather(numbers)
np.testing.assert_array_equal(numbers, np.arange(world.size))
assert world.share("word" if world.leads else None) == "word"
assert world.gather(world.rank) == list(range(world.size))
assert world.sum([1.0, world.rank]) == [world.size, sum(range(world.size))]
assert world.local_size == world.size
assert world.local_rank == world.rank
print("well", world.rank)
