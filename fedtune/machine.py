"""What hardware is here: cores, memory, GPUs, and what they can multiply."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_BF16_INSTRUCTIONS = ("avx512_bf16", "amx_tile")


@dataclass(frozen=True)
class Machine:
    """Processor cores, and the bytes that are free in memory and on each GPU."""

    cores: int
    memory: float
    gpus: tuple[float, ...] = ()

    def gpus_for(self, device: str) -> tuple[float, ...]:
        """The memory of the GPUs that a trial with this ``device`` may run on; none on a CPU."""
        kind, _, index = device.partition(":")
        if kind != "cuda":
            return ()
        return self.gpus[int(index) : int(index) + 1] if index else self.gpus


def available_cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_exists(device: str) -> bool:
    """Has this machine the device ("cpu", "cuda" or "cuda:N"), and this PyTorch code for it?"""
    import torch

    kind, _, index = device.partition(":")
    number = int(index or 0)
    if kind == "cpu" or not torch.cuda.is_available() or number >= torch.cuda.device_count():
        return kind == "cpu"
    return has_kernels(torch.cuda.get_device_capability(number), torch.cuda.get_arch_list())


def has_kernels(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Can a GPU run what PyTorch was built for (``sm_90`` and the like)?

    Code for one runs on those of the same major number that are no older; ``compute_NN`` is
    compiled on the spot for anything newer. PyTorch itself would only say so at the first kernel.
    """
    major, minor = capability
    for name in built_for:
        kind, _, number = name.partition("_")
        digits = number.rstrip("af")
        if not digits.isdecimal():
            return True  # not NVIDIA's names: nothing is known
        least = divmod(int(digits), 10)
        if kind == "compute" and (major, minor) >= least:
            return True
        if kind == "sm" and major == least[0] and minor >= least[1]:
            return True
    return not built_for


def has_bf16(device: str) -> bool:
    """Does the device multiply bf16 matrices in hardware, and so gain from it?

    Elsewhere they are slower than fp32 ones: a CPU without the instructions converts back and
    forth.
    """
    import torch

    kind, _, index = device.partition(":")
    if kind == "cuda":
        return torch.cuda.get_device_capability(int(index or 0)) >= (8, 0)
    # Private, as there is no other way before torch 2.13 (torch.cpu.get_capabilities).
    known = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in _BF16_INSTRUCTIONS)
    return kind == "cpu" and any(asks() for asks in known if asks)


def free_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes of memory that programs could still take, within the limit of a container or a job.

    Where the system does not say what is free, all that is built in (macOS) or no limit (Windows).
    """
    return min(_free_on_machine(proc), *map(_free_in_group, _groups(proc, cgroup)))


def _free_on_machine(proc: Path) -> float:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        return 1024.0 * next(int(li.split()[1]) for li in lines if li.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        if not hasattr(os, "sysconf"):  # Windows
            return math.inf
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


#: Where a control group tells its limit, what it uses, and what of that are files that were read,
#: by version; such files count as used, and make way for programs.
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _groups(proc: Path, cgroup: Path) -> Iterator[Path]:
    """The folders of the control groups that limit this process's memory, from its own outwards.

    A scheduler limits a job in a group of its own. Inside a container its group is the root.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in ["0::/", "0:memory:/", *lines]:  # see cgroups(7): number:controllers:path
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = cgroup / controllers
            own = root / path.lstrip("/")
            yield from (own, *(each for each in own.parents if each.is_relative_to(root)))


def _free_in_group(folder: Path) -> float:
    for limit, usage, cache in _GROUP_FILES:
        try:
            most, used = (int((folder / name).read_text()) for name in (limit, usage))
            lines = (folder / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):  # not this version, or "max": no limit
            continue
        return most - used + int(dict(line.split() for line in lines).get(cache, 0))
    return math.inf
