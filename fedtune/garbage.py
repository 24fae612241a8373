"""When Python looks for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import, or load, without looking for garbage in between.

    What a library makes while it is imported stays, millions of objects, and Python would look at
    all of them again and again: a sixth of the time of importing PyTorch and transformers.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
