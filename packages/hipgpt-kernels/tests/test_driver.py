"""The driver finds the GPU, or says in one sentence why there is none and what to do.

The odd thing: what a machine lacks is tried by taking it away from the module, so the sentences are
tested wherever the tests run.
"""

import builtins
import enum
import types

import pytest

from hipgpt_kernels.hip import driver, presence, runtime
from hipgpt_kernels.hip.driver import calls

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
    monkeypatch.setattr(calls, "hip", lambda: module)


def properties(name="gfx942:sramecc+:xnack-", **changes):
    values = {
        "gcnArchName": name,
        "name": "some GPU",
        "warpSize": 64,
        "multiProcessorCount": 8,
        "totalGlobalMem": 1 << 30,
        "sharedMemPerBlock": 65536,
        "sharedMemPerBlockOptin": 0,
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
    monkeypatch.setattr(calls, "prepare_library", lambda: None)
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
    monkeypatch.setattr(presence, "why_none", lambda: "nobody may open /dev/kfd")
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


def test_the_device_tells_what_it_is(hip):
    device = hip.device
    assert device.name
    assert device.wave in (32, 64)
    assert device.compute_units > 0
    assert device.memory > 1 << 30
    assert device.shared_limit >= 1 << 16
    free, total = hip.memory_info()
    assert 0 < free <= total
