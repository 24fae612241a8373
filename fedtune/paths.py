"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with its ``~`` as a home; as it is where there is no such home (``~nobody``).

    A shell does this for ``--store ~/trials`` but not for ``--store=~/trials``.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
