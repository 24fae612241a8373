"""Which code computed something."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

from fedtune import __version__


@lru_cache(maxsize=1)
def git_commit() -> str:
    """The commit of the clone that fedtune runs from, or its version where it runs from a wheel."""
    here = Path(__file__)
    command = ["git", "-C", str(here.parent)]
    try:
        # An environment inside somebody's clone is not part of it: only tracked files count.
        subprocess.run(
            [*command, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True
        )
        done = subprocess.run([*command, "rev-parse", "HEAD"], check=True, capture_output=True)
        return done.stdout.decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return f"none (version {__version__})"
