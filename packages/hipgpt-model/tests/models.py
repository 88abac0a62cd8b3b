"""Tiny models for tests, with weights in which nothing is 0 or 1 and so nothing can hide."""

import numpy as np

from hipgpt_model import GPT, GPTConfig, Parameters

TINY = {"vocab_size": 37, "max_seq_len": 12, "embed_dim": 24, "num_layers": 2, "num_heads": 3}
"""Sizes that nothing divides: odd heads, an odd vocabulary, D = 8."""

VARIANTS = {
    "gpt2": {"tied": True, "output_bias": False},
    "default": {},
    "relu": {"activation": "relu", "final_norm": False},
    "erf": {"activation": "gelu_erf", "ff_dim": 35},
    "swiglu": {"activation": "swiglu", "tied": True},
    "seed": {"final_norm": False},
    "one-head": {"num_heads": 1, "num_layers": 1, "output_bias": False},
    "narrow-heads": {"embed_dim": 20, "num_heads": 5, "ff_dim": 33},
}
"""Every activation, tied and untied, with and without each option."""


def tiny_config(**options):
    """A configuration of a few thousand parameters."""
    return GPTConfig(**{**TINY, "ff_dim": 40, **options})


def random_weights(config, rng, scale=0.3):
    """Weights by name: gains near 1, everything else of about `scale`, float32."""
    from hipgpt_model import parameter_table

    weights = {}
    for spec in parameter_table(config):
        values = scale * rng.standard_normal(spec.shape)
        weights[spec.name] = (values + (spec.initial == "ones")).astype(np.float32)
    return weights


def make_model(config, backend, weights, *, training=True, **options):
    """A model with these weights."""
    parameters = Parameters(config, backend, training=training)
    parameters.load(weights)
    return GPT(config, backend, parameters, **options)


def random_batch(config, rng, B=3, T=None):
    """Inputs and targets, both (B, T) int32."""
    T = config.max_seq_len if T is None else T
    ids = rng.integers(0, config.vocab_size, (B, T + 1)).astype(np.int32)
    return np.ascontiguousarray(ids[:, :-1]), np.ascontiguousarray(ids[:, 1:])


def losses_and_gradients(model, inputs, targets, *, scale=None, **options):
    """The losses (B·T,) and every gradient by name, after one pass from zero gradients."""
    backend, parameters = model.backend, model.parameters
    backend.fill(parameters.gradients, 0.0)
    losses = backend.from_numpy(np.full(inputs.size, np.nan, np.float32))
    model.forward_backward(
        backend.from_numpy(inputs),
        backend.from_numpy(targets),
        scale=1 / inputs.size if scale is None else scale,
        losses=losses,
        **options,
    )
    gradients = {name: backend.to_numpy(parameters.gradient(name)) for name in parameters.names()}
    return backend.to_numpy(losses), gradients
