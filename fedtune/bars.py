"""Progress bars outside of a launch, in a terminal and in a notebook. They are gone at the end."""

from __future__ import annotations

import io
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
        disable=not (wanted and (in_notebook() or stream().isatty())),
        file=stream(),
    )


def stream() -> IO[str]:
    """Where progress is shown: standard error, which a notebook would colour as an error."""
    found = sys.stdout if in_notebook() else sys.stderr
    # None in a daemon and in a program without a console.
    return io.StringIO() if found is None or found.closed else found


def in_notebook() -> bool:
    """Is this process the kernel of a notebook?"""
    return "ipykernel.zmqshell" in sys.modules
