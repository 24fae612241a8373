"""What hardware is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtune import machine
from fedtune.machine import free_memory

GB = 1e9


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((9, 0), ["sm_75", "sm_80", "sm_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((8, 6), ["sm_75", "sm_80", "sm_90"], True),  # code for an older one of its kind
        ((8, 0), ["sm_75", "sm_86", "sm_90"], False),  # only for a newer one
        ((7, 0), ["sm_75", "sm_80", "sm_90", "compute_90"], False),
        ((12, 0), ["sm_90", "compute_90"], True),  # compiled on the spot
        ((12, 0), ["sm_90", "sm_100"], False),
        ((9, 4), ["gfx942"], True),
        ((9, 0), [], True),
    ],
)
def test_a_gpu_for_which_pytorch_has_no_code_is_no_device(
    capability: tuple[int, int], built_for: list[str], runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine.has_kernels(capability, built_for) == runs
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda number: capability)
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: built_for)
    assert machine.device_exists("cuda") == runs
    assert machine.device_exists("cuda:1") == runs
    assert machine.device_exists("cpu")
    assert not machine.device_exists("cuda:2")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    8000000 kB\n")
    return folder


def test_free_memory_is_what_the_system_says(proc: Path, tmp_path: Path) -> None:
    assert free_memory(proc, tmp_path / "nothing") == 8_000_000 * 1024


@pytest.mark.parametrize("version", [1, 2])
def test_free_memory_is_within_the_limit_of_a_container(
    version: int, proc: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cgroup" / ("memory" if version == 1 else "")
    folder.mkdir(parents=True)
    files = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }
    limit, usage, cache = files[version]
    (folder / limit).write_text("4000000000\n")
    (folder / usage).write_text("3000000000\n")
    (folder / "memory.stat").write_text(f"anon 1\n{cache} 500000000\n")

    assert free_memory(proc, tmp_path / "cgroup") == 1.5 * GB

    if version == 2:
        (folder / limit).write_text("max\n")
        assert free_memory(proc, tmp_path / "cgroup") == 8_000_000 * 1024


@pytest.mark.parametrize(
    ("controllers", "limit", "usage"),
    [
        ("", "memory.max", "memory.current"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_free_memory_is_within_the_limit_of_a_job(
    controllers: str, limit: str, usage: str, proc: Path, tmp_path: Path
) -> None:
    """A scheduler's: the process is in a group below the one that has the limit."""
    (proc / "self").mkdir()
    (proc / "self" / "cgroup").write_text(f"7:pids:/x\n4:{controllers}:/slurm/job_7/step_0\n")
    job = tmp_path / "cgroup" / controllers / "slurm" / "job_7"
    (job / "step_0").mkdir(parents=True)
    (job / limit).write_text("2000000000\n")
    (job / usage).write_text("500000000\n")
    (job / "memory.stat").write_text("anon 1\n")

    assert free_memory(proc, tmp_path / "cgroup") == 1.5 * GB
