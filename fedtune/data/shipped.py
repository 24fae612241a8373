"""The data sets that come with a package or are made here, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedtune.data import bbc_news, sotu, toy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset, DatasetDict


def read(name: str) -> DatasetDict:
    """The splits ``train`` and ``test`` of a short name that needs no hub.

    Columns are ``text`` and ``label``, a class with a name, and what else is known of a text.
    Raises BadInput where the package that carries the texts is absent or not as expected.
    """
    if name == "sotu":
        return _tables(sotu.load(), sotu.AUTHORS)
    made, names = (
        (bbc_news.load(), bbc_news.TOPICS) if name == "bbc-news" else (toy.load(), toy.LABEL_NAMES)
    )
    rows = [[{"text": text, "label": label} for text, label in split] for split in made]
    return _tables(rows, names)


def _tables(splits: Sequence[Sequence[Any]], names: Sequence[str]) -> DatasetDict:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    first = splits[0][0]
    kinds = {
        column: Value("int64" if isinstance(first[column], int) else "string") for column in first
    }
    kinds |= {"text": Value("large_string"), "label": ClassLabel(names=list(names))}

    def table(rows: Sequence[Any]) -> Dataset:
        columns = {column: [row[column] for row in rows] for column in kinds}
        return Dataset.from_dict(columns, features=Features(kinds))

    train, test = map(table, splits)
    return DatasetDict(train=train, test=test)
