"""The doctor: finds nothing where nothing is wrong, and names what is.

The odd thing: what can be wrong with a GPU is put on, by taking the driver's functions away or by
giving the CPU an op that is wrong.
"""

import json
import types

import numpy as np
import pytest

from hipgpt_kernels import backend as contract
from hipgpt_kernels import doctor
from hipgpt_kernels.cpu.backend import CpuBackend
from hipgpt_kernels.doctor import __main__ as program
from hipgpt_kernels.doctor import examination, words
from hipgpt_kernels.doctor.cases import CASES
from hipgpt_kernels.hip import backend as hip_backend
from hipgpt_kernels.hip import build, cache, driver, presence, runtime
from hipgpt_kernels.hip.code import CodeError
from hipgpt_kernels.hip.driver.calls import BAD_MEMORY

MEMORY = {
    *("compute_dtype", "empty", "zeros", "from_numpy", "to_numpy"),
    *("synchronize", "memory_info"),
}
"""What every case uses."""
TOGETHER = {"activation_backward": "activation_forward"}
"""Ops that a case of another one checks too."""


def case_of(op):
    return next(case for case in CASES if case.op == op)


def test_every_op_of_the_contract_has_a_case():
    ops = (contract.Backend.__abstractmethods__ | {"decode_step"}) - MEMORY
    assert {TOGETHER.get(op, op) for op in ops} - {case.op for case in CASES} == set()


def test_the_cpu_is_well():
    report = doctor.examine("cpu")
    assert report.healthy
    (cpu,) = report.devices
    assert len(cpu.checks) >= 25
    assert all(check.error <= check.bound for check in cpu.checks)
    assert words.lines(report)[-1] == "Everything works that should."


def test_numpy_alone_is_well():
    device = doctor.Device("cpu", usable=True)
    examination._run(device, CpuBackend(1), ("float32",), None)
    assert device.failures == []


@pytest.mark.parametrize("damage", ["offset", "nan", "unwritten", "raises"])
def test_a_wrong_kernel_is_named_with_its_error(damage):
    backend = CpuBackend(1)
    right = backend.linear_forward

    def wrong(*args, **keywords):
        out = right(*args, **keywords)
        if damage == "raises":
            raise RuntimeError("no such instruction")
        out[3, 5] += {"offset": 0.01, "nan": np.nan, "unwritten": np.inf}[damage]
        return out

    backend.linear_forward = wrong
    check = examination.run_case(backend, case_of("linear_forward"), "float32")
    assert not check.passed
    line = words.check_line(check)
    assert line.startswith("FAIL float32 linear_forward (bias and residual)")
    expected = {
        "offset": r"out[3, 5] is",
        "nan": "out holds 1 infinities or NaN",
        "unwritten": "out holds 1 infinities or NaN",
        "raises": "RuntimeError: no such instruction",
    }[damage]
    assert expected in line
    if damage == "offset":
        assert check.error == pytest.approx(0.01, rel=1e-3)


def test_a_lost_context_ends_the_examination():
    backend = CpuBackend(1)

    def lost(*_, **__):
        raise driver.HipError("hipModuleLaunchKernel", "hipErrorIllegalAddress", BAD_MEMORY)

    backend.add = lost
    device = doctor.Device("hip:0", usable=True)
    examination._run(device, backend, ("float32",), None)
    assert not device.healthy
    assert device.checks[-1].op == "add"
    assert "the other kernels were not run" in device.problem


# --- devices that cannot be used ----------------------------------------------------------------


def count_gpus(monkeypatch, count):
    """The doctor and `find_device` count GPUs by this function."""
    for module in (driver, driver.device):
        monkeypatch.setattr(module, "device_count", count)


def gpus(monkeypatch, error, *, cards=()):
    def fail(*_):
        raise error

    monkeypatch.setattr(presence, "cards", lambda *_: list(cards))
    count_gpus(monkeypatch, fail)
    return doctor.examine("all", run=False)


NO_LIBRARY = runtime.UnavailableError("no-library", "there is no GPU driver; install ROCm")


def test_a_machine_without_a_gpu_is_healthy(monkeypatch):
    report = gpus(monkeypatch, NO_LIBRARY)
    assert report.healthy
    gpu = report.devices[1]
    assert (gpu.usable, gpu.problem, gpu.remedy) == (
        False,
        "there is no GPU driver",
        "install ROCm",
    )


def test_a_gpu_without_a_driver_is_not(monkeypatch):
    card = presence.Card("AMD", "0000:03:00.0", "1002:74a1")
    report = gpus(monkeypatch, NO_LIBRARY, cards=[card])
    assert not report.healthy
    text = "\n".join(words.lines(report))
    assert "AMD 1002:74a1 at 0000:03:00.0" in text
    assert "problem        there is no GPU driver" in text
    assert text.endswith("Something that should work does not: hip.")


def test_a_gpu_that_was_asked_for_must_be_there(monkeypatch):
    monkeypatch.setattr(presence, "cards", lambda *_: [])
    count_gpus(monkeypatch, lambda: 0)
    report = doctor.examine("hip", run=False)
    assert not report.healthy
    assert report.devices[0].facts["reason"] == "no-device"


def test_one_bad_gpu_among_two(monkeypatch):
    count_gpus(monkeypatch, lambda: 2)

    def make(index, **_):
        if index == 1:
            raise runtime.UnavailableError("unsupported-device", "device 1 is of gfx906; expected")
        return fake_gpu()

    monkeypatch.setattr(hip_backend, "HipBackend", make)
    report = doctor.examine("hip", run=False)
    assert [device.healthy for device in report.devices] == [True, False]
    assert report.devices[1].problem == "device 1 is of gfx906"


def fake_gpu(prepare=lambda: None, place="cached"):
    gpu = types.SimpleNamespace(
        name="some GPU", target="gfx942:xnack-", wave=64, compute_units=8,
        runtime_version=60342134, nvidia=False,
    )  # fmt: skip
    return types.SimpleNamespace(
        device=gpu,
        description="some GPU (gfx942), 1 GiB, HIP",
        memory_info=lambda: (1, 2),
        code=types.SimpleNamespace(place=lambda _: place, prepare=prepare),
    )


def test_a_gpu_with_neither_code_nor_compiler(monkeypatch):
    def prepare():
        raise CodeError("this installation has no add kernels for gfx942 and cannot compile them")

    count_gpus(monkeypatch, lambda: 1)
    monkeypatch.setattr(
        hip_backend, "HipBackend", lambda *_, **__: fake_gpu(prepare, place="missing")
    )
    report = doctor.examine("hip")
    assert not report.healthy
    gpu = report.devices[0]
    assert "no add kernels for gfx942" in gpu.problem
    assert gpu.remedy.startswith("install a compiler")
    assert gpu.facts["kernels"]["missing"] == build.stems()
    assert gpu.facts["runtime"] == "HIP 6.3.42134"


# --- the machine --------------------------------------------------------------------------------


def test_a_damaged_and_an_unwritable_cache_are_noted(monkeypatch, tmp_path):
    monkeypatch.setenv("HIPGPT_CACHE_DIR", str(tmp_path))
    (tmp_path / ("linear-gfx942-" + "0" * 32)).write_bytes(b"cut")
    monkeypatch.setattr(cache, "writable", lambda: False)
    facts, notes = examination.system()
    assert facts["cache"]["damaged"] == ["linear-gfx942-" + "0" * 32]
    assert "1 damaged file in" in notes[0]
    assert "set HIPGPT_CACHE_DIR" in notes[1]


def test_damage_is_told_though_it_is_gone_afterwards(monkeypatch, tmp_path):
    """Whoever asks the cache for a damaged file takes it away."""
    monkeypatch.setenv("HIPGPT_CACHE_DIR", str(tmp_path))
    name = "linear-gfx942-" + "0" * 32
    (tmp_path / name).write_bytes(b"cut")
    count_gpus(monkeypatch, lambda: 1)
    gpu = fake_gpu()
    gpu.code.place = lambda _: "missing" if cache.read(name) is None else "cached"
    monkeypatch.setattr(hip_backend, "HipBackend", lambda *_, **__: gpu)
    report = doctor.examine("hip", run=False)
    assert report.system["cache"]["damaged"] == [name]
    assert not (tmp_path / name).exists()


def test_an_unknown_device_is_refused():
    for name in ("gpu", "cpu:1", "hip:x"):
        with pytest.raises(ValueError, match="expected all, cpu, hip or hip:0"):
            doctor.examine(name)


def test_the_program_prints_json_and_its_status(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HIPGPT_CACHE_DIR", str(tmp_path))
    (tmp_path / ("linear-gfx942-" + "0" * 32)).write_bytes(b"cut")
    status = program.main(["--device", "cpu", "--no-run", "--json", "--clear-cache"])
    found = json.loads(capsys.readouterr().out)
    assert status == 0
    assert found["healthy"]
    assert found["system"]["cache"]["files"] == 0
    count_gpus(monkeypatch, lambda: 0)
    monkeypatch.setattr(presence, "why_none", lambda: "nothing is there")
    assert program.main(["--device", "hip"]) == 1
    assert "remedy         nothing is there" in capsys.readouterr().out


def test_the_gpu_is_well(hip):
    """Every kernel in every dtype."""
    report = doctor.examine(f"hip:{hip.device.index}")
    assert report.healthy, "\n".join(words.lines(report))
    assert {check.dtype for check in report.devices[0].checks} == {"float32", "bf16", "fp16"}
    assert any(check.kernels for check in report.devices[0].checks)
