"""What this machine has for trials, what part of it each is given, how many run at a time."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from pathlib import Path

from fedtune.cost.memory import disk, need
from fedtune.errors import BadInput, Fault
from fedtune.machine import Machine, available_cores, free_memory
from fedtune.trial.identity import Trial
from fedtune.units import size

#: Trials on one GPU at the most: each more slows the others down, and has a context of its own.
MOST_SHARERS = 16

#: Memory is asked for in steps of so many bytes. Ray gives a worker, with all that it has imported,
#: to another trial only where the two ask for exactly the same.
MEMORY_STEP = 0.5e9

#: Ray sets 30 % of the memory aside for objects that tasks share. Trials share none, so most of it
#: is for them; Ray takes no less than 75 MB.
OBJECT_STORE_BYTES = 200_000_000


def this_machine(trials: Iterable[Trial], *, with_ray: bool) -> Machine:
    """What there is here and now for ``trials``, which Ray runs or which run in this process.

    Of GPUs only where one of them runs there: to look takes half a gigabyte of each.
    """
    import torch

    wanted = any(str(trial.config.device).startswith("cuda") for trial in trials)
    count = torch.cuda.device_count() if wanted and torch.cuda.is_available() else 0
    gpus = (float(torch.cuda.mem_get_info(number)[0]) for number in range(count))
    memory = free_memory() - (OBJECT_STORE_BYTES if with_ray else 0)
    return Machine(available_cores(), memory, tuple(gpus))


def sharers(needed: float, total: float) -> int:
    """How many trials that need ``needed`` bytes fit on a GPU with ``total``; 0 where none does."""
    return min(int(total // needed), MOST_SHARERS)


def gpu_share(needed: float, total: float) -> float:
    """The part of a GPU that a trial is given: one nth where n of its kind fit.

    To four digits it is no less than the part of the memory that the trial needs, so that trials of
    all kinds whose parts add up to 1 fit together. Rounded down, as Ray counts four digits: three
    thirds that are rounded up would be more than a whole.
    """
    return math.floor(1e4 / max(sharers(needed, total), 1)) / 1e4


def request(
    trial: Trial, machine: Machine | None, most_memory: float = math.inf
) -> dict[str, float]:
    """What the trial asks Ray for: ``cpu``, ``gpu``, ``memory`` (bytes, at most ``most_memory``).

    ``machine`` is where it will run; where that is not known (None: a cluster) it gets a whole GPU.
    A GPU with a number is the user's own choice, and Ray would hide all but one and renumber it; so
    that is no ``gpu`` but a resource of its own, by the name of the device.
    """
    device, needs = str(trial.config.device), need(trial)
    memory = math.ceil(needs.memory / MEMORY_STEP) * MEMORY_STEP
    asked = {
        "cpu": float(trial.config.threads),
        "gpu": 1.0 if device == "cuda" else 0.0,
        "memory": float(int(min(memory, most_memory))),
    }
    gpus = machine.gpus_for(device) if machine else ()
    if gpus:  # which of them Ray chooses is not known, so the part is that of the smallest
        asked["gpu" if device == "cuda" else device] = gpu_share(needs.gpu_memory, min(gpus))
    return asked


def places(trial: Trial, machine: Machine) -> dict[str, int]:
    """How many trials like this one there is room for at a time, by what limits them."""
    needs, gpus = need(trial), machine.gpus_for(str(trial.config.device))
    found = {
        "cores": machine.cores // int(trial.config.threads),
        "memory": int(machine.memory // request(trial, machine, machine.memory)["memory"]),
    }
    if gpus:
        found["GPU"] = len(gpus) * sharers(needs.gpu_memory, min(gpus))
    return found


def at_once(trials: Iterable[Trial], machine: Machine) -> tuple[int, int]:
    """How many trials run at a time: when the largest run, and when the smallest do."""
    found = [max(min(places(trial, machine).values()), 1) for trial in trials]
    return min(found, default=1), max(found, default=1)


def check_fits(trials: Iterable[Trial], machine: Machine) -> None:
    """Raise BadInput with every model that this machine cannot train for want of memory."""
    faults: dict[str, Fault] = {}
    for trial in trials:
        needs, device = need(trial), str(trial.config.device)
        gpus = machine.gpus_for(device)
        if needs.memory > machine.memory:
            fault = too_large(trial, needs.memory, machine.memory, "this machine has free")
            faults[str(fault)] = fault
        if gpus and needs.gpu_memory > min(gpus):
            fault = too_large(trial, needs.gpu_memory, min(gpus), f"device {device} has")
            faults[str(fault)] = fault
    if faults:
        raise BadInput(faults.values())


def check_disk(trials: Iterable[Trial], store: Path) -> None:
    """Raise BadInput where there is no room in the store for what strategies keep of clients."""
    needs = {trial: disk(trial) for trial in trials}
    there = next(path for path in (store, *store.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if sum(needs.values()) > free:
        largest = max(needs, key=lambda trial: needs[trial])
        raise BadInput.of(
            "strategy",
            largest.config.strategy,
            f"keeps up to two vectors for each client on disk, {size(needs[largest])} for "
            f"{largest.config.clients} clients and {size(sum(needs.values()))} in all trials, and "
            f"the disk of {store} has {size(free)} free; lower clients, or choose another --store",
        )


def too_large(trial: Trial, needed: float, there: float, who: str) -> Fault:
    """What to say of a trial that needs more memory than ``who`` has; in bytes."""
    config = trial.config
    return Fault(
        "model",
        config.model,
        f"needs about {needed / 1e9:.1f} GB of memory with batch_size {config.batch_size}, "
        f"max_length {config.max_length} and {config.client_optimizer}, and {who} only "
        f"{there / 1e9:.1f} GB; lower batch_size or max_length, or choose a smaller model",
    )
