"""A valid call of every op of the contract, by keyword, to be spoiled one argument at a time.

The odd thing: sizes are all different (B=2, T=3, H=5, D=4, V=7, ...), so that no wrong shape can
pass for a right one.
"""

import numpy as np

B, T, H, D, S = 2, 3, 5, 4, 6
V, E, M, K, N, n = 7, 8, 9, 10, 12, 11

WRITTEN = {
    "gather_batch": ["inputs", "targets"],
    "embedding_forward": ["out"],
    "embedding_backward": ["dtoken_table", "dposition_table"],
    "linear_forward": ["out", "preactivation"],
    "linear_backward_input": ["out"],
    "linear_backward_weight": ["dweight", "dbias"],
    "activation_forward": ["out"],
    "activation_backward": ["out"],
    "layernorm_forward": ["out", "mean", "rstd"],
    "layernorm_backward": ["dx", "dweight", "dbias"],
    "attention_forward": ["out", "lse"],
    "attention_backward": ["dq", "dk", "dv"],
    "attention_cached": ["out", "k_cache", "v_cache"],
    "dropout_forward": ["out"],
    "add": ["out"],
    "lerp": ["out"],
    "mean": [],
    "cross_entropy_forward": ["losses", "correct"],
    "cross_entropy_forward_backward": ["losses", "correct", "logits"],
    "gradient_norm": [],
    "adamw_step": ["weights", "m", "v"],
    "take_row": ["cursor", "out"],
    "step_control": ["control", "factor"],
    "row_means": ["out"],
    "sample": ["out", "seen"],
}
"""The arguments that each op writes; its keys are all ops. `sample` may also spoil its logits."""


def valid(op, rng):
    """Keyword arguments of a valid call of `op`, arrays as NumPy arrays."""

    def f(*shape):
        return rng.standard_normal(shape, np.float32)

    def ids(limit, *shape):
        return rng.integers(0, limit, shape, np.int32)

    heads = B, T, H, D
    calls = {
        "gather_batch": lambda: {
            "tokens": rng.integers(0, V, n, np.uint16),
            "starts": rng.integers(0, n - T, B, np.int64),
            "inputs": ids(V, B, T),
            "targets": ids(V, B, T),
        },
        "embedding_forward": lambda: {
            "tokens": ids(V, B, T),
            "token_table": f(V, E),
            "position_table": f(S, E),
            "position": 1,
            "out": f(B, T, E),
        },
        "embedding_backward": lambda: {
            "dout": f(B, T, E),
            "tokens": ids(V, B, T),
            "dtoken_table": f(V, E),
            "dposition_table": f(S, E),
        },
        "linear_forward": lambda: {
            "x": f(M, K),
            "weight": f(N, K),
            "bias": f(N),
            "activation": "gelu",
            "preactivation": f(M, N),
            "out": f(M, N),
        },
        "linear_backward_input": lambda: {
            "dout": f(M, N),
            "weight": f(N, K),
            "activation": "gelu",
            "preactivation": f(M, K),
            "out": f(M, K),
        },
        "linear_backward_weight": lambda: {
            "dout": f(M, N),
            "x": f(M, K),
            "dweight": f(N, K),
            "dbias": f(N),
        },
        "activation_forward": lambda: {"x": f(M, N), "activation": "gelu", "out": f(M, N)},
        "activation_backward": lambda: {
            "dout": f(M, N),
            "x": f(M, N),
            "activation": "gelu",
            "out": f(M, N),
        },
        "layernorm_forward": lambda: {
            "x": f(M, E),
            "weight": f(E),
            "bias": f(E),
            "epsilon": 1e-5,
            "out": f(M, E),
            "mean": f(M),
            "rstd": f(M),
        },
        "layernorm_backward": lambda: {
            "dout": f(M, E),
            "x": f(M, E),
            "weight": f(E),
            "mean": f(M),
            "rstd": f(M),
            "dx": f(M, E),
            "dweight": f(E),
            "dbias": f(E),
        },
        "attention_forward": lambda: {
            "q": f(*heads),
            "k": f(*heads),
            "v": f(*heads),
            "out": f(*heads),
            "lse": f(B, H, T),
        },
        "attention_backward": lambda: (
            {name: f(*heads) for name in ("dout", "q", "k", "v", "out", "dq", "dk", "dv")}
            | {"lse": 5 + f(B, H, T)}
        ),
        "attention_cached": lambda: {
            "q": f(*heads),
            "k": f(*heads),
            "v": f(*heads),
            "k_cache": f(B, H, S, D),
            "v_cache": f(B, H, S, D),
            "position": 1,
            "out": f(*heads),
        },
        "dropout_forward": lambda: {
            "x": f(M, N),
            "probability": 0.3,
            "seed": 1,
            "stream": 2,
            "residual": f(M, N),
            "out": f(M, N),
        },
        "add": lambda: {"x": f(M, N), "y": f(M, N), "out": f(M, N)},
        "lerp": lambda: {"start": f(M, N), "end": f(M, N), "weight": 0.25, "out": f(M, N)},
        "mean": lambda: {"x": f(M, N)},
        "cross_entropy_forward": lambda: {
            "logits": f(M, V),
            "targets": ids(V - 1, M),
            "losses": f(M),
            "correct": f(M),
        },
        "cross_entropy_forward_backward": lambda: {
            "logits": f(M, V),
            "targets": ids(V - 1, M),
            "scale": 0.5,
            "losses": f(M),
            "correct": f(M),
            "columns": V - 1,
        },
        "gradient_norm": lambda: {"gradients": f(n)},
        "adamw_step": lambda: {
            "weights": f(n),
            "gradients": f(n),
            "m": f(n),
            "v": np.abs(f(n)),
            "learning_rate": 0.01,
            "beta1": 0.9,
            "beta2": 0.95,
            "epsilon": 1e-8,
            "weight_decay": 0.1,
            "step": 1,
            "norm": np.array(2.0, np.float32),
            "max_norm": 1.0,
            "decayed": 4,
        },
        "take_row": lambda: {
            "table": rng.integers(-9, 9, (M, K), np.int64),
            "cursor": np.array(3, np.int64),
            "out": rng.integers(10, 20, K, np.int64),
        },
        "step_control": lambda: {
            "control": 1 + rng.random(8, np.float32),
            "norm": np.array(2.0, np.float32),
            "factor": np.array(3.0),
            "max_norm": 1.0,
            "outlier": 4.0,
            "growth": 10,
        },
        "row_means": lambda: {"x": f(M, N), "out": rng.standard_normal(M)},
        "sample": lambda: {
            "logits": f(B, V),
            "temperature": 0.9,
            "top_k": 5,
            "top_p": 0.9,
            "min_p": 0.01,
            "repetition_penalty": 1.1,
            "seen": rng.integers(0, 2, (B, V), np.uint8),
            "seed": 1,
            "position": 2,
            "out": ids(V, B),
        },
    }
    return calls[op]()


def arrays_of(arguments):
    """Names of the arguments that are arrays."""
    return [name for name, value in arguments.items() if isinstance(value, np.ndarray)]
