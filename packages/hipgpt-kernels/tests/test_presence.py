"""What /sys and /dev say about a GPU that no driver shows, on machines made of files."""

import os

import pytest

from hipgpt_kernels.hip import presence


def machine(root, *cards):
    """A machine with these (vendor, class) on its PCI bus."""
    for number, (vendor, kind) in enumerate(cards):
        folder = root / "sys/bus/pci/devices" / f"0000:{number:02}:00.0"
        folder.mkdir(parents=True)
        for name, text in (("vendor", vendor), ("class", kind), ("device", "0x74a1")):
            (folder / name).write_text(f"{text}\n")
    return root


AMD, NVIDIA, NETWORK = ("0x1002", "0x120000"), ("0x10de", "0x030200"), ("0x10de", "0x020000")


def put(root, *names, mode=0o666):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
        (root / name).chmod(mode)


def test_cards_are_told_from_other_devices(tmp_path):
    found = presence.cards(machine(tmp_path, NETWORK, AMD, NVIDIA))
    assert [card.vendor for card in found] == ["AMD", "NVIDIA"]
    assert str(found[0]) == "AMD 1002:74a1 at 0000:01:00.0"


def test_no_card(tmp_path):
    assert presence.why_none(tmp_path) == "no AMD or NVIDIA GPU is on this machine's PCI bus"


def test_amd_without_its_module(tmp_path):
    words = presence.why_none(machine(tmp_path, AMD))
    assert "/dev/kfd is not: the kernel's module amdgpu is not loaded; try sudo modprobe" in words


def test_amd_in_a_container(tmp_path):
    put(machine(tmp_path, AMD), ".dockerenv")
    assert "--device=/dev/kfd --device=/dev/dri" in presence.why_none(tmp_path)


@pytest.mark.parametrize("closed", ["dev/kfd", "dev/dri/renderD128"])
def test_amd_that_this_user_may_not_open(tmp_path, monkeypatch, closed):
    put(machine(tmp_path, AMD), "dev/kfd", "dev/dri/renderD128")
    allowed = os.access
    monkeypatch.setattr(
        presence.os,
        "access",
        lambda path, mode: not str(path).endswith(closed) and allowed(path, mode),
    )
    words = presence.why_none(tmp_path)
    group = (tmp_path / closed).group()
    assert words == (
        f"you may not open /{closed}, which belongs to the group {group}: "
        f"sudo usermod -aG {group},video $USER, then log in again"
    )


def test_amd_that_rocm_does_not_show(tmp_path):
    put(machine(tmp_path, AMD), "dev/kfd", "dev/dri/renderD128")
    assert "may be opened, but ROCm's runtime shows no GPU" in presence.why_none(tmp_path)


def test_nvidia_without_its_module_and_in_a_container(tmp_path):
    machine(tmp_path, NVIDIA)
    assert "module nvidia is not loaded" in presence.why_none(tmp_path)
    put(tmp_path, "run/.containerenv")
    assert "--gpus all" in presence.why_none(tmp_path)


def test_nvidia_that_cuda_does_not_show(tmp_path):
    put(machine(tmp_path, NVIDIA), "dev/nvidiactl", "dev/nvidia0")
    assert "CUDA's driver shows no GPU" in presence.why_none(tmp_path)


def test_versions_of_the_modules(tmp_path):
    assert presence.driver_version(tmp_path) == ""
    put(tmp_path, "sys/module/amdgpu/version")
    (tmp_path / "sys/module/amdgpu/version").write_text("6.12.12\n")
    assert presence.driver_version(tmp_path) == "amdgpu 6.12.12"
