"""`hipgpt doctor`: the report, its JSON, and an exit status that scripts can rely on."""

import json

import pytest

from hipgpt_kernels import doctor


def test_the_cpu_is_well(run):
    result = run("doctor", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "Everything works that should." in result.stdout
    assert "checks of every op, forward and backward: all right" in result.stdout


def test_json_and_verbose(run):
    found = json.loads(run("doctor", "--device", "cpu", "--json").stdout)
    assert found["healthy"] is True
    assert {check["op"] for check in found["devices"][0]["checks"]} >= {"linear_forward", "sample"}
    assert "ok   float32 attention_backward" in run("doctor", "--device", "cpu", "--verbose").stdout


def test_what_fails_decides_the_status(run, monkeypatch):
    device = doctor.Device("hip", usable=False, problem="it is broken", remedy="mend it")
    real = doctor.examine("cpu", run=False)
    monkeypatch.setattr(
        doctor, "examine", lambda *_, **__: doctor.Report(real.system, [], [device]), raising=False
    )
    result = run("doctor")
    assert result.exit_code == 1
    assert "problem        it is broken" in result.stdout
    assert "Something that should work does not: hip." in result.stdout


def test_the_cache_is_cleared(run, monkeypatch, tmp_path):
    monkeypatch.setenv("HIPGPT_CACHE_DIR", str(tmp_path / "kernels"))
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / ("add-gfx942-" + "0" * 32)).write_text("x")
    result = run("doctor", "--device", "cpu", "--no-run", "--clear-cache")
    assert "1 compiled kernel removed" in result.stderr
    assert list((tmp_path / "kernels").iterdir()) == []


@pytest.mark.parametrize("name", ["gpu", "hip:x"])
def test_an_unknown_device(run, name):
    result = run("doctor", "--device", name)
    assert result.exit_code == 2
    assert "expected all, cpu, hip or hip:0" in result.stderr
