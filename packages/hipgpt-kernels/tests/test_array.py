"""DeviceArray: its views are NumPy's views, and other libraries see the same memory.

The odd thing: the views are held against NumPy's own, address by address, so no GPU is asked for
them; what is shared with PyTorch and CuPy is only tried where those can see the GPU.
"""

import gc
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hipgpt_kernels.hip import exchange
from hipgpt_kernels.hip.array import DeviceArray
from hipgpt_kernels.hip.dtypes import bfloat16

DEVICE = types.SimpleNamespace(index=0, nvidia=False)


class NoStream:
    """What a DeviceArray asks of its stream where nothing is launched."""

    device = DEVICE
    address = 99
    follows_default = True

    def synchronize(self):
        self.waited = True


def like(array):
    """A DeviceArray with the layout of a NumPy array, at its very address."""
    return DeviceArray(
        array, array.ctypes.data, array.shape, array.dtype, NoStream(), array.strides
    )


def assert_same_view(ours, numpys):
    assert ours.shape == numpys.shape
    if numpys.size:
        assert ours.pointer == numpys.ctypes.data
        steps = [
            (a, b)
            for size, a, b in zip(numpys.shape, ours.strides, numpys.strides, strict=True)
            if size > 1
        ]
        assert all(a == b for a, b in steps)
        assert ours.flags.c_contiguous == numpys.flags.c_contiguous
    assert ours.size == numpys.size
    assert ours.nbytes == numpys.nbytes
    assert ours.ndim == numpys.ndim


def positive_steps(index):
    parts = index if isinstance(index, tuple) else (index,)
    return all(not isinstance(part, slice) or (part.step or 1) > 0 for part in parts)


@given(data=st.data())
def test_basic_indices_give_numpys_views(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    index = data.draw(
        hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True).filter(positive_steps)
    )
    array = np.zeros(shape, np.float32)
    view = array[index]
    if isinstance(view, np.float32):
        view = array[(*index, ...)] if isinstance(index, tuple) else array[index, ...]
    assert_same_view(like(array)[index], view)


@given(data=st.data())
def test_transpose_gives_numpys_view(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    order = data.draw(st.permutations(range(len(shape))))
    array = np.zeros(shape, np.int32)
    assert_same_view(like(array).transpose(*order), array.transpose(order))
    assert_same_view(like(array).T, array.T)


@pytest.mark.parametrize("shape", [(6, 4), (24,), (2, 3, 4), (-1, 4), (2, -1), (1, 24, 1)])
def test_reshape_gives_numpys_view(shape):
    array = np.zeros((2, 12), np.float16)
    assert_same_view(like(array).reshape(shape), array.reshape(shape))
    assert_same_view(like(array).reshape(*shape), array.reshape(*shape))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64, np.float16])
def test_view_as_another_dtype_gives_numpys_view(dtype):
    array = np.zeros((3, 8), np.float32)
    assert_same_view(like(array).view(dtype), array.view(dtype))


def test_view_as_bfloat16_has_two_bytes_to_an_element():
    view = like(np.zeros((3, 8), np.uint8)).view(bfloat16)
    assert (view.shape, view.dtype, view.nbytes) == ((3, 4), bfloat16, 24)


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda a: a[5], IndexError, "index 5 is out of range for 3 elements"),
        (lambda a: a[0, 0, 0], IndexError, "3 indices for 2 dimensions"),
        (lambda a: a[::-1], ValueError, "positive"),
        (lambda a: a[[0, 1]], TypeError, "expected an integer or a slice"),
        (lambda a: a.reshape(5), ValueError, "12 elements"),
        (lambda a: a.T.reshape(12), ValueError, "not contiguous"),
        (lambda a: a.view(np.float64)[:, :1].view(np.complex128), ValueError, "contiguous"),
        (lambda a: a.transpose(0, 0), ValueError, "each of 2 once"),
        (np.asarray, TypeError, "to_numpy"),
        (lambda a: len(a[0, 0]), TypeError, "len"),
    ],
)
def test_bad_views_are_refused(action, error, words):
    with pytest.raises(error, match=words):
        action(like(np.zeros((3, 4), np.float32)))


def test_dlpack_round_trip_shares_memory_and_lets_go():
    """The memory lives as long as the consumer's view, and no longer."""
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    ours = like(array)[:, 1:3]
    theirs = exchange.from_dlpack(ours, ours.stream)
    assert (theirs.pointer, theirs.shape, theirs.strides) == (
        ours.pointer,
        ours.shape,
        ours.strides,
    )
    assert len(exchange._lent) == 1
    del theirs
    gc.collect()
    assert not exchange._lent


def test_a_capsule_that_nobody_takes_frees_itself():
    capsule = like(np.zeros(3, np.int64)).__dlpack__()
    assert len(exchange._lent) == 1
    del capsule
    gc.collect()
    assert not exchange._lent


@pytest.mark.parametrize("version", [None, (1, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32, np.uint8, bfloat16])
def test_dlpack_keeps_the_dtype(dtype, version):
    if dtype is bfloat16:
        ours = like(np.zeros((2, 4), np.uint8)).view(bfloat16)
    else:
        ours = like(np.zeros((2, 4), dtype))

    class Old:
        def __dlpack_device__(self):
            return ours.__dlpack_device__()

        def __dlpack__(self, *, stream):
            return ours.__dlpack__(stream=stream, max_version=version)

    assert exchange.from_dlpack(Old(), ours.stream).dtype == ours.dtype


def test_host_memory_is_refused_where_a_gpu_is_expected():
    with pytest.raises(TypeError, match="numpy ndarray is in the host's memory"):
        exchange.as_device_array(np.zeros(3, np.float32), NoStream())


def test_what_is_no_array_is_refused():
    with pytest.raises(TypeError, match="builtins list is no array on a GPU"):
        exchange.as_device_array([1, 2], NoStream())


def test_a_copy_by_dlpack_is_refused():
    with pytest.raises(BufferError, match="shared, not copied"):
        like(np.zeros(3, np.float32)).__dlpack__(copy=True)


def test_cuda_array_interface_says_what_the_array_is():
    array = np.zeros((3, 4), np.float32)
    interface = like(array)[:, :2].__cuda_array_interface__
    assert interface["data"] == (array.ctypes.data, False)
    assert (interface["shape"], interface["strides"]) == ((3, 2), (16, 4))
    assert (interface["typestr"], interface["version"], interface["stream"]) == ("<f4", 3, 99)
    assert like(array).__cuda_array_interface__["strides"] is None


def test_bfloat16_has_no_cuda_array_interface():
    ours = like(np.zeros((2, 4), np.uint8)).view(bfloat16)
    assert not hasattr(ours, "__cuda_array_interface__")


def test_cuda_array_interface_is_taken():
    array = np.zeros((3, 4), np.float32)
    interface = {"version": 2, "shape": (3, 4), "typestr": "<f4", "data": (array.ctypes.data, True)}
    source = types.SimpleNamespace(__cuda_array_interface__=interface)
    ours = exchange.as_device_array(source, NoStream())
    assert (ours.pointer, ours.shape, ours.dtype) == (array.ctypes.data, (3, 4), array.dtype)
    assert not ours.flags.writeable
    assert ours.owner is source


@pytest.mark.parametrize("native", [True, False])
def test_a_device_array_on_the_cpu_is_refused(native):
    from hipgpt_kernels import BackendError, load_backend

    try:
        cpu = load_backend("cpu", native=native)
    except BackendError as error:
        pytest.skip(str(error))
    there, here = like(np.ones((4, 4), np.float32)), np.ones((4, 4), np.float32)
    for call in (
        lambda: cpu.linear_forward(there, here),
        lambda: cpu.linear_forward(here, there),
        lambda: cpu.activation_forward(there, "gelu"),
        lambda: cpu.add(there, here),
        lambda: cpu.add(here, here, out=there),
    ):
        with pytest.raises(
            TypeError, match=r"on a GPU and NumPy cannot see it|must be of ArrayType"
        ):
            call()


def test_an_array_of_another_gpu_is_refused():
    array = like(np.ones(3, np.float32))
    other = types.SimpleNamespace(device=types.SimpleNamespace(index=1, nvidia=False), address=5)
    with pytest.raises(TypeError, match=r"is on GPU .*index=0.*expected one on GPU .*index=1"):
        exchange.as_device_array(array, other)


def test_an_array_of_the_host_is_refused():
    with pytest.raises(TypeError, match="the numpy ndarray is in the host's memory, expected"):
        exchange.as_device_array(np.ones(3, np.float32), NoStream())


# --- with a GPU ---------------------------------------------------------------------------------


def torch_on_gpu(hip):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available() or "emulated" in hip.description:
        pytest.skip("PyTorch sees no GPU")
    return torch


def cupy_on_gpu(hip):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if "emulated" in hip.description or not cupy.cuda.runtime.getDeviceCount():
        pytest.skip("CuPy sees no GPU")
    return cupy


def test_torch_tensors_are_used_where_they_lie(hip, rng):
    torch = torch_on_gpu(hip)
    x = torch.from_numpy(rng.standard_normal((5, 7), dtype=np.float32)).cuda()
    y = torch.ones_like(x)
    out = torch.empty_like(x)
    returned = hip.add(x, y, out=out)
    assert returned is out
    hip.synchronize()
    assert torch.equal(out, x + 1)
    ours = hip.adopt(x)
    assert ours.pointer == x.data_ptr()
    theirs = torch.from_dlpack(hip.add(x, y))
    assert torch.equal(theirs, x + 1)
    fresh = hip.zeros((3, 4))
    shared = torch.as_tensor(fresh, device="cuda")
    shared += 2
    assert (hip.to_numpy(fresh) == 2).all()


def test_torch_bfloat16_goes_both_ways(hip, rng):
    torch = torch_on_gpu(hip)
    x = torch.from_numpy(rng.standard_normal((5, 7), dtype=np.float32)).cuda().bfloat16()
    ours = hip.add(x, x)
    assert ours.dtype == bfloat16
    assert torch.equal(torch.from_dlpack(ours), x + x)
    assert (hip.to_numpy(ours) == (x + x).float().cpu().numpy()).all()


def test_torch_may_keep_our_memory(hip):
    torch = torch_on_gpu(hip)
    array = hip.zeros((1000,))
    hip.fill(array, 3.0)
    tensor = torch.from_dlpack(array)
    del array
    gc.collect()
    hip.fill(hip.empty((1000,)), 4.0)  # may not get the memory that the tensor still has
    hip.synchronize()
    assert (tensor == 3).all()


def test_a_read_only_array_is_not_written(hip):
    x = hip.zeros((4,))
    lent = DeviceArray(x, x.pointer, x.shape, x.dtype, x.stream, writeable=False)
    square = x.reshape(2, 2)
    lent_square = lent.reshape(2, 2)
    for call in (
        lambda: hip.add(x, x, out=lent),
        lambda: hip.fill(lent, 1.0),
        lambda: hip.copy(lent, x),
        lambda: hip.copy(lent, np.ones(4, np.float32)),
        lambda: hip.convert(x, np.float32, out=lent),
        lambda: hip.linear_forward(square, square, out=lent_square),
        lambda: hip.linear_backward_weight(square, square, lent_square),
        lambda: hip.activation_forward(x, "gelu", out=lent),
    ):
        with pytest.raises(ValueError, match="is read-only and cannot be written"):
            call()
    assert (hip.to_numpy(hip.add(lent, lent)) == 0).all()
    assert (hip.to_numpy(lent) == 0).all()


def test_order_with_torch_needs_no_waiting(hip):
    """Our stream and PyTorch's default one wait for each other by themselves."""
    torch = torch_on_gpu(hip)
    x = torch.zeros(1 << 24, device="cuda")
    one = torch.ones_like(x)
    for _ in range(10):
        hip.add(x, one, out=x)
        x += 1
    assert (x == 20).all().item()


def test_cupy_arrays_are_used_where_they_lie(hip, rng):
    cupy = cupy_on_gpu(hip)
    x = cupy.asarray(rng.standard_normal((5, 7), dtype=np.float32))
    out = cupy.empty_like(x)
    assert hip.add(x, x, out=out) is out
    hip.synchronize()
    assert cupy.array_equal(out, x + x)
    ours = hip.add(x, x)
    for theirs in (cupy.from_dlpack(ours), cupy.asarray(ours)):
        assert theirs.data.ptr == ours.pointer
        assert cupy.array_equal(theirs, x + x)
