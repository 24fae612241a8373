"""Progress bars outside of a launch, in a terminal and in a notebook. They are gone at the end."""

from __future__ import annotations

import sys
from typing import IO, Any


def new_bar(what: str, total: int, wanted: bool = True) -> Any:
    """A tqdm bar: on a terminal, in a notebook, and nowhere else."""
    if in_notebook():
        from tqdm.auto import tqdm  # widgets, where they are installed
    else:
        from tqdm import tqdm
    return tqdm(
        total=total,
        desc=what,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
        leave=False,
        dynamic_ncols=True,
        disable=not (wanted and (in_notebook() or sys.stderr.isatty())),
        file=stream(),
    )


def stream() -> IO[str]:
    """Where progress is shown: standard error, which a notebook would colour as an error."""
    return sys.stdout if in_notebook() else sys.stderr


def in_notebook() -> bool:
    """Is this process the kernel of a notebook?"""
    return "ipykernel.zmqshell" in sys.modules
