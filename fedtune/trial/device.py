"""What a trial needs of a device: the same bits again, and to know its faults from the trial's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

#: What a GPU raises that lacks memory or has broken down. Not the trial's fault: who shares the
#: GPU decides over the first, and after the second nothing computes in that process any more.
DEVICE_ERRORS = (torch.OutOfMemoryError, torch.AcceleratorError)


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """What a GPU needs to give the same bits again; a CPU does so anyway."""
    # cuBLAS is deterministic only with a fixed workspace, set before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings, mode = torch.utils.deterministic, torch.get_deterministic_debug_mode()
    fills = settings.fill_uninitialized_memory  # type: ignore[attr-defined]
    # Else every buffer that is about to be overwritten is filled first.
    settings.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # A warning, since an architecture of the user's may have a step that knows no other way.
    torch.set_deterministic_debug_mode("warn")
    try:
        # Of attention's kernels the plain one: a warning does not make the others deterministic.
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        settings.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
