"""Tables that fit any width without cutting a number. Every table on a screen is one of these.

What a narrow screen gets is, in this order: shorter names; no lines between columns; fewer columns,
the most important for which there is room; and, where the first do not fit, a paragraph per row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fedtune.characters import plain
from fedtune.terminal import Wrapped

#: A column of text is made narrower by wrapping it, but not than so many characters.
_LEAST_TEXT = 12

Kind = Literal["number", "name", "text"]


@dataclass(frozen=True)
class Column:
    """A column: its header and a cell per row.

    A cell of a ``number`` or a ``name`` is never broken, ``text`` is wrapped between words (to no
    less than ``least`` characters). ``short`` has cells that say as much to a reader of the whole
    table. Columns with a ``rank`` are left out where there is no room, the lowest rank comes first;
    others stay. ``key`` columns are what a row is about: a paragraph begins with them.
    """

    header: str
    cells: Sequence[RenderableType]
    kind: Kind = "number"
    rank: int = 0
    key: bool = False
    short: Sequence[RenderableType] | None = None
    least: int = _LEAST_TEXT
    reserve: int = 0


@dataclass(frozen=True)
class FittedTable:
    """Columns with equally many cells, between a ``title`` and a ``caption``."""

    columns: Sequence[Column]
    title: str = ""
    caption: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Wrapped(Text(self.title))
        columns = [_printable(column, options.encoding) for column in self.columns]
        yield from _body(columns, console, options)
        if self.caption:
            yield Wrapped(Text(self.caption))


def _body(
    columns: Sequence[Column], console: Console, options: ConsoleOptions
) -> Iterator[RenderableType]:
    short = [c if c.short is None else replace(c, cells=c.short) for c in columns]
    for chosen, framed in ((columns, True), (short, True), (short, False)):
        widths = _widths(chosen, framed, console, options)
        if widths is not None:
            yield _table(chosen, widths, framed)
            return
    kept: list[int] = []
    for place in sorted(range(len(short)), key=lambda place: short[place].rank):
        more = sorted([*kept, place])
        if _widths([short[i] for i in more], False, console, options) is not None:
            kept = more
        elif not short[place].rank:
            yield from (Wrapped(_paragraph(short, row)) for row in range(len(short[0].cells)))
            return
    chosen = [short[i] for i in kept]
    yield _table(chosen, _widths(chosen, False, console, options) or [], False)


def _widths(
    columns: Sequence[Column], framed: bool, console: Console, options: ConsoleOptions
) -> list[int] | None:
    """How wide each column becomes; None where they do not fit side by side."""
    between = 3 * len(columns) + 1 if framed else 2 * (len(columns) - 1)
    spans = [_span(column, console, options) for column in columns]
    widths = [most for _, most in spans]
    for _ in range(sum(widths) + between - options.max_width):
        narrower = [i for i, (least, _) in enumerate(spans) if widths[i] > least]
        if not narrower:
            return None
        # A header in two lines costs one line, text in two lines one for each row.
        widths[max(narrower, key=lambda i: (columns[i].kind != "text", widths[i]))] -= 1
    return widths


def _span(column: Column, console: Console, options: ConsoleOptions) -> tuple[int, int]:
    """The least and the greatest width of a column. A header may always be wrapped."""
    header = _measure(column.header, console, options)
    cells = [_measure(cell, console, options) for cell in column.cells]
    most = max([header[1], column.reserve, *(widest for _, widest in cells)])
    if column.kind != "text":
        return max([header[0], column.reserve, *(widest for _, widest in cells)]), most
    least = max([header[0], column.reserve, *(narrowest for narrowest, _ in cells)])
    return max(least, min(column.least, most)), most


def _measure(cell: RenderableType, console: Console, options: ConsoleOptions) -> tuple[int, int]:
    """The width of the longest word and of the longest line."""
    if isinstance(cell, str):
        longest = max(map(cell_len, cell.split()), default=0)
        return longest, max(map(cell_len, cell.split("\n")))
    found = Measurement.get(console, options, cell)
    return found.minimum, found.maximum


def _table(columns: Sequence[Column], widths: Sequence[int], framed: bool) -> Table:
    table = Table(box=box.HEAVY_HEAD)
    if not framed:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column, width in zip(columns, widths, strict=True):
        justify: Literal["left", "right"] = "right" if column.kind == "number" else "left"
        table.add_column(Text(column.header), width=width, justify=justify, overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(_drawn, row))
    return table


def _paragraph(columns: Sequence[Column], row: int) -> Text:
    """``K 32: accuracy 0.803, of baseline 87 %, reached``. Text stands for itself."""

    def told(key: bool) -> str:
        cells = ((c, c.cells[row]) for c in columns if c.key == key)
        parts = [
            f"{column.header} {cell}" if column.kind == "number" else cell
            for column, cell in cells
            if isinstance(cell, str) and cell
        ]
        return ("; " if any(", " in part for part in parts) else ", ").join(parts)

    return Text(f"{told(True)}: {told(False)}")


def _drawn(cell: RenderableType) -> RenderableType:
    return Text(cell) if isinstance(cell, str) else cell


def _printable(column: Column, encoding: str) -> Column:
    """The column in characters that the console has; what stands for others may be longer."""

    def printable(cells: Sequence[RenderableType]) -> Sequence[RenderableType]:
        return [plain(cell, encoding) if isinstance(cell, str) else cell for cell in cells]

    short = None if column.short is None else printable(column.short)
    header = plain(column.header, encoding)
    return replace(column, header=header, cells=printable(column.cells), short=short)
