"""What the labels of a data set mean, and which cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from fedtune.errors import BadInput, Fault

if TYPE_CHECKING:
    from datasets import Dataset

Split = str


def missing_texts(splits: Mapping[Split, Dataset], column: str) -> list[Fault]:
    """Return a fault for each split in which texts are missing (null; an empty text is a text)."""
    faults = []
    for split, data in splits.items():
        # Arrow counts nulls without making Python objects of all texts
        if data.with_format("arrow")[:][column].null_count:
            rows = [row for row, text in enumerate(data[column]) if text is None]
            where = of_split(split, splits)
            faults.append(row_fault("text_column", column, where, rows, len(data), "have no text"))
    return faults


def are_hidden(data: Dataset, column: str) -> bool:
    """Whether a split has no labels to test on: all are missing, or negative (GLUE's are -1)."""
    values = _values(data, column)
    return all(map(is_missing, values)) or all(_is_negative(value) for value in values)


def read_labels(
    dataset: str, splits: Mapping[Split, Dataset], column: str
) -> tuple[dict[Split, np.ndarray], tuple[str, ...]]:
    """Return the labels of each split as int64 indices (n,) of the classes, and the classes' names.

    A column that declares classes keeps them; other values (strings, integers, floats and decimals
    that are whole) are the classes in sorted order, so that stars 1 to 5 become the classes 0 to 4.
    ``splits`` has ``train`` and perhaps ``test``. Raises BadInput for labels that are missing,
    negative or fractions, fewer than two classes, and classes without a training example.
    """
    features = {split: data.features[column] for split, data in splits.items()}
    declared = [f for f in features.values() if type(f).__name__ == "ClassLabel"]
    if declared and any(feature != declared[0] for feature in features.values()):
        raise BadInput.of("label_column", column, "declares other classes in the test split")
    values = {split: _values(data, column) for split, data in splits.items()}
    faults = _unusable_labels(column, values)
    if faults:
        raise BadInput(faults)
    if declared:
        names = tuple(str(name) for name in declared[0].names)
        labels = {split: np.asarray(found, dtype=np.int64) for split, found in values.items()}
        undeclared = {int(label) for found in labels.values() for label in np.unique(found)}
        if undeclared and max(undeclared) >= len(names):
            raise BadInput.of(
                "label_column", column, f"has label {max(undeclared)} but {len(names)} classes"
            )
    else:
        names, labels = _index_classes(column, values)
    _check_classes(dataset, names, labels["train"])
    return labels, names


def _index_classes(
    column: str, values: Mapping[Split, list[Any]]
) -> tuple[tuple[str, ...], dict[Split, np.ndarray]]:
    # pandas makes floats of whole numbers as soon as one of them is missing.
    values = {split: list(map(without_point, found)) for split, found in values.items()}
    if len({type(found[0]) for found in values.values()}) > 1:
        raise BadInput.of("label_column", column, "has another type in the test split")
    classes = sorted({value for found in values.values() for value in found})
    index = {value: label for label, value in enumerate(classes)}
    labels = {
        split: np.fromiter((index[value] for value in found), np.int64, len(found))
        for split, found in values.items()
    }
    return tuple(map(str, classes)), labels


def _values(data: Dataset, column: str) -> list[Any]:
    """The labels as they are; decimals, which databases write, as integers where they are whole."""
    values: list[Any] = data[column][:]
    return [_undecimal(v) if isinstance(v, Decimal) else v for v in values]


def _undecimal(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def without_point(value: Any) -> Any:
    """A whole number as one, however it came."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_missing(value: Any) -> bool:
    """Is there no value? An empty field of a csv file is none."""
    return value is None or value == "" or value != value  # the last is nan


def _is_negative(value: Any) -> bool:
    return isinstance(value, int | float) and value < 0


def _is_fraction(value: Any) -> bool:
    return isinstance(value, float) and value == value and not value.is_integer()


def _unusable_labels(column: str, values: Mapping[Split, list[Any]]) -> list[Fault]:
    faults = []
    for split, found in values.items():
        missing, negative, fractions = (
            [row for row, value in enumerate(found) if is_bad(value)]
            for is_bad in (is_missing, _is_negative, _is_fraction)
        )
        if fractions:  # of one kind in all splits, so one line is enough
            row = fractions[0]
            where = f"row {row}{of_split(split, values)}, counted from 0"
            message = (
                f"holds numbers with a fraction ({found[row]:g} in {where}); to predict a number "
                "(regression) is not for fedtune, which gives a text a class: write classes as "
                "whole numbers or words"
            )
            return [Fault("label_column", column, message)]
        for rows, what in ((missing, "have no label"), (negative, "have a negative label")):
            if rows:
                where = of_split(split, values)
                faults.append(row_fault("label_column", column, where, rows, len(found), what))
    return faults


def of_split(split: Split, splits: Mapping[Split, Any]) -> str:
    """Which split is meant, where there are several."""
    return f" of the {split} split" if len(splits) > 1 else ""


def row_fault(
    field: str, column: str, where: str, rows: Sequence[int], total: int, what: str
) -> Fault:
    """The fault of examples at ``rows``, of ``total``, that lack something."""
    return Fault(
        field,
        column,
        f"{len(rows)} of {total} examples{where} {what} (first in row {rows[0]}, "
        "counted from 0); take them out of the files or name another column",
    )


def _check_classes(dataset: str, names: Sequence[str], train_labels: np.ndarray) -> None:
    if len(names) < 2:
        raise BadInput.of(
            "dataset", dataset, f"has {len(names)} class ({', '.join(names)}); needed are two"
        )
    counts = np.bincount(train_labels, minlength=len(names))
    absent = [name for name, count in zip(names, counts, strict=True) if not count]
    if absent:
        raise BadInput.of(
            "dataset", dataset, f"its training split has no example of {name_some(absent)}"
        )


def name_some(names: Iterable[str]) -> str:
    """``class 'a'``, ``classes 'a', 'b'``, and an end to it after five."""
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - 5} more" if len(quoted) > 5 else ""
    return f"{'class' if len(quoted) == 1 else 'classes'} {', '.join(quoted[:5])}{more}"
