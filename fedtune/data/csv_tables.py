"""Csv files as tables of the `datasets` library, read by what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedtune.data.csv_files import SEPARATORS, read_csv, typed
from fedtune.data.lookup import unpacked_suffix
from fedtune.errors import BadInput

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder, DatasetDict

#: How the names of such files end.
CSV = (".csv", ".tsv")


def can_be_sniffed(builder: DatasetBuilder) -> bool:
    """Whether csv files are to be read by what is in them: their card does not say how."""
    files = [Path(file) for found in builder.config.data_files.values() for file in found]
    told, usual = builder.config.pd_read_csv_kwargs, type(builder.config)().pd_read_csv_kwargs
    changed = {key for key, value in told.items() if value != usual.get(key)}
    return (
        changed <= {"sep"}
        and builder.config.sep in SEPARATORS
        and all(unpacked_suffix(file) in CSV for file in files)
    )


def csv_splits(
    dataset: str, builder: DatasetBuilder, files: Mapping[str, Sequence[str]]
) -> DatasetDict:
    from datasets import DatasetDict

    tables = {
        str(split): csv_table(dataset, [Path(file) for file in found])
        for split, found in files.items()
    }
    features = builder.info.features
    if features:  # of a card, which may name the classes
        tables = {split: table.cast(features) for split, table in tables.items()}
    return DatasetDict(tables)


def csv_table(dataset: str, files: Sequence[Path]) -> Dataset:
    """The rows of all files of a split, whose types are those of the values in all of them."""
    from datasets import Dataset, Features, Value

    columns: dict[str, list[str]] = {}
    for file in files:
        found = read_csv(dataset, file)
        if columns and set(found) != set(columns):
            raise BadInput.of(
                "dataset",
                dataset,
                f"{file.name} has the columns {', '.join(found)}, and {files[0].name} has "
                f"{', '.join(columns)}",
            )
        for name, values in found.items():
            columns.setdefault(name, []).extend(values)
    kinds = {name: typed(values) for name, values in columns.items()}
    features = Features({name: Value(kind) for name, (kind, _) in kinds.items()})
    return Dataset.from_dict({name: values for name, (_, values) in kinds.items()}, features)
