"""Tables on narrow screens: every number of a row is there whole, or its column is not there."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import pytest
from rich.console import Console

from fedtune.tables import Column, FittedTable
from fedtune.terminal import say

WIDTHS = (160, 120, 80, 60, 40, 24, 12)

NAMES = ["K001 mini-bert bbc-news s0", "K032 mini-bert bbc-news s0"]
COLUMNS = [
    Column("trial", NAMES, "name", key=True, short=["K001", "K032"]),
    Column("accuracy at budget", ["0.927", "0.840 (round 4)"]),
    Column("steps to target", ["108", "> 1,234,567"], rank=3),
    Column("time", ["1 min 16 s", "2 h 10 min"], rank=2),
    Column("outcome", ["baseline", "waits for its baseline"], "text", rank=1),
]


def drawn(table: object, width: int, **how: object) -> list[str]:
    """The lines on a terminal so wide."""
    console = Console(
        file=io.StringIO(),
        width=width,
        height=50,
        force_terminal=True,
        color_system=None,
        **how,  # type: ignore[arg-type]
    )
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


def words(lines: Sequence[str]) -> set[str]:
    return {word for line in lines for word in re.split(r"[\s│┃|;:]+|,(?:\s|$)", line)}


def headers(lines: Sequence[str]) -> str:
    """What stands above the rule under the headers, read column by column or not."""
    rule = next(i for i, line in enumerate(lines) if set(line) & set("━─╇") and "┏" not in line)
    return " ".join(lines[:rule])


@pytest.mark.parametrize("width", WIDTHS)
def test_a_number_is_whole_or_its_column_is_missing(width: int) -> None:
    lines = drawn(FittedTable(COLUMNS), width)
    is_paragraph = any(line.endswith(":") or ": " in line for line in lines)
    for column in COLUMNS:
        numbers = [w for cell in column.cells for w in str(cell).split() if re.search(r"\d", w)]
        if column.kind != "number":
            continue
        if is_paragraph or column.header.split()[0] in headers(lines):
            missing = [n for n in numbers if n not in words(lines)]
            # A paragraph breaks only what is longer than the line.
            assert not [n for n in missing if len(n) <= width - 2], lines
        else:
            assert not set(numbers) & words(lines) - {"s0"}
    assert "…" not in "".join(lines)


def test_names_become_shorter_then_lines_go_then_columns() -> None:
    assert "K032 mini-bert bbc-news s0" in "\n".join(drawn(FittedTable(COLUMNS), 120))
    short = drawn(FittedTable(COLUMNS), 70)
    assert "mini-bert" not in "\n".join(short)
    assert any("│" in line for line in short)
    bare = drawn(FittedTable(COLUMNS), 64)
    assert not any("│" in line for line in bare)
    assert {"trial", "steps", "time", "outcome"} <= set(headers(bare).split())
    assert {"1,234,567", "min", "baseline"} <= words(bare)


def test_what_matters_most_stays_longest() -> None:
    for width, kept in ((54, "outcome time"), (36, "outcome"), (22, "")):
        found = headers(drawn(FittedTable(COLUMNS), width))
        assert [h for h in ("outcome", "time", "steps") if h in found.split()] == kept.split()


def test_where_nothing_fits_side_by_side_each_row_is_a_paragraph() -> None:
    lines = drawn(FittedTable(COLUMNS), 20)
    joined = " ".join(line.strip() for line in lines)
    assert joined == (
        "K001: accuracy at budget 0.927, steps to target 108, time 1 min 16 s, baseline "
        "K032: accuracy at budget 0.840 (round 4), steps to target > 1,234,567, time 2 h 10 min, "
        "waits for its baseline"
    )
    assert [line for line in lines if not line.startswith(" ")] == [lines[0], lines[5]]


def test_columns_stay_aligned_where_characters_are_replaced() -> None:
    columns = [Column("left", ["≤ 3 s", "…"]), Column("state", ["über", "done"], "text")]

    class Ascii(io.StringIO):
        encoding = "ascii"  # type: ignore[assignment]

    console = Console(file=Ascii(), width=40, force_terminal=True, color_system=None)
    console.print(FittedTable(columns))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "".join(lines).isascii()
    assert "<= 3 s" in lines[3]
    assert len(set(map(len, lines))) == 1


def test_a_line_is_wrapped_between_words_with_what_follows_set_in() -> None:
    file = io.StringIO()
    console = Console(file=file, width=30, force_terminal=True, color_system=None)
    say(console, "[red]problem:[/] one two three four five six seven", indent=2)
    assert file.getvalue().splitlines() == [
        "  problem: one two three",
        "    four five six seven",
    ]


def test_a_pipe_gets_one_line_however_long_it_is() -> None:
    file = io.StringIO()
    say(Console(file=file, width=30), "word " * 30 + "[red]end[/]")
    assert file.getvalue() == "word " * 30 + "end\n"
