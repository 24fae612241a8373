"""Cases of bad input: a command, and the lines that answer it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from support import LEARNS, options


@dataclass(frozen=True)
class Case:
    """Arguments (``{bert}`` and ``{here}`` are filled in), and lines that have to be answered.

    A line is given by the pieces it has to have: the field, its value, and what is allowed.
    """

    name: str
    args: Sequence[str]
    lines: Sequence[Sequence[str]]
    arrange: Callable[[Path, Path], None] | None = None


def run_case(name: str, /, *lines: Sequence[str], **settings: object) -> Case:
    """A `fedtune run` on `toy` with settings changed (None leaves one out)."""
    values = {"model": "{bert}", "dataset": "toy", "clients": 4, **LEARNS, **settings}
    given = {field: value for field, value in values.items() if value is not None}
    return Case(name, ["run", *options(**given)], lines)


def sweep_case(name: str, text: str, *lines: Sequence[str], args: Sequence[str] = ()) -> Case:
    """A `fedtune sweep` of a file with ``text``."""

    def arrange(here: Path, bert: Path) -> None:
        (here / "grid.yaml").write_text(text.replace("{bert}", str(bert)))

    return Case(name, ["sweep", "grid.yaml", *args], lines, arrange)


def a_file(here: Path, bert: Path) -> None:
    (here / "notes.txt").write_text("hello\n")
