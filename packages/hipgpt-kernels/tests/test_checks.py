"""Every wrong argument is refused in one sentence, and nothing is written before the refusal.

The odd thing: the wrong calls are made by spoiling one argument of the valid calls in
`contract.py`, so a new op is covered as soon as its valid call stands there.
"""

import inspect
import re

import numpy as np
import pytest

from hipgpt_kernels import Backend

from . import contract
from .contract import WRITTEN, arrays_of, valid
from .exactness import assert_same_bits

OPS = list(WRITTEN)


def to_device(backend, arguments):
    return {
        name: backend.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in arguments.items()
    }


IDS = {"tokens", "targets", "starts"}
"""Arrays whose numbers a GPU's kernel checks: looking at them earlier would mean waiting."""


def assert_refused(backend, op, arguments, *words, error=(ValueError, TypeError), late=False):
    """The call raises; its message begins with the op and has the words; no array has changed.

    Where `late`, the next wait may raise instead, and then results are not looked at. Gives the
    message.
    """
    before = {
        name: backend.to_numpy(value)
        for name, value in arguments.items()
        if hasattr(value, "dtype")
    }
    with pytest.raises(error) as raised:
        getattr(backend, op)(**arguments)
        if late:
            backend.synchronize()
    message = str(raised.value)
    assert message.startswith(f"{op}: "), message
    for word in words:
        assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message), f"{word!r}: {message}"
    for name, contents in before.items() if not late else ():
        assert_same_bits(backend.to_numpy(arguments[name]), contents)
    return message


# --- the valid calls ------------------------------------------------------------------------------


def test_the_contract_has_a_valid_call_for_every_op():
    memory = {"empty", "zeros", "from_numpy", "to_numpy", "copy", "fill", "convert"}
    others = {"compute_dtype", "synchronize", "memory_info"}
    assert set(OPS) == Backend.__abstractmethods__ - memory - others


@pytest.mark.parametrize("op", OPS)
def test_a_valid_call_is_accepted_and_writes_what_it_says(backend, rng, op):
    arguments = valid(op, rng)
    device = to_device(backend, arguments)
    getattr(backend, op)(**device)
    for name in arrays_of(arguments):
        same = backend.to_numpy(device[name]).tobytes() == arguments[name].tobytes()
        if op == "sample" and name == "logits":
            continue
        assert same == (name not in WRITTEN[op]), name


@pytest.mark.parametrize("op", OPS)
def test_signatures_are_those_of_the_contract(backend, op):
    """Names, order, kinds and defaults: whatever the backend, a call is written the same."""

    def parameters(function):
        _self, *rest = inspect.signature(function).parameters.values()
        return [(p.name, p.kind, p.default) for p in rest]

    assert parameters(getattr(type(backend), op)) == parameters(getattr(Backend, op))


# --- arrays ---------------------------------------------------------------------------------------

ARRAYS = [(op, name) for op in OPS for name in arrays_of(valid(op, np.random.default_rng(0)))]
FREE = {("mean", "x"), ("gradient_norm", "gradients"), ("gather_batch", "tokens")}
"""Arrays of any length, alone in their call: no other argument can contradict their shape."""


@pytest.mark.parametrize(("op", "name"), ARRAYS)
def test_wrong_dtype(backend, rng, op, name):
    """float64 for float32, and so on: never converted in silence."""
    arguments = valid(op, rng)
    wrong = {"f4": np.float64, "f8": np.float32, "i4": np.float32, "i8": np.float32}.get(
        arguments[name].dtype.str[1:], np.int32
    )
    arguments[name] = arguments[name].astype(wrong)
    device = to_device(backend, arguments)
    assert_refused(backend, op, device, name, np.dtype(wrong).name, error=TypeError)


@pytest.mark.parametrize(("op", "name"), ARRAYS)
def test_what_is_no_array(backend, rng, op, name):
    """A list, and None where an array is needed."""
    device = to_device(backend, valid(op, rng))
    device[name] = [1.0, 2.0]
    assert_refused(backend, op, device, name, error=TypeError)
    needed = inspect.signature(getattr(Backend, op)).parameters[name].default is not None
    if needed:
        device[name] = None
        assert_refused(backend, op, device, name, error=TypeError)


VALID_CHANGES = {
    ("embedding_forward", "token_table", "first longer"),
    ("embedding_forward", "position_table", "first longer"),
    ("embedding_backward", "dtoken_table", "first longer"),
    ("embedding_backward", "dposition_table", "first longer"),
    ("take_row", "table", "first longer"),
    ("row_means", "x", "longer"),
    ("row_means", "x", "shorter"),
    ("cross_entropy_forward", "logits", "longer"),
    ("cross_entropy_forward", "logits", "shorter"),
    ("cross_entropy_forward_backward", "logits", "longer"),
    ("cross_entropy_forward_backward", "logits", "shorter"),
}
"""V and S are the arrays' own: nothing contradicts another one, as long as the ids fit."""


def reshaped(array, change):
    """The array in a wrong shape; its numbers repeat."""
    shape = list(array.shape)
    if change == "one more dimension":
        shape = [1, *shape]
    elif not shape:
        shape = [2]
    elif change == "first longer":
        shape[0] += 1
    else:
        shape[-1] += 1 if change == "longer" else -1
    return np.resize(array, shape)


@pytest.mark.parametrize(("op", "name"), [pair for pair in ARRAYS if pair not in FREE])
def test_wrong_shape(backend, rng, op, name):
    """The sentence names an argument: where two disagree, either may be the wrong one."""
    names = inspect.signature(getattr(Backend, op)).parameters
    for change in ("longer", "shorter", "one more dimension", "first longer"):
        arguments = valid(op, rng)
        arguments[name] = reshaped(arguments[name], change)
        device = to_device(backend, arguments)
        if (op, name, change) in VALID_CHANGES:
            getattr(backend, op)(**device)
            continue
        message = assert_refused(backend, op, device, error=ValueError)
        assert any(re.search(rf"\b{one}\b", message) for one in names), message


@pytest.mark.parametrize(("op", "name"), ARRAYS)
def test_strided_arrays_are_right_or_refused(backend, rng, op, name):
    """Every other row or column of a larger array: never taken for a contiguous one."""
    arguments = valid(op, rng)
    array = arguments[name]
    if array.ndim == 0:
        return
    for axis, where in ((0, np.s_[::2]), (-1, np.s_[..., ::2])):
        larger = np.repeat(array, 2, axis=axis)
        device = to_device(backend, arguments)
        whole = backend.from_numpy(larger)
        strided = device | {name: whole[where]}
        refusal = None
        try:
            result = getattr(backend, op)(**strided)
        except ValueError as error:
            refusal = str(error)
        if refusal is not None:
            assert refusal.startswith(f"{op}: ")
            assert re.search(rf"\b{name}\b", refusal), refusal
            assert_same_bits(backend.to_numpy(whole), larger)
            continue
        device = to_device(backend, arguments)
        expected = getattr(backend, op)(**device)
        pairs = [(strided[other], device[other]) for other in WRITTEN[op]]
        pairs += [] if expected is None else [(result, expected)]
        for pair in pairs:
            one, two = (
                np.asarray(p) if isinstance(p, float) else backend.to_numpy(p) for p in pair
            )
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("op", "name"), [(op, name) for op in OPS for name in WRITTEN[op]])
def test_read_only_outputs_are_refused(backend, rng, op, name):
    """A NumPy array may forbid writing; compiled code must not write behind its back."""
    if backend.name != "cpu":
        pytest.skip("only NumPy arrays can be read-only")
    device = to_device(backend, valid(op, rng))
    device[name].flags.writeable = False
    assert_refused(backend, op, device, name, error=ValueError)


# --- values ---------------------------------------------------------------------------------------


def changed(array, index, value):
    array = array.copy()
    array.reshape(-1)[index] = value
    return array


WRONG_VALUES = [
    ("gather_batch", "starts", lambda a: changed(a, 1, -1), ["starts", "-1"]),
    ("gather_batch", "starts", lambda a: changed(a, 1, contract.n - contract.T), ["starts"]),
    ("embedding_forward", "tokens", lambda a: changed(a, 4, contract.V), ["tokens", "7"]),
    ("embedding_forward", "tokens", lambda a: changed(a, 0, -1), ["tokens", "-1"]),
    ("embedding_forward", "position", lambda _: -1, ["position", "-1"]),
    ("embedding_forward", "position", lambda _: 4, ["position"]),
    ("embedding_backward", "tokens", lambda a: changed(a, 4, contract.V), ["tokens", "7"]),
    ("embedding_backward", "tokens", lambda a: changed(a, 0, -1), ["tokens", "-1"]),
    ("linear_forward", "activation", lambda _: "tanh", ["activation", "tanh"]),
    ("linear_forward", "activation", lambda _: None, ["preactivation", "activation"]),
    ("linear_backward_input", "activation", lambda _: "tanh", ["activation", "tanh"]),
    ("linear_backward_input", "activation", lambda _: None, ["activation", "preactivation"]),
    ("linear_backward_input", "preactivation", lambda _: None, ["activation", "preactivation"]),
    ("activation_forward", "activation", lambda _: "GELU", ["activation", "GELU"]),
    ("activation_forward", "activation", lambda _: None, ["activation"]),
    ("activation_backward", "activation", lambda _: "silu", ["activation", "silu"]),
    ("activation_backward", "activation", lambda _: None, ["activation"]),
    ("layernorm_forward", "epsilon", lambda _: -1e-5, ["epsilon"]),
    ("layernorm_forward", "epsilon", lambda _: float("nan"), ["epsilon"]),
    ("attention_cached", "position", lambda _: -1, ["position", "-1"]),
    ("attention_cached", "position", lambda _: 4, ["position"]),
    ("dropout_forward", "probability", lambda _: 1.0, ["probability"]),
    ("dropout_forward", "probability", lambda _: -0.1, ["probability"]),
    ("dropout_forward", "probability", lambda _: float("nan"), ["probability"]),
    ("dropout_forward", "seed", lambda _: -1, ["seed"]),
    ("dropout_forward", "seed", lambda _: 2**64, ["seed"]),
    ("dropout_forward", "stream", lambda _: -1, ["stream"]),
    ("dropout_forward", "stream", lambda _: 2**64, ["stream"]),
    ("mean", "x", lambda a: a[:0], ["x"]),
    ("cross_entropy_forward", "targets", lambda a: changed(a, 8, contract.V), ["targets", "7"]),
    ("cross_entropy_forward", "targets", lambda a: changed(a, 0, -2), ["targets", "-2"]),
    ("cross_entropy_forward_backward", "targets", lambda a: changed(a, 8, 7), ["targets", "7"]),
    ("cross_entropy_forward_backward", "targets", lambda a: changed(a, 0, -2), ["targets", "-2"]),
    ("cross_entropy_forward_backward", "scale", lambda _: float("nan"), ["scale"]),
    ("adamw_step", "learning_rate", lambda _: float("nan"), ["learning_rate"]),
    ("adamw_step", "beta1", lambda _: 1.0, ["beta1"]),
    ("adamw_step", "beta1", lambda _: -0.1, ["beta1"]),
    ("adamw_step", "beta2", lambda _: 1.0, ["beta2"]),
    ("adamw_step", "beta2", lambda _: float("nan"), ["beta2"]),
    ("adamw_step", "epsilon", lambda _: -1e-8, ["epsilon"]),
    ("adamw_step", "weight_decay", lambda _: float("nan"), ["weight_decay"]),
    ("adamw_step", "step", lambda _: 0, ["step"]),
    ("adamw_step", "norm", lambda _: None, ["norm", "max_norm"]),
    ("adamw_step", "max_norm", lambda _: -1.0, ["max_norm"]),
    ("adamw_step", "max_norm", lambda _: float("nan"), ["max_norm"]),
    ("adamw_step", "decayed", lambda _: 12, ["decayed", "11"]),
    ("adamw_step", "decayed", lambda _: -1, ["decayed"]),
    ("step_control", "max_norm", lambda _: -1.0, ["max_norm"]),
    ("step_control", "outlier", lambda _: -1.0, ["outlier"]),
    ("step_control", "growth", lambda _: -1, ["growth"]),
    ("sample", "temperature", lambda _: -0.1, ["temperature"]),
    ("sample", "temperature", lambda _: float("nan"), ["temperature"]),
    ("sample", "temperature", lambda _: float("inf"), ["temperature"]),
    ("sample", "top_k", lambda _: -1, ["top_k"]),
    ("sample", "top_p", lambda _: -0.1, ["top_p"]),
    ("sample", "top_p", lambda _: 1.1, ["top_p"]),
    ("sample", "top_p", lambda _: float("nan"), ["top_p"]),
    ("sample", "min_p", lambda _: -0.1, ["min_p"]),
    ("sample", "min_p", lambda _: 1.1, ["min_p"]),
    ("sample", "repetition_penalty", lambda _: 0.0, ["repetition_penalty"]),
    ("sample", "repetition_penalty", lambda _: float("inf"), ["repetition_penalty"]),
    ("sample", "repetition_penalty", lambda _: float("nan"), ["repetition_penalty"]),
    ("sample", "seen", lambda _: None, ["repetition_penalty", "seen"]),
    ("sample", "seed", lambda _: -1, ["seed"]),
    ("sample", "seed", lambda _: 2**64, ["seed"]),
    ("sample", "position", lambda _: -1, ["position"]),
]
"""Op, argument, what makes it wrong, and words that the sentence must have."""


@pytest.mark.parametrize(
    ("op", "name", "spoil", "words"),
    WRONG_VALUES,
    ids=[f"{op}-{name}-{i}" for i, (op, name, *_) in enumerate(WRONG_VALUES)],
)
def test_wrong_value(backend, rng, op, name, spoil, words):
    arguments = valid(op, rng)
    arguments[name] = spoil(arguments[name])
    late = backend.name == "hip" and name in IDS
    assert_refused(backend, op, to_device(backend, arguments), *words, error=ValueError, late=late)


def test_a_residual_and_an_activation_exclude_each_other(backend, rng):
    arguments = valid("linear_forward", rng)
    arguments["residual"] = arguments["out"].copy()
    device = to_device(backend, arguments)
    assert_refused(backend, "linear_forward", device, "residual", "activation", error=ValueError)


@pytest.mark.parametrize("op", ["linear_forward", "activation_forward"])
def test_swiglu_of_an_odd_number_of_columns(backend, op):
    x = np.zeros((3, 5), np.float32)
    arguments = {"x": x, "activation": "swiglu"}
    if op == "linear_forward":
        arguments["weight"] = np.zeros((7, 5), np.float32)
    assert_refused(backend, op, to_device(backend, arguments), "swiglu", error=ValueError)


@pytest.mark.parametrize(
    ("op", "name"),
    [("linear_forward", "x"), ("activation_forward", "x"), ("layernorm_forward", "x")],
)
def test_an_array_without_dimensions_has_no_rows(backend, rng, op, name):
    arguments = valid(op, rng)
    arguments[name] = np.array(1.0, np.float32)
    assert_refused(backend, op, to_device(backend, arguments), name, error=ValueError)


def test_sizes_of_zero_that_have_no_result(backend):
    """The mean of no columns, the softmax of no ids."""
    empty, none = np.zeros((3, 0), np.float32), np.zeros(0, np.float32)
    layernorm = {"x": empty, "weight": none, "bias": none}
    assert_refused(backend, "layernorm_forward", to_device(backend, layernorm), error=ValueError)
    loss = {"logits": empty, "targets": np.full(3, -1, np.int32)}
    assert_refused(backend, "cross_entropy_forward", to_device(backend, loss), error=ValueError)
    assert_refused(backend, "sample", to_device(backend, {"logits": empty}), error=ValueError)


def test_no_rows_are_no_error(backend):
    """An empty batch, or an empty group of parameters: results of no rows, nothing added."""

    def f(*shape):
        return backend.from_numpy(np.ones(shape, np.float32))

    assert tuple(backend.linear_forward(f(0, 4), f(6, 4), f(6)).shape) == (0, 6)
    assert tuple(backend.linear_backward_input(f(0, 6), f(6, 4)).shape) == (0, 4)
    dweight, dbias = f(6, 4), f(6)
    backend.linear_backward_weight(f(0, 6), f(0, 4), dweight, dbias)
    assert (backend.to_numpy(dweight) == 1).all()
    assert (backend.to_numpy(dbias) == 1).all()
    assert tuple(backend.activation_forward(f(0, 4), "gelu").shape) == (0, 4)
    assert tuple(backend.layernorm_forward(f(0, 4), f(4), f(4)).shape) == (0, 4)
    targets = backend.from_numpy(np.zeros(0, np.int32))
    assert tuple(backend.cross_entropy_forward(f(0, 4), targets).shape) == (0,)
    assert backend.to_numpy(backend.gradient_norm(f(0))) == 0
    options = {"learning_rate": 1.0, "beta1": 0.9, "beta2": 0.9, "epsilon": 1e-8}
    backend.adamw_step(f(0), f(0), f(0), f(0), **options, weight_decay=0.0, step=1)
