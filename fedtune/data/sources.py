"""Texts and labels of a data set: which split is tested on, which columns are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedtune.data.columns import check_client_column, find_columns, find_text, joined, separated
from fedtune.data.csv_files import SEPARATORS
from fedtune.data.groups import read_groups
from fedtune.data.labels import are_hidden, missing_texts, read_labels
from fedtune.data.library_calls import told_apart
from fedtune.data.lookup import Location, resolve
from fedtune.data.reading import read_splits
from fedtune.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

#: How the names of splits begin that can be tested on in place of the test split.
_HELD_OUT = ("validation", "valid", "val", "dev", "eval")


@dataclass(frozen=True, eq=False)
class TextSplit:
    """One split: ``texts[i]`` has the label ``labels[i]``, int64, an index of the classes.

    ``texts`` is a list or a lazy column on disk; take slices of it, not single texts. ``seconds``
    are the second texts of pairs, ``groups`` (n,) int64 the groups of the examples.
    """

    texts: Sequence[str]
    labels: np.ndarray
    seconds: Sequence[str] | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Texts:
    """A data set before it is tokenised, with the columns that ``auto`` stood for.

    ``test`` is None where there is no test split, so that test examples are drawn from ``train``.
    ``text_column`` has two names with a comma where texts are pairs (:func:`columns.separated`).
    """

    train: TextSplit
    test: TextSplit | None
    label_names: tuple[str, ...]
    text_column: str
    label_column: str
    group_names: tuple[str, ...] = ()


def load_texts(
    dataset: str,
    text_column: str = "auto",
    label_column: str = "auto",
    *,
    client_column: str = "none",
    dataset_config: str = "none",
    test_split: str = "test",
    may_lack_test: bool = False,
) -> Texts:
    """Read the split ``train`` of ``dataset`` and the one to test on; other splits are ignored.

    A data set that is a single file has no test split; another one must have it, with labels,
    unless it ``may_lack_test``. ``client_column`` is the column with the groups of the
    examples; the test split may lack it. Raises BadInput, naming what is there, when the data set
    cannot be found or reached, a split or a column is missing, values in a column are missing, or a
    class has no training example.
    """
    location = resolve(dataset)
    with told_apart(dataset, "is a file damaged?"):  # columns are read from disk as they are used
        columns = (text_column, label_column, client_column)
        return _load(location, columns, dataset_config, test_split, may_lack_test)


def load_unlabelled(dataset: str, usual_columns: str) -> Texts:
    """Read the texts of the split ``train`` of ``dataset`` without their labels, if they have any.

    ``usual_columns`` are those that hold texts elsewhere, and here too if they are there (see
    ``columns.find_text``). Raises BadInput as :func:`load_texts` does.
    """
    location = resolve(dataset)
    with told_apart(dataset, "is a file damaged?"):
        data = read_splits(location, "none")
        rows = data.get("train")
        if rows is None or not len(rows):
            raise BadInput.of("dataset", dataset, f"has no train split; {_found(data)}")
        columns = find_text(dataset, rows.features, separated(usual_columns))
        faults = [fault for name in columns for fault in missing_texts({"train": rows}, name)]
        if faults:
            raise BadInput(faults)
        first, *second = (rows[column] for column in columns)
        labels = np.zeros(len(rows), np.int64)
        train = TextSplit(first, labels, second[0] if second else None)
    return Texts(train, None, (), joined(columns), "none")


def _load(
    location: Location,
    asked: tuple[str, str, str],
    dataset_config: str,
    test_split: str,
    may_lack_test: bool,
) -> Texts:
    dataset = location.name
    data = read_splits(location, dataset_config)
    splits = {"train": data["train"]} if "train" in data else {}
    if not splits or not len(splits["train"]):
        raise BadInput.of("dataset", dataset, f"has no train split; {_found(data)}")
    tested = _tested_split(location, data, test_split, may_lack_test)
    text_column, label_column, client_column = asked
    features = splits["train"].features
    if len(features) == 1:
        (column,), separators = features, ", ".join(SEPARATORS.values())
        needed = f"needed are a text and a label, in a csv file separated by {separators}"
        raise BadInput.of("dataset", dataset, f"has one column ({column[:60]!r}); {needed}")
    columns, label = find_columns(dataset, features, text_column, label_column)
    if client_column != "none":
        check_client_column(dataset, features, client_column, columns, label)
    if tested:
        splits["test"] = data[tested]
        absent = [name for name in (*columns, label) if name not in data[tested].features]
        if absent and absent != [label]:
            message = f"its {tested} split lacks the column {', '.join(absent)}"
            raise BadInput.of("dataset", dataset, message)
        if absent or are_hidden(data[tested], label):
            if not may_lack_test:
                why = f"has no column {label}" if absent else "has hidden labels (all -1, or none)"
                message = f"its {tested} split {why}; {_way_out(data, tested)}"
                raise BadInput.of("dataset", dataset, message)
            del splits["test"]
    faults = [fault for name in columns for fault in missing_texts(splits, name)]
    if faults:
        raise BadInput(faults)
    labels, names = read_labels(dataset, splits, label)
    groups, group_names = (
        ({}, ()) if client_column == "none" else read_groups(splits, client_column)
    )
    read = {}
    for name, split in splits.items():
        first, *second = (split[column] for column in columns)
        seconds = second[0] if second else None
        read[name] = TextSplit(first, labels[name], seconds, groups.get(name))
    texts = joined(columns)
    return Texts(read["train"], read.get("test"), names, texts, label, group_names)


def _tested_split(
    location: Location, data: Mapping[str, Dataset], asked: str, may_lack_test: bool
) -> str:
    """The name of the split to test on; empty where test examples are to be drawn from ``train``.

    Raises BadInput where it is not there.
    """
    if asked == "train":
        raise BadInput.of("test_split", asked, "is what is trained on; name another split")
    if asked in data and len(data[asked]):
        return asked
    if asked != "test":
        known = [name for name in data if name != "train"]
        if not known:
            message = f"{location.name} has no split but train; leave it out"
        else:
            hint, listed = did_you_mean(asked, known), ", ".join(known)
            message = f"{location.name} has no such split{hint}; allowed is {listed}"
        raise BadInput.of("test_split", asked, message)
    if location.file is not None or may_lack_test:
        return ""
    message = f"has no test split; {_found(data)}; {_way_out(data, asked)}"
    raise BadInput.of("dataset", location.name, message)


def _found(data: Mapping[str, Dataset]) -> str:
    there = ", ".join(f"{split} ({len(rows)} examples)" for split, rows in data.items())
    return f"splits found: {there or 'none'} (files are told by names such as train* and test*)"


def _way_out(data: Mapping[str, Dataset], tested: str) -> str:
    """What to do about a test split that is absent or has no labels."""
    others = [name for name in data if name.startswith(_HELD_OUT) and name != tested]
    if others:
        return f"use the {others[0]} split: --test-split {others[0]}"
    return "--test-fraction 0.2 draws test examples from the training split"
