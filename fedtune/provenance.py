"""Which code computed something, and on what."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fedtune import __version__


@lru_cache(maxsize=1)
def git_commit() -> str:
    """The commit of the clone that fedtune runs from, or its version where it runs from a wheel."""
    here = Path(__file__)
    # An environment inside a clone is not part of it: only tracked files count.
    tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)
    return (tracked and _git(here.parent, "rev-parse", "HEAD")) or f"none (version {__version__})"


def committed_at(path: Path) -> str | None:
    """When the content of this file was committed (ISO 8601); None where it is not."""
    folder = path.absolute().parent
    if _git(folder, "status", "--porcelain", "--ignored", "--", path.name) != "":
        return None
    return _git(folder, "log", "-1", "--format=%cI", "--", path.name) or None


def user() -> str | None:
    """Who runs this; None where the system knows no name, as in some containers."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return None


def command() -> str:
    """What runs this, in a word or two: ``fedtune run``, or the name of a script of one's own."""
    program, *words = sys.argv or [""]
    path = Path(program)
    if path.name != "fedtune" and path.parts[-2:] != ("fedtune", "__main__.py"):
        return path.name or "Python"
    return " ".join(["fedtune", *(word for word in words[:1] if not word.startswith("-"))])


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints there; None where it fails, or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode().strip()


@lru_cache(maxsize=8)
def hardware(device: str) -> str:
    """The processor and its cores, and the GPU where ``device`` is one."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(named, name)
    told = f"{name}, {os.cpu_count()} cores"
    if not device.startswith("cuda"):
        return told
    import torch

    return f"{torch.cuda.get_device_name(device)}, {told}"


@lru_cache(maxsize=1)
def libraries() -> str:
    """The versions of what the numbers of a trial depend on."""
    told = [f"Python {platform.python_version()}"]
    for package in ("torch", "transformers", "tokenizers", "datasets"):
        try:
            told.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue  # trials run from token files need no `datasets`
    return ", ".join(told)
