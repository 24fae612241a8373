"""Samples of what a trial's process takes while it runs, on request (``system_metrics``).

They are kept in ``system.jsonl`` beside the round log, a line each, under the names that MLflow
shows among its system metrics.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fedtune.trial.round_log import is_count, is_number

#: Seconds between two samples.
INTERVAL_S = 5.0

#: Present in every sample.
SAMPLE_MARKER = "system/process_cpu_percentage"

_STATM = Path("/proc/self/statm")


@contextmanager
def sampled(path: Path, device: str) -> Iterator[None]:
    """Append a sample to the file at ``path`` every INTERVAL_S, and one at the end."""
    stop = threading.Event()
    thread = threading.Thread(target=_sample, args=(path, device, stop), name="samples")
    thread.daemon = True
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The samples of a file, in order; a line that was cut off, or is none, is left out."""
    samples = []
    for line in path.read_bytes().split(b"\n"):
        try:
            sample = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_sample(sample):
            samples.append(sample)
    return samples


def _is_sample(value: object) -> bool:
    if not isinstance(value, dict) or not is_count(value.get("unix_ms")):
        return False
    return SAMPLE_MARKER in value and all(map(is_number, value.values()))


def _sample(path: Path, device: str, stop: threading.Event) -> None:
    _end_line(path)
    ended = False
    while not ended:
        wall, cpu = time.monotonic(), time.process_time()
        ended = stop.wait(INTERVAL_S)
        share = (time.process_time() - cpu) / max(time.monotonic() - wall, 1e-9)
        sample = {"unix_ms": round(1000 * time.time()), SAMPLE_MARKER: round(100 * share, 1)}
        sample |= _memory() | _gpu(device)
        try:
            with path.open("a") as file:
                file.write(json.dumps(sample) + "\n")
        except OSError:  # a full disk, a folder that was removed: the next commit tells
            return


def _end_line(path: Path) -> None:
    """End the line that an earlier process was killed in."""
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        with path.open("a") as file:
            file.write("\n")


def _memory() -> dict[str, float]:
    """What the process holds, in MB (10^6 bytes), where the system tells it."""
    if not _STATM.is_file():
        return {}
    pages = int(_STATM.read_text().split()[1])
    return {"system/process_memory_megabytes": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)}


def _gpu(device: str) -> dict[str, float]:
    """How full the trial's GPU is, whoever fills it, and what of that are the trial's tensors."""
    if not device.startswith("cuda"):
        return {}
    number = torch.device(device).index or 0
    free, total = torch.cuda.mem_get_info(number)
    return {
        f"system/gpu_{number}_memory_usage_megabytes": round((total - free) / 1e6, 1),
        f"system/gpu_{number}_memory_usage_percentage": round(100 * (total - free) / total, 1),
        f"system/gpu_{number}_tensors_megabytes": round(
            torch.cuda.memory_allocated(number) / 1e6, 1
        ),
    }
