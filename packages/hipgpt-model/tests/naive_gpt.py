"""A GPT's forward in float64, as the formulas read, one row of the batch at a time.

It shares no code with the package, dropout's random words excepted: it is what the model means.
"""

import math

import numpy as np

from hipgpt_kernels.philox import philox4x32
from hipgpt_model.random_streams import dropout_stream


def layernorm(x, weights, name, epsilon):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    normed = (x - mean) / np.sqrt(variance + epsilon)
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def activate(x, activation):
    if activation == "relu":
        return np.maximum(x, 0)
    if activation == "gelu":
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    if activation == "gelu_erf":
        return x / 2 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))
    gate, up = np.split(x, 2, axis=-1)
    return gate / (1 + np.exp(-gate)) * up


def attend(qkv, heads):
    """(B, T, 3E) -> (B, T, E)."""
    B, T, E = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    D = E // heads
    out = np.zeros((B, T, E))
    for b in range(B):
        for h in range(heads):
            q, k, v = (qkv[b, :, part * E + h * D : part * E + (h + 1) * D] for part in range(3))
            for t in range(T):
                scores = k[: t + 1] @ q[t] / np.sqrt(D)
                p = np.exp(scores - scores.max())
                out[b, t, h * D : (h + 1) * D] = p / p.sum() @ v[: t + 1]
    return out


def logits(config, weights, inputs, *, dropout=None):
    """(B, T, V). `dropout` is (seed, stream) or None."""
    weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    epsilon = config.norm_epsilon

    def drop(x, use):
        if dropout is None:
            return x
        seed, stream = dropout
        stream = dropout_stream(stream, 1 + 2 * config.num_layers, use)
        words = philox4x32(np.arange(-(-x.size // 4), dtype=np.uint64), seed, stream)
        keep = words.ravel()[: x.size].reshape(x.shape) >= config.dropout * 2.0**32
        return x * keep / (1 - config.dropout)

    x = weights["token_embedding"][inputs] + weights["position_embedding"][: inputs.shape[1]]
    x = drop(x, 0)
    for i in range(config.num_layers):
        block = f"blocks.{i}"
        normed = layernorm(x, weights, f"{block}.norm1", epsilon)
        heads = attend(linear(normed, weights, f"{block}.attention.qkv"), config.num_heads)
        x = x + drop(linear(heads, weights, f"{block}.attention.output"), 1 + 2 * i)
        normed = layernorm(x, weights, f"{block}.norm2", epsilon)
        up = activate(linear(normed, weights, f"{block}.feed_forward.up"), config.activation)
        x = x + drop(linear(up, weights, f"{block}.feed_forward.down"), 2 + 2 * i)
    if config.final_norm:
        x = layernorm(x, weights, "final_norm", epsilon)
    output = weights["token_embedding" if config.tied else "output.weight"]
    bias = weights["output.bias"] if config.output_bias else 0.0
    return x @ output.T + bias


def losses(config, weights, inputs, targets, *, dropout=None):
    """(B·T,), 0 where the target is −1."""
    scores = logits(config, weights, inputs, dropout=dropout).reshape(-1, config.vocab_size)
    targets = targets.ravel()
    top = scores.max(axis=-1)
    total = top + np.log(np.exp(scores - top[:, None]).sum(axis=-1))
    return np.where(targets < 0, 0.0, total - scores[np.arange(len(targets)), targets])
