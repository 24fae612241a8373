"""The environment of each tool that fedtune is compared with, made on first use."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

#: What each environment has, besides the PyTorch, transformers and NumPy that run here.
ENVIRONMENTS: Mapping[str, tuple[str, ...]] = {
    "trainer": ("accelerate==1.15.0",),
    "flower": ("flwr[simulation]==1.41.0",),
    "pfl": ("pfl[pytorch]==0.6.0",),
}
SAME_AS_HERE = ("torch", "transformers", "numpy")


class LeftOut(Exception):
    """A tool cannot take part, or not any more; the message says why."""


def python_of(environment: str | None, venvs: Path, say: Callable[[str], None]) -> Path:
    """The interpreter that has the packages of ``environment``, made where it is missing.

    Raises LeftOut where that is not possible.
    """
    here = Path(sys.executable)
    if environment is None:
        return here
    wanted = (*ENVIRONMENTS[environment], *(f"{n}=={public_version(n)}" for n in SAME_AS_HERE))
    folder = (venvs / environment).absolute()
    for python in (here, folder / "bin" / "python"):
        if python.exists() and has_packages(python, wanted):
            return python
    say(f"Installing {' '.join(wanted)} into {venvs / environment} (minutes, once) ...")
    python = folder / "bin" / "python"
    run([str(here), "-m", "venv", str(folder)])
    run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
    return python


def public_version(package: str) -> str:
    """The version that runs here, without what a build adds to it."""
    return version(package).partition("+")[0]


def has_packages(python: Path, wanted: Iterable[str]) -> bool:
    """Has that interpreter exactly those versions?"""
    names = dict(requirement.split("==") for requirement in wanted)
    names = {name.partition("[")[0]: number for name, number in names.items()}
    program = (
        "import sys; from importlib.metadata import version; "
        "print(*[version(name).partition('+')[0] for name in sys.argv[1:]])"
    )
    found = subprocess.run([python, "-c", program, *names], capture_output=True, text=True)
    return found.stdout.split() == list(names.values())


def run(command: Sequence[str]) -> None:
    """Run to the end; LeftOut with what it complained of where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LeftOut(f"its environment could not be made: {reason_in(done.stderr)}")


def reason_in(text: str) -> str:
    """The last line of ``text`` that names an error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|[\w.]*(Error|Exception)):", line)]
    return (errors or lines or ["it said nothing"])[-1][:200]
