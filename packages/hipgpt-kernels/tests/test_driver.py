"""The driver: its errors speak, and memory, copies, streams, events and graphs do what they say.

The odd thing: what a machine lacks is tried by taking it away from the module, so the sentences are
tested wherever the tests run; the rest needs a GPU, or the emulator.
"""

import builtins
import enum
import gc
import types

import numpy as np
import pytest

from hipgpt_kernels.hip import driver, runtime
from hipgpt_kernels.hip.dtypes import bfloat16

Status = enum.IntEnum(
    "Status",
    {
        "hipSuccess": 0,
        "hipErrorOutOfMemory": 2,
        "hipErrorNoDevice": 100,
        "hipErrorInvalidDevice": 101,
    },
)


def fake_hip(monkeypatch, **functions):
    """A runtime with these functions alone."""
    module = types.SimpleNamespace(hipSetDevice=lambda _: (Status.hipSuccess,), **functions)
    monkeypatch.setattr(driver, "hip", lambda: module)


def properties(name="gfx942:sramecc+:xnack-", **changes):
    values = {
        "gcnArchName": name,
        "name": "some GPU",
        "warpSize": 64,
        "multiProcessorCount": 8,
        "totalGlobalMem": 1 << 30,
        "sharedMemPerBlock": 65536,
        "sharedMemPerBlockOptin": 0,
        "l2CacheSize": 1 << 20,
    }
    return types.SimpleNamespace(**(values | changes))


def fake_device(monkeypatch, count=1, **changes):
    fake_hip(
        monkeypatch,
        hipGetDeviceCount=lambda: (Status.hipSuccess, count),
        hipGetDeviceProperties=lambda _: (Status.hipSuccess, properties(**changes)),
        hipRuntimeGetVersion=lambda: (Status.hipSuccess, 60342134),
        hipMemGetInfo=lambda: (Status.hipSuccess, 5 << 20, 1 << 30),
        hipMalloc=lambda _: (Status.hipErrorOutOfMemory, None),
    )


@pytest.fixture
def unprepared(monkeypatch):
    """As in a new process."""
    monkeypatch.setattr(runtime, "prepare_library", runtime.prepare_library.__wrapped__)
    return monkeypatch


def reason(action):
    with pytest.raises(runtime.UnavailableError) as caught:
        action()
    return caught.value.reason, str(caught.value)


def test_no_hip_python(unprepared):
    unprepared.setattr(runtime.importlib.util, "find_spec", lambda _: None)
    code, words = reason(runtime.prepare_library)
    assert code == "no-hip-python"
    assert "pip install hip-python" in words


def test_neither_rocm_nor_cuda(unprepared):
    unprepared.setattr(runtime.importlib.util, "find_spec", lambda _: object())
    unprepared.setattr(runtime, "has_rocm", lambda: False)
    unprepared.setattr(runtime, "loads", lambda _: False)
    code, words = reason(runtime.prepare_library)
    assert code == "no-library"
    assert "libamdhip64.so" in words
    assert "libcuda.so.1" in words


def test_cuda_without_the_bridge_or_a_compiler(unprepared, tmp_path):
    unprepared.setattr(runtime.importlib.util, "find_spec", lambda _: object())
    unprepared.setattr(runtime, "has_rocm", lambda: False)
    unprepared.setattr(runtime, "loads", lambda _: True)
    unprepared.setattr(runtime.build, "read_manifest", dict)
    unprepared.setattr(runtime.build, "find_host_compiler", lambda: None)
    unprepared.setenv("HIPGPT_CACHE_DIR", str(tmp_path))
    code, words = reason(runtime.prepare_library)
    assert code == "no-bridge"
    assert "install g++ or clang++" in words


def test_a_damaged_bridge_is_made_again(unprepared, tmp_path):
    """Of a library in the cache that no longer loads."""
    unprepared.setattr(runtime.importlib.util, "find_spec", lambda _: object())
    unprepared.setattr(runtime, "has_rocm", lambda: False)
    unprepared.setattr(runtime, "loads", lambda _: True)
    unprepared.setattr(runtime.build, "read_manifest", dict)
    unprepared.setenv("HIPGPT_CACHE_DIR", str(tmp_path))
    path = tmp_path / f"bridge-{runtime.build.bridge_hash()[:32]}" / "libamdhip64.so"
    path.parent.mkdir()
    path.write_bytes(b"cut short")
    made = []

    def compile_again(output):
        made.append(output)
        output.write_bytes(b"whole")

    def load(path):
        if path.read_bytes() != b"whole":
            raise OSError("file too short")

    unprepared.setattr(runtime.build, "compile_bridge", compile_again)
    unprepared.setattr(runtime, "load_bridge", load)
    assert runtime.prepare_library() == path
    assert made == [path]
    path.write_bytes(b"cut short")
    unprepared.setattr(runtime.build, "compile_bridge", lambda _: None)
    code, words = reason(runtime.prepare_library)
    assert code == "no-bridge"
    assert "cannot be loaded: file too short" in words


def test_hip_python_that_cannot_be_imported(monkeypatch):
    monkeypatch.setattr(driver, "prepare_library", lambda: None)
    original = builtins.__import__

    def without_rocm(name, *args):
        if name.startswith("rocm"):
            raise ImportError("wrong processor")
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_rocm)
    code, words = reason(driver.hip.__wrapped__)
    assert code == "no-hip-python"
    assert "wrong processor" in words


def test_a_driver_without_a_gpu(monkeypatch):
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "7")
    fake_hip(monkeypatch, hipGetDeviceCount=lambda: (Status.hipErrorNoDevice, 32709))
    code, words = reason(driver.find_device)
    assert code == "no-device"
    assert "HIP_VISIBLE_DEVICES='7' is set); unset that variable" in words
    monkeypatch.delenv("HIP_VISIBLE_DEVICES")
    monkeypatch.setattr(driver.presence, "why_none", lambda: "nobody may open /dev/kfd")
    assert reason(driver.find_device)[1].endswith("shows no GPU; nobody may open /dev/kfd")


def test_a_device_number_that_does_not_exist(monkeypatch):
    fake_device(monkeypatch, count=2)
    code, words = reason(lambda: driver.find_device(2))
    assert code == "no-such-device"
    assert "device 2 was asked for and there are 2" in words


@pytest.mark.parametrize("name", ["gfx906:sramecc+", "gfx803", "sm_75", ""])
def test_an_architecture_without_kernels(monkeypatch, name):
    fake_device(monkeypatch, gcnArchName=name)
    code, words = reason(driver.find_device)
    assert code == "unsupported-device"
    assert "expected gfx90a" in words


@pytest.mark.parametrize("name", ["gfx90a", "gfx942", "gfx1030", "gfx1101", "gfx1201", "sm_89"])
def test_architectures_with_kernels(monkeypatch, name):
    fake_device(monkeypatch, gcnArchName=name)
    device = driver.find_device()
    assert device.architecture == name
    assert device.nvidia == name.startswith("sm_")


def test_features_are_cut_off_the_architecture(monkeypatch):
    fake_device(monkeypatch)
    device = driver.find_device()
    assert (device.architecture, device.target) == ("gfx942", "gfx942:sramecc+:xnack-")


def test_too_little_memory_says_how_much(monkeypatch):
    fake_device(monkeypatch)
    with pytest.raises(driver.OutOfMemoryError, match=r"64\.0 MiB were asked for and 5\.0 of"):
        driver.find_device().allocate(64 << 20)


def test_an_error_names_call_code_and_remedy(monkeypatch):
    fake_hip(monkeypatch, hipStreamSynchronize=lambda _: (Status.hipErrorInvalidDevice,))
    with pytest.raises(driver.HipError) as caught:
        driver.call("hipStreamSynchronize", 0)
    error = caught.value
    assert (error.call, error.code) == ("hipStreamSynchronize", "hipErrorInvalidDevice")
    assert str(error) == f"{error.call} failed with {error.code}; {error.remedy}"


# --- with a GPU ---------------------------------------------------------------------------------


def test_the_device_tells_what_it_is(hip):
    device = hip.device
    assert device.name
    assert device.wave in (32, 64)
    assert device.compute_units > 0
    assert device.memory > 1 << 30
    assert device.shared_limit >= 1 << 16
    free, total = hip.memory_info()
    assert 0 < free <= total


@pytest.mark.parametrize("size", [0, 1, 3, 1000, (4 << 20) // 4, (9 << 20) // 4 + 1])
def test_bytes_come_back_as_they_went(hip, rng, size):
    """Sizes around the halves of the page-locked memory that copies go through."""
    values = rng.standard_normal(size, dtype=np.float32)
    assert (hip.to_numpy(hip.from_numpy(values)) == values).all()


def test_an_upload_may_be_followed_by_a_change(hip):
    """What was given to from_numpy is the caller's again at once."""
    values = np.zeros(3 << 20, np.float32)
    arrays = []
    for number in range(4):
        values[:] = number
        arrays.append(hip.from_numpy(values))
    for number, array in enumerate(arrays):
        assert (hip.to_numpy(array) == number).all()


def test_copies_with_gaps(hip, rng):
    values = rng.standard_normal((2, 3, 4, 5, 6), dtype=np.float32)
    array = hip.from_numpy(values)
    view = array[:, 1:, ::2].transpose(0, 2, 1, 4, 3)
    assert (hip.to_numpy(view) == values[:, 1:, ::2].transpose(0, 2, 1, 4, 3)).all()
    target = hip.zeros((2, 3, 4, 5, 6))
    hip.copy(target[:, 1:, ::2], array[:, :2, 1::2])
    expected = np.zeros_like(values)
    expected[:, 1:, ::2] = values[:, :2, 1::2]
    assert (hip.to_numpy(target) == expected).all()
    hip.copy(target[:, 0], values[:, 2])
    expected[:, 0] = values[:, 2]
    assert (hip.to_numpy(target) == expected).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int32, np.int64, bfloat16])
@pytest.mark.parametrize("size", [1, 5, 16, 1003])
def test_fill(hip, dtype, size):
    array = hip.zeros((size + 2,), dtype)
    hip.fill(array[1 : size + 1], 7)
    result = hip.to_numpy(array)
    assert (result[1:-1] == 7).all()
    assert result[0] == result[-1] == 0
    hip.fill(array[::2], 3)
    result[::2] = 3
    assert (hip.to_numpy(array) == result).all()


def test_fill_refuses_what_an_integer_cannot_hold(hip):
    with pytest.raises(ValueError, match=r"value is 0\.5, which int32 cannot hold"):
        hip.fill(hip.zeros((3,), np.int32), 0.5)


@pytest.mark.parametrize("size", [1, 4, 1001])
@pytest.mark.parametrize("dtype", [bfloat16, np.float16])
def test_convert_rounds_to_nearest_even(hip, rng, size, dtype):
    """There and back, against what the host does; with infinities, NaN and subnormals."""
    values = (rng.standard_normal(size) * 10.0 ** rng.integers(-8, 6, size)).astype(np.float32)
    values[:: max(1, size // 5)] = np.inf
    if size > 8:
        values[1:4] = np.nan, -np.inf, np.float32(2**-24)
    expected = hip.to_numpy(hip.from_numpy(values, dtype))
    narrow = hip.convert(hip.from_numpy(values), dtype)
    assert narrow.dtype == dtype
    np.testing.assert_array_equal(hip.to_numpy(narrow), expected)
    wide = hip.convert(narrow, np.float32)
    np.testing.assert_array_equal(hip.to_numpy(wide), expected.astype(np.float32))


@pytest.mark.parametrize("dtype", [bfloat16, np.float16])
def test_add_in_low_precision(hip, rng, dtype):
    x, y = (hip.from_numpy(rng.standard_normal(1001, dtype=np.float32), dtype) for _ in range(2))
    total = hip.to_numpy(x).astype(np.float32) + hip.to_numpy(y).astype(np.float32)
    expected = hip.to_numpy(hip.from_numpy(total, dtype))
    np.testing.assert_array_equal(hip.to_numpy(hip.add(x, y)), expected)


def test_events_measure_time(hip):
    first, last = driver.Event(), driver.Event()
    first.record(hip.stream)
    hip.fill(hip.empty((1000,)), 1.0)
    last.record(hip.stream)
    assert last.milliseconds_since(first) >= 0.0


def test_a_stream_waits_for_another(hip):
    other = driver.Stream(hip.device)
    array = hip.empty((1000,))
    hip.fill(array, 5.0)
    event = driver.Event(timing=False)
    event.record(hip.stream)
    other.wait(event)
    copy = hip.zeros((1000,))
    hip.synchronize()
    other.copy_on_device(copy.pointer, array.pointer, array.nbytes)
    other.synchronize()
    assert (hip.to_numpy(copy) == 5).all()


def test_a_graph_does_its_work_each_time(hip, rng):
    values = rng.standard_normal(1000, dtype=np.float32)
    x, step = hip.from_numpy(values), hip.zeros((1000,))
    hip.fill(step, 1.0)
    hip.add(x, step, out=hip.empty((1000,)))  # the kernel is loaded before the capture
    with hip.capture() as graph:
        twice = hip.add(step, step)
        hip.add(x, twice, out=x)
        del twice
    assert (hip.to_numpy(x) == values).all()  # captured, not done
    hip.fill(hip.empty((1000,)), -1.0)  # gets no memory of the graph's
    graph.launch()
    graph.launch()
    np.testing.assert_allclose(hip.to_numpy(x), values + 4, rtol=1e-6)


def test_captured_ops_hand_memory_on_and_nobody_else_gets_it(hip, rng):
    values = rng.standard_normal(300_000, dtype=np.float32)
    x, y = hip.from_numpy(values), hip.from_numpy(values)
    hip.add(x, y)
    with hip.capture() as graph:
        for _ in range(10):
            x_plus_y = hip.add(x, y)
            hip.add(x_plus_y, y, out=y)
            del x_plus_y
        last = hip.add(x, y)
    memory, _side = graph.kept
    assert memory.nbytes < 3 * values.nbytes  # one for the sums, one for the last
    cached = hip.pool.cached
    others = [hip.empty((300_000,)) for _ in range(4)]
    for other in others:
        hip.fill(other, np.nan)
    graph.launch()
    for other in others:
        hip.fill(other, np.nan)
    expected = hip.to_numpy(last)
    assert np.isfinite(expected).all()
    del graph, memory, others
    np.testing.assert_array_equal(hip.to_numpy(last), expected)  # the array still has its memory
    del last
    assert hip.pool.cached > cached


def test_waiting_inside_a_capture_is_refused_and_leaves_the_stream_usable(hip):
    x = hip.zeros((10,))

    def wait_inside():
        with hip.capture() as graph:
            graphs.append(graph)
            hip.add(x, x, out=x)
            hip.stream.synchronize()

    graphs = []
    with pytest.raises(driver.HipError, match="StreamCapture"):
        wait_inside()
    (graph,) = graphs
    with pytest.raises(RuntimeError, match="not captured to its end"):
        graph.launch()
    hip.fill(x, 2.0)
    assert (hip.to_numpy(x) == 2).all()


def test_memory_is_used_again(hip):
    hip.pool.trim()
    first = hip.empty((12345,))
    pointer = first.pointer
    del first
    gc.collect()
    assert hip.pool.cached > 0
    assert hip.empty((12345,)).pointer == pointer
    gc.collect()
    hip.pool.trim()
    assert hip.pool.cached == 0


def test_more_memory_than_there_is(hip):
    with pytest.raises(MemoryError, match="were asked for"):
        hip.empty((hip.device.memory,), np.float32)


def test_a_code_object_for_another_gpu_is_refused(hip):
    with pytest.raises(driver.HipError):
        driver.Module(hip.device, b"\x7fELF" + bytes(200))


def test_a_kernel_that_does_not_exist(hip):
    with pytest.raises(driver.HipError, match="hipErrorNotFound"):
        hip.function("basic", "no_such_kernel")
