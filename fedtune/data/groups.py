"""Which client each example comes from: the values of a column, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fedtune.data.labels import Split, is_missing, of_split, row_fault, without_point
from fedtune.errors import BadInput

if TYPE_CHECKING:
    from datasets import Dataset


def read_groups(
    splits: Mapping[Split, Dataset], column: str
) -> tuple[dict[Split, np.ndarray], tuple[str, ...]]:
    """Return the group of each example as int64 indices (n,) of the groups, and the groups' names.

    A group is a value of ``column``; groups are numbered in the order of the values, over all
    splits. ``splits`` has ``train`` and perhaps ``test``, which has none where it lacks the column
    or all of its values. Raises BadInput for values that are missing.
    """
    values = {
        split: _values(data, column) for split, data in splits.items() if column in data.features
    }
    if all(value is None for value in values.get("test", ())):
        values.pop("test", None)
    faults = []
    for split, found in values.items():
        rows = [row for row, value in enumerate(found) if value is None]
        if rows:
            where = of_split(split, splits)
            faults.append(
                row_fault("client_column", column, where, rows, len(found), "have no value")
            )
    if faults:
        raise BadInput(faults)
    there = {value for found in values.values() for value in found}
    if any(isinstance(value, str) for value in there):  # 7 in one file may be "7" in another
        values = {split: list(map(str, found)) for split, found in values.items()}
        there = set(map(str, there))
    index = {value: group for group, value in enumerate(sorted(there))}
    groups = {
        split: np.fromiter((index[value] for value in found), np.int64, len(found))
        for split, found in values.items()
    }
    return groups, tuple(map(str, index))


def _values(data: Dataset, column: str) -> list[Any]:
    """The column's values, None where one is missing; the names of classes for their numbers."""
    feature, values = data.features[column], data[column][:]
    if type(feature).__name__ == "ClassLabel":
        named = dict(enumerate(feature.names))
        return [named.get(value) for value in values]
    return [None if is_missing(value) else without_point(value) for value in values]
