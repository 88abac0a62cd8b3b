"""How long a data-parallel step takes on many GPUs, on paper.

    python scripts/simulate_scaling.py [--model 124M|355M|774M|1558M] [--gpus 8 64 1024] …

The model: every GPU's backward pass finishes its buckets of gradients one after the other; each is
reduce-scattered as soon as it is ready and the one before is through; then the optimizer updates
its share, and the weights are all-gathered. A collective of n bytes over g GPUs in each of m nodes
takes the larger of two roofs, and its latency: inside a node n · (g − 1) / g over the node's own
links, between nodes n / g · (m − 1) / m over each GPU's network card (what rings and trees come
near; Thakur, Rabenseifner and Gropp 2005, sections 4.1 and 4.5). The latency grows with log2, as
with trees.

The odd thing: what is not modelled is said: contention in the network, stragglers, reading data.
Every figure here can be given on the command line, so take those of the cluster at hand.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

MODELS = {  # parameters without the embedding of positions, L, E
    "124M": (124_000_000, 12, 768),
    "355M": (355_000_000, 24, 1024),
    "774M": (774_000_000, 36, 1280),
    "1558M": (1_558_000_000, 48, 1600),
}
BACKWARD_SHARE = 2 / 3
"""Of a pass: two products where the forward has one."""
ADAM_BYTES = 30
"""Memory traffic of AdamW for each parameter: four float32 read, three and a bf16 written."""


@dataclass(frozen=True)
class Cluster:
    """A cluster; bytes a second and seconds, each GPU.

    Attributes:
        per_node: GPUs in a node.
        inside: what a GPU sends to the others of its node.
        between: what a GPU sends to other nodes, by a card of its own.
        hop: latency of one step of a tree.
        memory: what its memory gives.
        flops: what it computes in training, as measured, not as advertised.
    """

    per_node: int
    inside: float
    between: float
    hop: float
    memory: float
    flops: float


def collective(nbytes: float, gpus: int, cluster: Cluster) -> float:
    """Seconds for a reduce-scatter or an all-gather of so many bytes.

    Example:
        >>> collective(8e9, 1, Cluster(8, 1e9, 1e9, 0, 1, 1))
        0.0
        >>> collective(8e9, 8, Cluster(8, 1e9, 1e9, 0, 1, 1))
        7.0
    """
    if gpus == 1:
        return 0.0
    local = min(gpus, cluster.per_node)
    nodes = -(-gpus // cluster.per_node)
    inside = nbytes * (local - 1) / local / cluster.inside
    between = nbytes / local * (nodes - 1) / nodes / cluster.between
    return max(inside, between) + cluster.hop * math.log2(gpus)


@dataclass(frozen=True)
class Step:
    """What a step takes; seconds."""

    total: float
    compute: float
    exposed: float
    optimizer: float
    spread: float
    wire: float  # bytes that a GPU sends


def simulate(
    parameters: float, layers: int, tokens: int, gpus: int, bucket: float, cluster: Cluster
) -> Step:
    """One step.

    Args:
        parameters: of the model.
        layers: L; the backward pass finishes them one by one.
        tokens: that each GPU trains on in a step.
        gpus: how many there are.
        bucket: bytes of gradients that are sent at once, at least.
        cluster: where.
    """
    compute = 6 * parameters * tokens / cluster.flops
    forward, backward = compute * (1 - BACKWARD_SHARE), compute * BACKWARD_SHARE
    ready, sent = forward, forward
    waiting = 0.0
    for stage in range(layers + 1):  # the last is the embedding
        ready += backward / (layers + 1)
        waiting += 4 * parameters / (layers + 1)  # float32 gradients
        if waiting >= bucket or stage == layers:
            sent = max(sent, ready) + collective(waiting, gpus, cluster)
            waiting = 0.0
    optimizer = ADAM_BYTES * parameters / gpus / cluster.memory
    spread = collective(2 * parameters, gpus, cluster)  # bf16 weights
    done = max(ready, sent)
    wire = 6 * parameters * (gpus - 1) / gpus
    return Step(
        done + optimizer + spread, compute, done - ready, optimizer, spread, wire
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", choices=MODELS, default="124M")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64, 256, 1024])
    parser.add_argument("--tokens", type=int, default=32 * 1024, help="of each GPU in a step")
    parser.add_argument("--bucket-mb", type=float, nargs="+", default=[25.0])
    parser.add_argument("--per-node", type=int, default=8)
    parser.add_argument(
        "--inside-gb", type=float, default=350.0, help="GB/s between GPUs of a node"
    )
    parser.add_argument("--between-gb", type=float, default=45.0, help="GB/s of a GPU's card")
    parser.add_argument("--hop-us", type=float, default=10.0, help="latency of one hop")
    parser.add_argument("--memory-tb", type=float, default=4.0, help="TB/s of a GPU's memory")
    parser.add_argument("--tflops", type=float, default=350.0, help="reached in training")
    a = parser.parse_args()
    cluster = Cluster(
        a.per_node, a.inside_gb * 1e9, a.between_gb * 1e9, a.hop_us * 1e-6, a.memory_tb * 1e12,
        a.tflops * 1e12,
    )  # fmt: skip
    parameters, layers, _ = MODELS[a.model]
    print(
        f"{a.model}: {a.tokens:,} tokens a GPU, {4 * parameters / 1e6:,.0f} MB of gradients, "
        f"{a.per_node} GPUs a node"
    )
    print(
        f"{'GPUs':>6} {'bucket':>8} {'batch':>12} {'step':>9} {'compute':>9} {'exposed':>9} "
        f"{'optimizer':>9} {'spread':>9} {'sent':>9} {'tokens/s':>14} {'efficiency':>10}"
    )
    for bucket in a.bucket_mb:
        alone = simulate(parameters, layers, a.tokens, 1, bucket * 1e6, cluster).total
        for gpus in a.gpus:
            step = simulate(parameters, layers, a.tokens, gpus, bucket * 1e6, cluster)
            print(
                f"{gpus:>6} {bucket:>5g} MB {gpus * a.tokens:>12,} {1e3 * step.total:>6.2f} ms "
                f"{1e3 * step.compute:>6.2f} ms {1e3 * step.exposed:>6.2f} ms "
                f"{1e3 * step.optimizer:>6.2f} ms {1e3 * step.spread:>6.2f} ms "
                f"{step.wire / 1e6:>6,.0f} MB {gpus * a.tokens / step.total:>14,.0f} "
                f"{alone / step.total:>9.1%}"
            )


if __name__ == "__main__":
    main()
