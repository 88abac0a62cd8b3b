"""Every op of the contract as its formula reads, and nothing else: the truth of tests and doctor.

The odd thing: a function computes in the dtype of what it is given. With float64 arrays it is the
reference, which finite differences prove (`tests/test_reference.py`); with float32 arrays it is
"plain float32 NumPy", the yardstick. It ships so that a machine of yours can be held to it
(`doctor`), imports nothing of this package so that it shares no mistake with it, and is slow.
Nothing is in place: an op that adds to a gradient returns here what it adds. Random numbers and
sampling are in `reference_random.py`.

Sizes: V vocabulary, S maximum sequence length, E embedding, H heads, B batch, T tokens in a row,
D = E / H; `(*, K)` is any number of leading dimensions.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]


def _rows(x: Array) -> Array:
    """(*, K) -> (M, K)."""
    return x.reshape(-1, x.shape[-1])


# --- tokens and embeddings ------------------------------------------------------------------------


def gather_batch(tokens: Array, starts: Array, T: int) -> tuple[Array, Array]:
    """inputs[b, t] = tokens[starts[b] + t]; targets[b, t] = tokens[starts[b] + t + 1]."""
    inputs = [[tokens[start + t] for t in range(T)] for start in starts]
    targets = [[tokens[start + t + 1] for t in range(T)] for start in starts]
    return np.array(inputs, np.int32), np.array(targets, np.int32)  # (B, T) both


def embedding_forward(
    tokens: Array, token_table: Array, position_table: Array | None = None, position: int = 0
) -> Array:
    """out[b, t] = token_table[tokens[b, t]] + position_table[position + t]."""
    B, T = tokens.shape
    out = np.zeros((B, T, token_table.shape[1]), token_table.dtype)
    for b in range(B):
        for t in range(T):
            out[b, t] = token_table[tokens[b, t]]
            if position_table is not None:
                out[b, t] += position_table[position + t]
    return out


def embedding_backward(dout: Array, tokens: Array, V: int, S: int) -> tuple[Array, Array]:
    """dtoken_table[v] = Σ_{tokens[b, t] = v} dout[b, t]; dposition_table[t] = Σ_b dout[b, t]."""
    B, T, E = dout.shape
    dtoken_table = np.zeros((V, E), dout.dtype)
    dposition_table = np.zeros((S, E), dout.dtype)
    for b in range(B):
        for t in range(T):
            dtoken_table[tokens[b, t]] += dout[b, t]
            dposition_table[t] += dout[b, t]
    return dtoken_table, dposition_table


# --- activation -----------------------------------------------------------------------------------


def _sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ); e⁻ˣ may overflow to ∞, whose inverse is the right 0."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _erf(x: Array) -> Array:
    """erf(x), of every element and in its dtype."""
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype)


def activation_forward(x: Array, activation: str) -> Array:
    """gelu, gelu_erf, relu or swiglu.

    gelu(x) = x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³)))
    gelu_erf(x) = x/2 · (1 + erf(x/√2))
    relu(x) = max(x, 0)
    swiglu(x) = g · sigmoid(g) · u, (g, u) the halves of the last dimension
    """
    if activation == "gelu":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    if activation == "gelu_erf":
        return 0.5 * x * (1 + _erf(x / math.sqrt(2)))
    if activation == "relu":
        return np.maximum(x, 0)
    g, u = np.split(x, 2, axis=-1)  # (*, N / 2) each
    return g * _sigmoid(g) * u


def activation_backward(dout: Array, x: Array, activation: str) -> Array:
    """dx = dout · f'(x).

    gelu'(x) = (1 + h)/2 + x/2 · (1 − h²) · √(2/π) · (1 + 3 · 0.044715 · x²), h the tanh of gelu
    gelu_erf'(x) = (1 + erf(x/√2))/2 + x · e^(−x²/2) / √(2π)
    relu'(x) = [x > 0]
    swiglu: dg = dout · u · (s + g · s · (1 − s)), du = dout · g · s, with s = sigmoid(g)
    """
    if activation == "gelu":
        root = math.sqrt(2 / math.pi)
        h = np.tanh(root * (x + 0.044715 * x * x * x))
        slope = root * (1 + 3 * 0.044715 * x * x)
        return dout * (0.5 * (1 + h) + 0.5 * x * (1 - h * h) * slope)
    if activation == "gelu_erf":
        density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return dout * (0.5 * (1 + _erf(x / math.sqrt(2))) + x * density)
    if activation == "relu":
        return dout * (x > 0)
    g, u = np.split(x, 2, axis=-1)
    s = _sigmoid(g)
    return np.concatenate([dout * u * (s + g * s * (1 - s)), dout * g * s], axis=-1)


# --- linear ---------------------------------------------------------------------------------------


def preactivation(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x · weightᵀ + bias, (*, K) -> (*, N)."""
    y = x @ weight.T
    return y if bias is None else y + bias


def linear_forward(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    activation: str | None = None,
    residual: Array | None = None,
) -> Array:
    """out = activation(x · weightᵀ + bias) + residual."""
    out = preactivation(x, weight, bias)
    if activation is not None:
        out = activation_forward(out, activation)
    return out if residual is None else out + residual


def linear_backward_input(
    dout: Array, weight: Array, activation: str | None = None, preactivation: Array | None = None
) -> Array:
    """dx = dout · weight; with an activation f that made x from z: dz = (dout · weight) · f'(z)."""
    dx = dout @ weight
    if activation is None or preactivation is None:
        return dx
    return activation_backward(dx, preactivation, activation)


def linear_backward_weight(dout: Array, x: Array) -> tuple[Array, Array]:
    """dweight = doutᵀ · x, dbias = sum over rows of dout."""
    return _rows(dout).T @ _rows(x), _rows(dout).sum(axis=0)


# --- normalisation --------------------------------------------------------------------------------


def layernorm_statistics(x: Array, epsilon: float = 1e-5) -> tuple[Array, Array]:
    """mean and rstd = 1/√(var + ε) of each row, var the biased variance; (*,) both."""
    mean = x.mean(axis=-1)
    var = ((x - mean[..., None]) ** 2).mean(axis=-1)
    return mean, 1 / np.sqrt(var + epsilon)


def layernorm_forward(
    x: Array, weight: Array, bias: Array, epsilon: float = 1e-5
) -> tuple[Array, Array, Array]:
    """out = (x − mean) · rstd · weight + bias; gives out, mean, rstd."""
    mean, rstd = layernorm_statistics(x, epsilon)
    return (x - mean[..., None]) * rstd[..., None] * weight + bias, mean, rstd


def layernorm_backward(
    dout: Array, x: Array, weight: Array, epsilon: float = 1e-5
) -> tuple[Array, Array, Array]:
    """The gradients dx, dweight, dbias, with n = (x − mean) · rstd and dn = dout · weight.

    dx = rstd · (dn − mean(dn) − n · mean(dn · n)); dweight = Σ dout · n; dbias = Σ dout, over rows.
    """
    mean, rstd = layernorm_statistics(x, epsilon)
    n = (x - mean[..., None]) * rstd[..., None]
    dn = dout * weight
    mean_dn = dn.mean(axis=-1, keepdims=True)
    mean_dn_n = (dn * n).mean(axis=-1, keepdims=True)
    dx = rstd[..., None] * (dn - mean_dn - n * mean_dn_n)
    return dx, _rows(dout * n).sum(axis=0), _rows(dout).sum(axis=0)


# --- attention ------------------------------------------------------------------------------------


def _masked_scores(q: Array, k: Array) -> Array:
    """score[b, h, t, s] = q[t]·k[s] / √D where s ≤ t, else −∞; (B, H, T, T)."""
    T, D = q.shape[1], q.shape[3]
    scores = np.einsum("bthd,bshd->bhts", q, k) / math.sqrt(D)
    for t in range(T):
        scores[:, :, t, t + 1 :] = -np.inf
    return scores


def attention_forward(q: Array, k: Array, v: Array) -> Array:
    """out[t] = Σ_{s ≤ t} softmax_s(q[t]·k[s] / √D) · v[s], per head; (B, T, H, D)."""
    return np.einsum("bhts,bshd->bthd", softmax(_masked_scores(q, k)), v)


def attention_lse(q: Array, k: Array) -> Array:
    """log Σ_{s ≤ t} exp(q[t]·k[s] / √D), (B, H, T)."""
    return logsumexp(_masked_scores(q, k))


def attention_backward(dout: Array, q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    """dv[s] = Σ_t p[t,s] dout[t]; dq[t] = Σ_s dz[t,s] k[s] / √D; dk[s] = Σ_t dz[t,s] q[t] / √D.

    With p = exp(score − lse) the softmax, made from the log-sum-exp as the contract has it,
    dp[t,s] = dout[t]·v[s] and dz = p · (dp − Σ_s p · dp).
    """
    D = q.shape[3]
    p = np.exp(_masked_scores(q, k) - attention_lse(q, k)[..., None])  # (B, H, T, T)
    dv = np.einsum("bhts,bthd->bshd", p, dout)
    dp = np.einsum("bthd,bshd->bhts", dout, v)
    dz = p * (dp - (p * dp).sum(axis=-1, keepdims=True))
    dq = np.einsum("bhts,bshd->bthd", dz, k) / math.sqrt(D)
    dk = np.einsum("bhts,bthd->bshd", dz, q) / math.sqrt(D)
    return dq, dk, dv


def attention_cached(
    q: Array, k: Array, v: Array, k_cache: Array, v_cache: Array, position: int
) -> tuple[Array, Array, Array]:
    """Each query by itself over the cache's first position + t + 1 rows; gives out and the caches.

    The caches are (B, H, S, D); q, k, v and out are (B, T, H, D).
    """
    B, T, H, D = q.shape
    k_cache, v_cache, out = k_cache.copy(), v_cache.copy(), np.zeros_like(q)
    for t in range(T):
        k_cache[:, :, position + t] = k[:, t]
        v_cache[:, :, position + t] = v[:, t]
    for b in range(B):
        for h in range(H):
            for t in range(T):
                n = position + t + 1
                scores = k_cache[b, h, :n] @ q[b, t, h] / math.sqrt(D)  # (n,)
                out[b, t, h] = softmax(scores) @ v_cache[b, h, :n]
    return out, k_cache, v_cache


# --- softmax and loss -----------------------------------------------------------------------------


def logsumexp(z: Array) -> Array:
    """log Σ exp(z) over the last dimension, = max + log Σ exp(z − max)."""
    largest = z.max(axis=-1)
    return largest + np.log(np.exp(z - largest[..., None]).sum(axis=-1))


def softmax(z: Array) -> Array:
    """exp(z − max) / Σ exp(z − max) over the last dimension."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def cross_entropy_forward(logits: Array, targets: Array) -> Array:
    """losses[m] = logsumexp(logits[m]) − logits[m, targets[m]], 0 where the target is −1."""
    losses = np.zeros(len(targets), logits.dtype)
    for m, target in enumerate(targets):
        if target != -1:
            losses[m] = logsumexp(logits[m]) - logits[m, target]
    return losses


def cross_entropy_correct(logits: Array, targets: Array) -> Array:
    """1 where the target is the smallest id with the largest logit, else 0; 0 for target −1."""
    return np.array(
        [
            t != -1 and np.flatnonzero(z == z.max())[0] == t
            for z, t in zip(logits, targets, strict=True)
        ],
        np.float32,
    )


def cross_entropy_backward(logits: Array, targets: Array, scale: float) -> Array:
    """dlogits[m, j] = scale · (softmax(logits[m])[j] − [j = targets[m]]), 0 where target is −1."""
    dlogits = np.zeros_like(logits)
    for m, target in enumerate(targets):
        if target != -1:
            dlogits[m] = softmax(logits[m])
            dlogits[m, target] -= 1
    return scale * dlogits


# --- sums and optimizer ---------------------------------------------------------------------------


def gradient_norm(gradients: Array) -> Any:
    """√Σ g²."""
    return np.sqrt((gradients * gradients).sum())


def adamw_step(
    weights: Array,
    gradients: Array,
    m: Array,
    v: Array,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
    norm: Any = None,
    max_norm: float = 0.0,
) -> tuple[Array, Array, Array]:
    """Loshchilov and Hutter 2019, algorithm 2; gives the new weights, m, v.

    g = gradients · min(1, max_norm / (norm + 1e-6)) where max_norm > 0, else gradients
    m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²
    weights ← weights − learning_rate · (m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε) + weight_decay · weights)
    Nothing changes where norm is given and is not finite.
    """
    if norm is not None and not math.isfinite(norm):
        return weights, m, v
    clip = min(1.0, max_norm / (float(norm) + 1e-6)) if norm is not None and max_norm > 0 else 1.0
    g = gradients * clip
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    update = m_hat / (np.sqrt(v_hat) + epsilon) + weight_decay * weights
    return weights - learning_rate * update, m, v
