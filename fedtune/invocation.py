"""How this program was started, and so which commands work where the user stands.

A console script may be on the PATH or not, the program may be ``python -m fedtune``, or the child
of what the user typed instead: ``make demo``, ``mlflow run .``, a script of theirs. Whoever wraps
fedtune sets ``FEDTUNE_COMMAND`` to the command that starts it again; ``mlflow run`` is recognised.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from fedtune.redaction import redact_words, redacted

VARIABLE = "FEDTUNE_COMMAND"


def fedtune_command(*words: str) -> str:
    """``fedtune WORDS`` as it can be typed here: ``.venv/bin/fedtune report``, say."""
    return shlex.join([*_program(), *redact_words(words)])


def command_beside(script: str) -> str:
    """Another command of this environment (``mlflow``) as it can be typed here."""
    found = Path(sys.executable).with_name(script)
    return shlex.quote(_typed(found)) if found.is_file() else script


def same_command() -> str:
    """The command that started this process, to be given again."""
    return redacted(_wrapper() or "") or fedtune_command(*sys.argv[1:])


def _program() -> list[str]:
    script = Path(sys.argv[0])
    if _wrapper():
        script = Path(sys.executable).with_name("fedtune")
    if script.is_file() and script.name != "__main__.py":
        return [_typed(script)]
    if _wrapper() or script.name == "__main__.py":
        return [_typed(Path(sys.executable)), "-m", "fedtune"]
    return ["fedtune"]


def _typed(program: Path) -> str:
    """The shortest that starts ``program``: its name where the PATH leads to it, else its path.

    A wrapper may have a PATH that the user's shell has not.
    """
    if not _wrapper() and _is_on_path(program):
        return program.name
    path, here = _place(program), Path.cwd()
    if not path.is_relative_to(here):
        return str(path)
    return f"./{path.name}" if path.parent == here else str(path.relative_to(here))


def _is_on_path(program: Path) -> bool:
    found = shutil.which(program.name)
    return found is not None and _place(Path(found)) == _place(program)


def _place(program: Path) -> Path:
    """Its absolute path. The last link is kept: a venv's Python is a link to another Python."""
    return program.absolute().parent.resolve() / program.name


def _wrapper() -> str | None:
    """The command that the user typed where it is not fedtune's own; None where it is."""
    told = os.environ.get(VARIABLE)
    return told or (_mlflow_run(os.getppid()) if "MLFLOW_RUN_ID" in os.environ else None)


def _mlflow_run(process: int, proc: Path = Path("/proc")) -> str | None:
    """``mlflow run …`` as it was typed, where that started ``process`` or is it; None where not.

    Between the two is a shell, or a tool that makes environments. Only Linux tells this so simply.
    """
    for _ in range(5):
        try:
            words = (proc / str(process) / "cmdline").read_text().split("\0")[:-1]
            status = (proc / str(process) / "stat").read_text()
        except OSError:
            return None
        for place, word in enumerate(words):
            if Path(word).name == "mlflow" and words[place + 1 : place + 2] == ["run"]:
                return shlex.join([*_mlflow(words[: place + 1]), *words[place + 1 :]])
        process = int(status.rpartition(")")[2].split()[1])  # the name before it may have spaces
    return None


def _mlflow(words: Sequence[str]) -> Sequence[str]:
    """``python /here/bin/mlflow`` as it was typed: a script's first line names its Python."""
    script = words[-1]
    if words[-2:-1] == ["-m"]:
        return words
    return [Path(script).name if _is_on_path(Path(script)) else script]
