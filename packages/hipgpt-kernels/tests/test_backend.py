"""Choosing a backend, its memory functions, and an import that costs nothing."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import hipgpt_kernels
from hipgpt_kernels import Backend, BackendError, load_backend

from .arrays import normal, on_device
from .exactness import assert_same_bits


def run_python(code, **environment):
    """Standard output of a fresh interpreter, which must write nothing to standard error."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert result.stderr == ""
    assert result.returncode == 0
    return result.stdout


# --- choosing -------------------------------------------------------------------------------------


def test_cpu():
    backend = load_backend("cpu")
    assert isinstance(backend, Backend)
    assert backend.name == "cpu"
    assert "\n" not in backend.description
    assert len(backend.description) > len("CPU")


def test_auto_gives_a_backend_that_works():
    backend = load_backend()
    assert backend.name in ("cpu", "hip")
    two = backend.from_numpy(np.ones(2, np.float32))
    assert backend.to_numpy(backend.add(two, two)).tolist() == [2, 2]


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "cuda"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"auto.*cpu.*hip") as raised:
        load_backend(name)
    assert repr(name) in str(raised.value)


def test_hip_without_a_gpu_says_why_and_what_to_do():
    """One line: the reason, then the remedy."""
    if load_backend().name == "hip":
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackendError, match=r"^hip: ") as raised:
        load_backend("hip")
    reason, _, remedy = str(raised.value).partition("; ")
    assert reason
    assert re.match(r"(install|use|build|set|give) \w+", remedy)
    assert "\n" not in remedy


def test_auto_says_why_it_took_the_cpu():
    """In one line of `reason`; a backend asked for by name has nothing to explain."""
    assert load_backend("cpu").reason == ""
    backend = load_backend("auto")
    if backend.name == "hip":
        assert backend.reason == ""
    else:
        assert len(backend.reason) > len("hip: ")
        assert "\n" not in backend.reason


def test_a_backend_error_is_a_runtime_error():
    assert issubclass(BackendError, RuntimeError)


@pytest.mark.parametrize("device", [-1, 1])
def test_a_device_that_the_cpu_does_not_have(device):
    with pytest.raises(ValueError, match="device"):
        load_backend("cpu", device)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_at_all(threads):
    with pytest.raises(ValueError, match="threads"):
        load_backend("cpu", threads=threads)


def test_the_description_counts_the_threads():
    assert "1 thread," in load_backend("cpu", threads=1).description
    assert "3 threads" in load_backend("cpu", threads=3).description


def test_native_false_is_numpy_alone():
    assert "vector code" not in load_backend("cpu", native=False).description


def test_native_true_demands_the_compiled_code(monkeypatch, tmp_path):
    """Without the libraries the error says how to build them."""
    from hipgpt_kernels.native import library

    monkeypatch.setattr(library, "library_path", lambda width: tmp_path / f"cpu-{width}.so")
    library.load_library.cache_clear()
    try:
        with pytest.raises(BackendError, match=r"^cpu: .*hipgpt_kernels\.native\.build"):
            load_backend("cpu", native=True)
        assert "vector code" not in load_backend("cpu").description
        for width in (4, 8, 16):  # a file that is no library, as an unfinished build leaves it
            (tmp_path / f"cpu-{width}.so").write_bytes(b"\x7fELF")
        with pytest.raises(BackendError, match=r"^cpu: .*hipgpt_kernels\.native\.build"):
            load_backend("cpu", native=True)
    finally:
        library.load_library.cache_clear()


def test_a_wrong_vector_width_is_refused(monkeypatch):
    """HIPGPT_CPU_WIDTH is not ignored, neither by "native=True" nor by the default."""
    from hipgpt_kernels.native.library import load_library

    monkeypatch.setenv("HIPGPT_CPU_WIDTH", "5")
    load_library.cache_clear()
    try:
        for native in (True, None):
            with pytest.raises((ValueError, BackendError), match="HIPGPT_CPU_WIDTH"):
                load_backend("cpu", native=native)
    finally:
        load_library.cache_clear()


# --- the import -----------------------------------------------------------------------------------


def test_import_is_free():
    """No NumPy, no GPU, nothing printed; `load_backend` brings what it needs."""
    code = (
        "import sys, hipgpt_kernels;"
        "heavy = {'numpy', 'hip', 'rocm', 'cuda', 'torch', 'threadpoolctl'};"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    assert run_python(code) == "[]\n"


def test_the_cpu_backend_prints_nothing_and_touches_no_gpu():
    code = (
        "import sys; from hipgpt_kernels import load_backend; b = load_backend('cpu');"
        "b.linear_forward(b.zeros((300, 64)), b.zeros((64, 64)));"
        "print(sorted({'hip', 'rocm', 'cuda'} & {n.partition('.')[0] for n in sys.modules}))"
    )
    assert run_python(code) == "[]\n"


def test_every_public_name_is_there():
    for name in hipgpt_kernels.__all__:
        assert getattr(hipgpt_kernels, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        hipgpt_kernels.no_such_name


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64, np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 5), (2, 0, 4), (2, 3, 4, 5)])
def test_empty_and_zeros(backend, shape, dtype):
    for make in (backend.empty, backend.zeros):
        array = make(shape, dtype)
        assert tuple(array.shape) == shape
        assert array.dtype == dtype
        assert array.nbytes == np.zeros(shape, dtype).nbytes
    assert not backend.to_numpy(backend.zeros(shape, dtype)).any()


def test_float32_is_the_default(backend):
    assert backend.empty((2,)).dtype == backend.zeros((2,)).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64, np.uint8, np.uint16, np.uint32])
def test_to_the_device_and_back(backend, rng, dtype):
    array = (100 * rng.random((3, 4, 5))).astype(dtype)
    assert_same_bits(backend.to_numpy(backend.from_numpy(array)), array)


def test_from_numpy_takes_any_order(backend, rng):
    """Transposed, strided, reversed, broadcast: the copy is contiguous and equal."""
    array = normal(rng, 6, 8)
    for view in (array.T, array[::2, ::3], array[::-1], np.broadcast_to(array[0], (4, 8))):
        copied = backend.from_numpy(view)
        assert_same_bits(backend.to_numpy(copied), np.ascontiguousarray(view))
        backend.add(copied, copied)  # contiguous: an op takes it


def test_copies_are_copies(backend, rng):
    """Writing to one side is not seen on the other, neither way."""
    array = normal(rng, 4, 4)
    kept = array.copy()
    device = backend.from_numpy(array)
    array[:] = 0
    back = backend.to_numpy(device)
    assert_same_bits(back, kept)
    back[:] = 0
    assert_same_bits(backend.to_numpy(device), kept)


def test_copy_between_every_pair_of_places(backend, rng):
    source = normal(rng, 3, 7)
    (device,) = on_device(backend, source)
    other, host = backend.empty((3, 7)), np.empty((3, 7), np.float32)
    backend.copy(other, device)
    assert_same_bits(backend.to_numpy(other), source)
    backend.copy(host, device)
    backend.synchronize()
    assert_same_bits(host, source)
    backend.copy(other, 2 * source)
    assert_same_bits(backend.to_numpy(other), 2 * source)


def test_copy_into_and_out_of_a_slice(backend, rng):
    source = normal(rng, 5, 4)
    device = backend.zeros((8, 4))
    backend.copy(device[2:7], source)
    expected = np.zeros((8, 4), np.float32)
    expected[2:7] = source
    assert_same_bits(backend.to_numpy(device), expected)
    assert_same_bits(backend.to_numpy(device[3:5]), source[1:3])


@pytest.mark.parametrize(
    ("wrong", "error", "word"),
    [
        (np.zeros((3, 8), np.float32), ValueError, "shape"),
        (np.zeros(7, np.float32), ValueError, "shape"),
        (np.zeros((1, 7), np.float32), ValueError, "shape"),
        (np.zeros((3, 7), np.float64), TypeError, "dtype"),
        (np.zeros((3, 7), np.int32), TypeError, "dtype"),
    ],
)
def test_copy_neither_broadcasts_nor_converts(backend, wrong, error, word):
    destination = backend.from_numpy(np.full((3, 7), 5, np.float32))
    for source in (wrong, backend.from_numpy(wrong)):
        with pytest.raises(error, match=rf"^copy: source has {word}"):
            backend.copy(destination, source)
    assert (backend.to_numpy(destination) == 5).all()


def test_fill(backend):
    array = backend.empty((3, 5))
    backend.fill(array, 2.5)
    backend.fill(array[1], -1)
    assert backend.to_numpy(array).tolist() == [[2.5] * 5, [-1] * 5, [2.5] * 5]


def test_views_share_their_memory(backend):
    """`reshape` and slices, as the contract asks of arrays."""
    array = backend.zeros((4, 6))
    backend.fill(array.reshape((2, 12))[1], 1)
    backend.fill(array[1, 3:5], 2)
    expected = np.zeros((4, 6), np.float32)
    expected[2:], expected[1, 3:5] = 1, 2
    assert_same_bits(backend.to_numpy(array), expected)


def test_memory_info(backend):
    free, total = backend.memory_info()
    assert type(free) is type(total) is int
    assert 0 < free <= total
    assert total > 1 << 26  # bytes, not kilobytes
