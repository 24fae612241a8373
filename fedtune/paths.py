"""Paths as people write them."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import tempfile
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


def link_fault(root: Path, path: Path, *, writes: bool = False) -> str | None:
    """Why what is at ``path``, below ``root``, is not to be touched; None where it may be.

    Nothing is read that a symbolic link has outside of ``root``, and nothing is written through a
    link. ``root`` itself may be one.
    """
    below = [path, *path.parents][: len(path.relative_to(root).parts)]
    links = [each for each in below if each.is_symlink()]
    if not links:
        return None
    instead = "put what it points at in its place"
    if writes:
        return f"{links[-1]} is a symbolic link, and nothing is written through one; {instead}"
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        return None
    return f"{links[-1]} is a symbolic link out of {root}, and none is followed there; {instead}"


def cache_root() -> Path:
    """Where fedtune keeps what it can make again: ``$FEDTUNE_CACHE``, else the user's cache.

    A user without a home, or with one that cannot be written to, as in containers, has a folder
    among the temporary files.
    """
    asked = os.environ.get("FEDTUNE_CACHE")
    if asked:
        return expanded(asked).absolute()
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return expanded(named).absolute() / "fedtune"
    return (expanded("~") if has_home() else temporary_home()) / ".cache" / "fedtune"


def has_home() -> bool:
    """Has the user a home in which caches are, or can be made?"""
    home = expanded("~")
    return home != Path("~") and can_be_made(home / ".cache")


def can_be_made(folder: Path) -> bool:
    """Is there such a folder, or could it be made?"""
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError:  # a name of 300 letters, say
        return False
    return nearest == folder or (nearest.is_dir() and os.access(nearest, os.W_OK))


def temporary_home() -> Path:
    """This user's folder among the temporary files, which nobody else can write to."""
    folder = temporary_home_path()
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found, user = folder.lstat(), _user()
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022
    return folder if own else _of_this_process()


def temporary_home_path() -> Path:
    """Where :func:`temporary_home` is, unless somebody else has put something there."""
    return Path(tempfile.gettempdir(), f"fedtune-{_user()}")


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0  # Windows, where every file has owner 0


@functools.cache
def _of_this_process() -> Path:
    return Path(tempfile.mkdtemp(prefix="fedtune-"))
