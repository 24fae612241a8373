"""Paths as people write them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

#: What tells whether a file has changed: its path, device and inode, size, and its two times.
FileState = tuple[str, int, int, int, int, int]


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


def states(files: Iterable[Path]) -> tuple[FileState, ...]:
    """What tells whether any of ``files`` has changed; those that are not there are left out.

    The time of the last change of the inode (ctime) is part of it, since that of the content is
    what an archive or ``cp -p`` says it is.
    """
    found = []
    for file in files:
        try:
            seen = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        inode = (seen.st_dev, seen.st_ino)
        found.append((str(file), *inode, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
    return tuple(found)


def follow_umask(folder: Path) -> None:
    """Give the files in ``folder`` the mode that a new file has.

    Some libraries write by way of temporary files, which nobody else may read.
    """
    sample = folder / f".mode.{os.getpid()}"
    sample.touch()
    mode = stat.S_IMODE(sample.stat().st_mode)
    sample.unlink()
    for path in folder.iterdir():
        if path.is_file():
            path.chmod(mode)


def cache_root() -> Path:
    """Where fedtune keeps what it can make again: ``$FEDTUNE_CACHE``, else the user's cache."""
    asked = os.environ.get("FEDTUNE_CACHE")
    if asked:
        return expanded(asked).absolute()
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache").absolute() / "fedtune"
