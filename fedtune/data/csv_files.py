"""Tables in csv files as people have them: any of four separators, quoted or not.

A reader that is told its separator makes something of every file: pandas takes a row with one field
too many for an index and shifts the others, without a word. Here a separator is right if every row
has as many fields as the first line, and a file for which none is right is refused, with the line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtune.data.columns import LABEL_NAMES, TEXT_NAMES
from fedtune.data.text_files import read_text
from fedtune.errors import BadInput

#: What separates fields, and what it is called.
SEPARATORS = {",": "','", ";": "';'", "\t": "tab", "|": "'|'"}
_LONGEST_FIELD = 2**31 - 1  # the csv module's own limit is 128 kB
_TOLD = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)  # a first line that spreadsheets write
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,400}\s*")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_TRUTH = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}


@dataclass(frozen=True)
class _Reading:
    """A file as one separator has it; ``problem`` says where that does not fit."""

    separator: str
    names: tuple[str, ...] = ()
    rows: Sequence[Sequence[str]] = ()
    problem: str = ""


def read_csv(dataset: str, path: Path) -> Mapping[str, list[str]]:
    """The columns of a csv file by name, as text; those without a name are left out.

    Raises BadInput, blaming ``dataset``, where encoding or separator cannot be told, where rows
    differ in their number of fields, and where the first line does not name the columns.
    """
    text = read_text(dataset, path)
    told = _TOLD.match(text)
    text = text[told.end() :] if told else text
    lines = list(io.StringIO(text, newline=""))  # each with its own end, which texts may contain
    readings = [_read(lines, separator) for separator in ([told[1]] if told else SEPARATORS)]
    if all(len(reading.names) < 2 for reading in readings):
        readings = [_read(lines, reading.separator, alone=True) for reading in readings]
    reading, problem = _choose(readings)
    problem = problem or _header_problem(reading)
    if problem:
        raise BadInput.of("dataset", dataset, f"{path.name} {problem}")
    return {name: [row[i] for row in reading.rows] for i, name in enumerate(reading.names) if name}


def _choose(readings: Sequence[_Reading]) -> tuple[_Reading, str]:
    """The reading that fits, or what is wrong with the file."""
    wide = [reading for reading in readings if len(reading.names) > 1]
    fitting = [reading for reading in wide if not reading.problem]
    if len(fitting) == 1:
        return fitting[0], ""
    if fitting:
        names = " or by ".join(SEPARATORS[reading.separator] for reading in fitting)
        return fitting[0], (
            f"could be separated by {names}; put fields that contain one of them in double quotes"
        )
    if wide:
        best = max(wide, key=lambda reading: len(reading.names))
        return best, best.problem
    # One column: texts may contain what separates nothing.
    found = next((reading for reading in readings if not reading.problem), readings[0])
    return found, found.problem


def _read(lines: Sequence[str], separator: str, *, alone: bool = False) -> _Reading:
    """The file with this separator; quotes count, except in a file of tabs that uses none.

    There a text may begin with a quote that is nothing but a quote: read as an opening one it would
    swallow the rows up to the next. A first line of one field is the name of the one column where
    that stands ``alone``; else the rows are not read.
    """
    reading = _parse(lines, separator, csv.QUOTE_MINIMAL, alone)
    if separator == "\t" and any('"' in line for line in lines):
        bare = _parse(lines, separator, csv.QUOTE_NONE, alone)
        differs = reading.problem or len(reading.rows) != len(bare.rows)
        if len(bare.names) > 1 and not bare.problem and differs:
            return bare
    return reading


def _parse(lines: Sequence[str], separator: str, quoting: int, alone: bool) -> _Reading:
    names: tuple[str, ...] = ()
    rows: list[list[str]] = []
    end = 0  # the line in which the record before ended
    records = _records(lines, separator, quoting)
    try:
        for end_now, fields in records:
            line, end = end + 1, end_now
            if len(fields) < 2 and not "".join(fields).strip():
                continue  # a blank line
            if not names:
                names = tuple(field.strip() for field in fields)
                if len(names) == 1 and not alone:
                    break
            elif len(fields) != len(names):
                what = f"{len(fields)} field{'s' * (len(fields) != 1)} in line {line}"
                sep = SEPARATORS.get(separator, repr(separator))
                return _Reading(
                    separator,
                    names,
                    problem=f"has {what} where its first line has {len(names)}, separated by {sep};"
                    f" put texts that contain {sep} in double quotes",
                )
            else:
                rows.append(fields)
    except csv.Error as error:
        if "end of data" in str(error):
            problem = f"opens a double quote in line {end + 1} that is never closed"
        else:
            problem = (
                f"has text after a closing double quote in line {end + 1}; inside a quoted text a "
                "double quote is written twice"
            )
        return _Reading(separator, names, problem=problem)
    return _Reading(separator, names, rows)


def _records(lines: Sequence[str], separator: str, quoting: int) -> Iterator[tuple[int, list[str]]]:
    """Every record with the line in which it ends."""

    def reader(skips: bool) -> Any:
        return csv.reader(
            lines,
            delimiter=separator,
            quoting=quoting,  # type: ignore[arg-type]
            skipinitialspace=skips,
            strict=True,
        )

    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        # A space after every separator belongs to none of the fields.
        first: list[str] = next(reader(False), [])
        records = reader(any(field.startswith(" ") for field in first[1:]))
        for fields in records:
            yield records.line_num, fields
    finally:
        csv.field_size_limit(limit)


def _header_problem(reading: _Reading) -> str:
    names = [name for name in reading.names if name]
    if not reading.rows:
        return f"has no rows below its first line ({', '.join(names)})"
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return f"has two columns that are called {twice!r}; rename one"
    if {name.lower() for name in names} & {*TEXT_NAMES, *LABEL_NAMES}:
        return ""
    numbers = [_NUMBER.fullmatch(name) is not None for name in reading.names]
    values = [any(row[i] == name for row in reading.rows) for i, name in enumerate(reading.names)]
    labels = [number or value for number, value in zip(numbers, values, strict=True)]
    sentence = any(
        name.count(" ") > 1 for name, like in zip(reading.names, labels, strict=True) if not like
    )
    both = any(number and value for number, value in zip(numbers, values, strict=True))
    if not (both or (sentence and (any(labels) or len(labels) == 1))):
        return ""
    shown = ", ".join(repr(name[:40]) for name in reading.names)
    label_first = len(labels) == 2 and labels == [True, False]
    words = ["label", "text"] if label_first else ["text", "label"]
    wanted = reading.separator.join(words if len(labels) > 1 else ["text"])
    return (
        f"begins with a line that looks like an example, not like names of columns ({shown}); put "
        f"a line with names before it, such as {wanted!r}"
    )


def typed(values: Sequence[str]) -> tuple[str, list[Any]]:
    """A column's type as `datasets` calls it, and the values: numbers, truth values, or text.

    Numbers of which two could become one, such as ids of twenty digits, stay text.
    """
    if all(map(_INTEGER.fullmatch, values)):
        whole = list(map(int, values))
        if all(-(2**63) <= value < 2**63 for value in whole):
            return "int64", whole
    elif all(map(_NUMBER.fullmatch, values)):
        numbers = list(map(float, values))
        if all(abs(value) < 2**53 for value in numbers):
            return "float64", numbers
    if all(map(_TRUTH.__contains__, values)):
        return "bool", [_TRUTH[value] for value in values]
    return "large_string", list(values)
