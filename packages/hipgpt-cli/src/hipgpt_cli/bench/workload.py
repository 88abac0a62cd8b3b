"""What is measured: named sizes, the arithmetic that they need, and what a card could do at most.

The odd thing: the arithmetic counted is what the model needs, not what a program does: attention is
counted once for the causal half, and activations that are computed twice count once. So a faster
program is one with a higher share of the peak, whatever it saves or repeats.
"""

from __future__ import annotations

from dataclasses import dataclass

from hipgpt_model.config import GPTConfig


@dataclass(frozen=True)
class Workload:
    """A model and a batch.

    Attributes:
        config: the model.
        batch_gpu: B on a GPU.
        batch_cpu: B on a CPU.
    """

    config: GPTConfig
    batch_gpu: int
    batch_cpu: int


SIZES = {
    "default": Workload(GPTConfig(5000, 32, 128, 2, 4, 256), 32, 32),
    "E256L8": Workload(GPTConfig(5000, 256, 256, 8, 8, 1024), 32, 4),
    "124M": Workload(
        GPTConfig(50257, 1024, 768, 12, 12, 3072, tied=True, output_bias=False), 32, 1
    ),
}
"""By the name that --size takes: the default model, a middle one, and GPT-2."""


def matrix_parameters(config: GPTConfig) -> int:
    """Parameters that every token is multiplied with: all but tables that are only looked up."""
    parts = config.parameters_by_part()
    looked_up = parts["position embedding"] + (0 if config.tied else parts["token embedding"])
    return config.num_parameters() - looked_up


def training_flop(config: GPTConfig, T: int) -> float:
    """Floating-point operations to train on one token: 6·P + 6·L·E·T.

    P are the matrix parameters: two operations forward, four backward (Kaplan et al. 2020, section
    2.1). Attention adds 2 products of T·E, in L layers, three times, of which the mask leaves half.
    """
    attention = 6 * config.num_layers * config.embed_dim * T
    return float(6 * matrix_parameters(config) + attention)


def generation_flop(config: GPTConfig, length: float) -> float:
    """Floating-point operations for one new token after `length` others: 2·P + 4·L·E·length."""
    attention = 4 * config.num_layers * config.embed_dim * length
    return float(2 * matrix_parameters(config) + attention)


PEAKS = {
    # name in lower case: (16-bit with float32 sums, float32), dense, TFLOP/s of the vendor's sheet
    "h200": (989.5, 66.9),
    "h100 pcie": (756.5, 51.2),
    "h100": (989.5, 66.9),
    "h20": (148.0, 44.0),
    "b200": (2250.0, 75.0),
    "a100": (312.0, 19.5),
    "l40s": (362.0, 91.6),
    "rtx 5090": (209.5, 104.8),
    "rtx 4090": (165.2, 82.6),
    "rtx 3090": (71.0, 35.6),
    "mi355x": (2516.6, 157.3),
    "mi350x": (2306.9, 144.2),
    "mi325x": (1307.4, 163.4),
    "mi300x": (1307.4, 163.4),
    "mi300a": (980.6, 122.6),
    "mi250x": (191.5, 47.9),  # one of the two dies, which is what a program sees as a device
    "mi250": (181.0, 45.3),
    "mi210": (181.0, 45.3),
    "rx 7900 xtx": (122.8, 61.4),
    "rx 7900 xt": (103.0, 51.6),
    "w7900": (122.6, 61.3),
    "rx 9070 xt": (194.6, 48.7),
    "rx 9070": (144.5, 36.1),
    "rx 6900 xt": (46.1, 23.0),
    "rx 6800 xt": (41.5, 20.7),
}
"""First match wins, so a longer name stands before the one that it contains."""


def peak_tflops(name: str, dtype: str) -> float | None:
    """What a card's matrix units could do, by its name; None where it is not in the table.

    >>> peak_tflops("NVIDIA H200", "bf16")
    989.5
    """
    words = name.lower()
    for key, (low, full) in PEAKS.items():
        if key in words:
            return full if dtype == "float32" else low
    return None
