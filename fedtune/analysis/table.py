"""A table as rows of plain values that become CSV, Markdown or HTML."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fedtune.units import size


@dataclass(frozen=True)
class Early:
    """A number of trials that ended before the budget, where its own would stand.

    For people it has its ``rounds``. A program that reads the CSV finds nothing there, rather than
    a number of another round.
    """

    value: float
    rounds: str


Value = str | int | float | Early | None


@dataclass(frozen=True)
class Table:
    """``rows`` hold plain values; a column whose name begins with ``bytes`` is shown in units."""

    name: str
    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[Value]]

    def shown(self) -> list[list[str]]:
        """The rows for people."""
        return [
            [_shown(name, value) for name, value in zip(self.header, row, strict=True)]
            for row in self.rows
        ]

    def as_csv(self) -> str:
        text = io.StringIO()
        rows = [[_plain(value) for value in row] for row in self.rows]
        csv.writer(text, lineterminator="\n").writerows([self.header, *rows])
        return text.getvalue()

    def as_markdown(self) -> str:
        rows = [[_literal(text) for text in row] for row in (self.header, *self.shown())]
        lines = [rows[0], ["---"] * len(self.header), *rows[1:]]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _literal(text: str) -> str:
    """The text with what Markdown would take for markup escaped, in a cell of a table."""
    text = re.sub(r"([\\`*|<$~\[\]])", r"\\\1", text)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # not within a word


def _shown(name: str, value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, Early):
        return f"{value.value:.3f} ({value.rounds})"
    if name.startswith("bytes") and not isinstance(value, str):
        return size(value)
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value


def _plain(value: Value) -> str:
    if value is None or isinstance(value, Early):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
