"""The most memory that a trial took."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

_KIBIBYTE_MB = 1024 / 1e6
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """From its making on: of the process, or on a GPU what PyTorch has reserved there.

    A process that has trained before keeps what that left: on a CPU kernels compiled for the shapes
    of other texts, up to hundreds of MB. So a processor's peak is known of the ``first`` trial of a
    process only. Only Linux can begin the peak of a process anew; elsewhere it is the peak since
    the process began.
    """

    def __init__(self, device: str, *, first: bool):
        self._device = device
        self._known = first or device.startswith("cuda")
        if device.startswith("cuda"):
            # Else a device with a number is unknown to the next call.
            torch.cuda.init()  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()  # of the trials before
            torch.cuda.reset_peak_memory_stats(device)
        elif _CLEAR.is_file():
            try:
                _CLEAR.write_text("5")  # see proc_pid_clear_refs(5): resets the peak
            except OSError:  # a container may forbid it
                return

    def megabytes(self) -> float | None:
        """The peak until now, in MB (10^6 bytes); None where it is not that of this trial alone."""
        if not self._known:
            return None
        if self._device.startswith("cuda"):
            return torch.cuda.max_memory_reserved(self._device) / 1e6
        lines = _STATUS.read_text().splitlines() if _STATUS.is_file() else []
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KIBIBYTE_MB
        try:
            import resource
        except ImportError:  # Windows
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * _KIBIBYTE_MB
