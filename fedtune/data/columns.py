"""Which columns of a data set hold text and label, and what the labels mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedtune.config import did_you_mean
from fedtune.errors import BadInput, Fault

if TYPE_CHECKING:
    from datasets import Dataset

TEXT_NAMES = ("text", "content", "sentence", "review", "description", "document", "comment", "body")
LABEL_NAMES = ("label", "labels", "class", "target", "category", "topic", "sentiment", "stars")

Features = Mapping[str, Any]  # column name -> `datasets` feature
Split = str


def find_columns(
    dataset: str, features: Features, text_column: str, label_column: str
) -> tuple[str, str]:
    """Return the names of the text and the label column; ``auto`` finds them by name, then by type.

    Raises BadInput, naming the columns there are, where a column is missing, cannot be what it is
    asked to be, or cannot be told from others.
    """
    faults: list[Fault] = []
    text = _by_name("text_column", features, text_column, _is_text, TEXT_NAMES, faults)
    label = _by_name("label_column", features, label_column, _is_label, LABEL_NAMES, faults)
    text = text or _by_type("text_column", features, [_is_text], label, faults)
    # a column that declares its classes beats numbers, and those beat words
    kinds = [_is_class_label, _is_number, _is_text]
    label = label or _by_type("label_column", features, kinds, text, faults)
    if faults:
        there = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
        raise BadInput(
            Fault(field, value, f"{message}; columns of {dataset}: {there}")
            for field, value, message in faults
        )
    if text == label:
        raise BadInput.of("label_column", label, "is the text column too; name another")
    return text, label


def _by_name(
    field: str,
    features: Features,
    asked: str,
    fits: Callable[[Any], bool],
    usual_names: Sequence[str],
    faults: list[Fault],
) -> str:
    """The column that was asked for, else the first that has a usual name, else an empty string."""
    if asked != "auto":
        if asked not in features:
            hint = did_you_mean(asked, features)
            faults.append(Fault(field, asked, f"there is no such column{hint}"))
        elif not fits(features[asked]):
            faults.append(Fault(field, asked, f"cannot be one: it holds {_kind(features[asked])}"))
        return asked
    there = {name.lower(): name for name in reversed(list(features)) if fits(features[name])}
    return next((there[usual] for usual in usual_names if usual in there), "")


def _by_type(
    field: str,
    features: Features,
    kinds: Sequence[Callable[[Any], bool]],
    taken: str,
    faults: list[Fault],
) -> str:
    """The only column of the first kind that there is any of."""
    for fits in kinds:
        fitting = [name for name in features if name != taken and fits(features[name])]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            faults.append(Fault(field, "auto", f"could be any of {', '.join(fitting)}; name it"))
            return ""
    faults.append(Fault(field, "auto", "no column could be one"))
    return ""


def _kind(feature: Any) -> str:
    return "class" if _is_class_label(feature) else str(getattr(feature, "dtype", "nested"))


def _is_class_label(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel"


def _is_text(feature: Any) -> bool:
    return type(feature).__name__ == "Value" and feature.dtype in (
        "string",
        "large_string",
        "string_view",
    )


def _is_number(feature: Any) -> bool:
    return type(feature).__name__ == "Value" and feature.dtype.startswith(("int", "uint", "bool"))


def _is_label(feature: Any) -> bool:
    return _is_class_label(feature) or _is_number(feature) or _is_text(feature)


def missing_texts(splits: Mapping[Split, Dataset], column: str) -> list[Fault]:
    """Return a fault for each split in which texts are missing (null; an empty text is a text)."""
    faults = []
    for split, data in splits.items():
        # Arrow counts nulls without making Python objects of all texts
        if data.with_format("arrow")[:][column].null_count:
            rows = [row for row, text in enumerate(data[column]) if text is None]
            faults.append(_row_fault("text_column", column, split, rows, len(data), "have no text"))
    return faults


def read_labels(
    dataset: str, splits: Mapping[Split, Dataset], column: str
) -> tuple[dict[Split, np.ndarray], tuple[str, ...]]:
    """Return the labels of each split as int64 indices (n,) of the classes, and the classes' names.

    A column that declares classes keeps them; other values (strings, integers) are the classes in
    sorted order, so that stars 1 to 5 become the classes 0 to 4. Raises BadInput for labels that
    are missing or negative, fewer than two classes, and classes without a training example.
    """
    features = {split: data.features[column] for split, data in splits.items()}
    if _is_class_label(features["train"]) and features["train"] != features["test"]:
        raise BadInput.of("label_column", column, "declares other classes in the test split")
    values = {split: data[column][:] for split, data in splits.items()}
    faults = _unusable_labels(column, values)
    if faults:
        raise BadInput(faults)
    if _is_class_label(features["train"]):
        names = tuple(str(name) for name in features["train"].names)
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
    if len({type(found[0]) for found in values.values()}) > 1:
        raise BadInput.of("label_column", column, "has another type in the test split")
    classes = sorted({value for found in values.values() for value in found})
    index = {value: label for label, value in enumerate(classes)}
    labels = {
        split: np.fromiter((index[value] for value in found), np.int64, len(found))
        for split, found in values.items()
    }
    return tuple(map(str, classes)), labels


def _unusable_labels(column: str, values: Mapping[Split, list[Any]]) -> list[Fault]:
    faults = []
    for split, found in values.items():
        missing = [row for row, value in enumerate(found) if value is None or value == ""]
        negative = [row for row, value in enumerate(found) if isinstance(value, int) and value < 0]
        for rows, what in ((missing, "have no label"), (negative, "have a negative label")):
            if rows:
                faults.append(_row_fault("label_column", column, split, rows, len(found), what))
    return faults


def _row_fault(
    field: str, column: str, split: Split, rows: Sequence[int], total: int, what: str
) -> Fault:
    return Fault(
        field,
        column,
        f"{len(rows)} of {total} examples of the {split} split {what} (first in row {rows[0]}, "
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
