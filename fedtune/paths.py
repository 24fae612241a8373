"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with its ``~`` as a home; as it is where there is no such home (``~nobody``).

    A shell does this for ``--store ~/trials`` but not for ``--store=~/trials``.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def exists(path: str) -> bool:
    """Is there something at this path? Not where it can be none, as a text of 300 letters."""
    try:
        return bool(path) and expanded(path).exists()
    except (OSError, ValueError):
        return False


def cache_root() -> Path:
    """Where fedtune keeps what it can make again: ``$FEDTUNE_CACHE``, else the user's cache."""
    asked = os.environ.get("FEDTUNE_CACHE")
    if asked:
        return Path(asked).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "fedtune"
