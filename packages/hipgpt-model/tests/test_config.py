"""GPTConfig and TrainConfig: what they count, and what they refuse."""

import dataclasses

import pytest

from hipgpt_model import GPTConfig, TrainConfig, parameter_table


@pytest.mark.parametrize(
    ("V", "S", "E", "L", "H", "F"),
    [(5000, 32, 128, 2, 4, 256), (5000, 256, 256, 8, 8, 1024), (7, 1, 6, 3, 3, 5)],
)
def test_parameters_without_final_norm_follow_the_formula(V, S, E, L, H, F):
    config = GPTConfig(V, S, E, L, H, F, final_norm=False)
    expected = V * E + S * E + L * (4 * E**2 + 2 * E * F + F + 9 * E) + E * V + V
    assert config.num_parameters() == expected


def test_the_smallest_gpt2_has_its_known_number_of_parameters():
    config = GPTConfig(50257, 1024, 768, 12, 12, 3072, tied=True, output_bias=False)
    assert config.num_parameters() == 124_439_808


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf", "relu", "swiglu"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("output_bias", [False, True])
@pytest.mark.parametrize("final_norm", [False, True])
def test_parts_sum_to_the_table(activation, tied, output_bias, final_norm):
    config = GPTConfig(
        11, 5, 12, 3, 2, 7, activation, tied=tied, output_bias=output_bias, final_norm=final_norm
    )
    assert list(config.parameters_by_part()) == [
        "token embedding", "position embedding", "blocks", "final norm", "output",
    ]  # fmt: skip
    assert sum(config.parameters_by_part().values()) == config.num_parameters()
    assert config.num_parameters() == sum(spec.size for spec in parameter_table(config))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("vocab_size", 0, "vocab_size must be an integer, at least 1"),
        ("max_seq_len", -1, "max_seq_len"),
        ("embed_dim", 2.0, "embed_dim"),
        ("num_layers", True, "num_layers"),
        ("num_heads", 5, "num_heads must divide embed_dim; got 5 heads for embed_dim 128"),
        ("ff_dim", "256", "ff_dim"),
        ("ff_dim", 2**31, "ff_dim"),
        ("activation", "silu", "one of 'gelu', 'gelu_erf', 'relu', 'swiglu'; got 'silu'"),
        ("tied", 1, "tied must be true or false"),
        ("dropout", 1.0, "dropout must be a number at least 0 and below 1; got 1.0"),
        ("dropout", float("nan"), "dropout"),
        ("norm_epsilon", 0, "norm_epsilon"),
    ],
)
def test_model_refuses(field, value, message):
    with pytest.raises(ValueError, match=message):
        GPTConfig(**{"vocab_size": 10, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("steps", 0),
        ("learning_rate", 0),
        ("learning_rate", float("inf")),
        ("learning_rate", "fast"),
        ("min_learning_rate", 2e-3),
        ("min_learning_rate", -1e-9),
        ("warmup_steps", -1),
        ("schedule", "step"),
        ("decay_steps", 0),
        ("decay_steps", 1.5),
        ("patience", -1),
        ("ema", 1.0),
        ("ema", -0.1),
        ("skip_outliers", 0.5),
        ("skip_outliers", float("inf")),
        ("steps", 10**30),
        ("steps", 10**500),
        ("clip", 10**500),
        ("weight_decay", -0.1),
        ("beta1", 1.0),
        ("beta2", -0.5),
        ("epsilon", 0),
        ("clip", float("nan")),
        ("grad_accum", 0),
        ("seed", -1),
        ("seed", 2**64),
        ("eval_every", -1),
        ("eval_batches", 0),
    ],
)
def test_training_refuses(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be"):
        TrainConfig(**{field: value})


@pytest.mark.parametrize(
    "config", [GPTConfig(9, dropout=0.5), TrainConfig(min_learning_rate=1e-5), TrainConfig()]
)
def test_dictionary_round_trip(config):
    values = config.to_dict()
    assert type(config).from_dict(values) == config
    assert list(values) == [field.name for field in dataclasses.fields(config)]


@pytest.mark.parametrize("cls", [GPTConfig, TrainConfig])
def test_dictionaries_are_held_to_the_names(cls):
    values = cls(5).to_dict()
    first = next(iter(values))
    with pytest.raises(ValueError, match=f"{cls.__name__}: missing {first}"):
        cls.from_dict({name: value for name, value in values.items() if name != first})
    with pytest.raises(ValueError, match=f"{cls.__name__}: unknown 'colour'"):
        cls.from_dict({**values, "colour": 1})
    with pytest.raises(ValueError, match=first):
        cls.from_dict({**values, first: None})
    with pytest.raises(ValueError, match="expected a dictionary"):
        cls.from_dict([1, 2])


def test_whole_numbers_for_floats_make_equal_files():
    assert TrainConfig(clip=1).to_dict() == TrainConfig(clip=1.0).to_dict()
    assert isinstance(TrainConfig(clip=1).clip, float)
