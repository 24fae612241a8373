"""Reading texts and labels, wherever they are; `datasets` is imported only when it is needed."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedtune.data import bbc_news, toy
from fedtune.data.columns import find_columns, missing_texts, read_labels
from fedtune.data.lookup import (
    TOKENS_FILE,
    Location,
    is_cached,
    resolve,
    unreachable,
)
from fedtune.errors import BadInput
from fedtune.hub import go_offline_if_unreachable

if TYPE_CHECKING:
    from datasets import DatasetDict

# Formats that hold tables. Others that `datasets` knows hold images or archives, or unpickle.
_TABLES = {"parquet", "csv", "json", "arrow", "cache"}


@dataclass(frozen=True, eq=False)
class TextSplit:
    """One split: ``texts[i]`` has the label ``labels[i]``, int64, an index of the classes.

    ``texts`` is a list or a lazy column on disk; take slices of it, not single texts.
    """

    texts: Sequence[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Texts:
    """A data set before it is tokenised, with the columns that ``auto`` stood for."""

    train: TextSplit
    test: TextSplit
    label_names: tuple[str, ...]
    text_column: str
    label_column: str


def cache_root() -> Path:
    """Where fedtune keeps what it can make again: ``$FEDTUNE_CACHE``, else the user's cache."""
    asked = os.environ.get("FEDTUNE_CACHE")
    if asked:
        return Path(asked).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "fedtune"


def load_texts(dataset: str, text_column: str = "auto", label_column: str = "auto") -> Texts:
    """Read the training and the test split of ``dataset``; other splits are ignored.

    Raises BadInput, naming what is there, when the data set cannot be found or reached, a split or
    a column is missing, texts or labels are missing, or a class has no training example.
    """
    location = resolve(dataset)
    if location.folder is None and location.hub_id is None:
        data = _generated(dataset)
    elif location.folder is not None:
        data = _read_folder(dataset, location.folder)
    else:
        data = _read_hub(location)
    absent = [split for split in ("train", "test") if split not in data or not len(data[split])]
    if absent:
        there = ", ".join(f"{split} ({len(rows)} examples)" for split, rows in data.items())
        raise BadInput.of(
            "dataset",
            dataset,
            f"has no {' and no '.join(absent)} split; splits found: {there or 'none'}; fedtune "
            "needs train and test (files named train* and test*)",
        )
    splits = {"train": data["train"], "test": data["test"]}
    text, label = find_columns(dataset, splits["train"].features, text_column, label_column)
    if not {text, label} <= set(splits["test"].features):
        raise BadInput.of("dataset", dataset, f"its test split lacks the columns {text}, {label}")
    faults = missing_texts(splits, text)
    if faults:
        raise BadInput(faults)
    labels, names = read_labels(dataset, splits, label)
    train, test = (TextSplit(splits[split][text], labels[split]) for split in ("train", "test"))
    return Texts(train, test, names, text, label)


def _generated(name: str) -> DatasetDict:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    train, test = bbc_news.load() if name == "bbc-news" else toy.load()
    names = bbc_news.TOPICS if name == "bbc-news" else toy.LABEL_NAMES
    features = Features({"text": Value("large_string"), "label": ClassLabel(names=list(names))})

    def table(examples: list[tuple[str, int]]) -> Dataset:
        texts, labels = zip(*examples, strict=True)
        return Dataset.from_dict({"text": texts, "label": labels}, features=features)

    return DatasetDict(train=table(train), test=table(test))


def _read_folder(dataset: str, folder: Path) -> DatasetDict:
    if (folder / TOKENS_FILE).exists():
        raise BadInput.of("dataset", dataset, "holds tokens, not texts; give the texts' folder")
    # The copy that `datasets` makes of a local folder belongs to fedtune's cache, where one command
    # removes it, and not among the things the user has downloaded.
    return _read(dataset, str(folder), cache_root() / "datasets", show_progress=False)


def _read_hub(location: Location) -> DatasetDict:
    assert location.hub_id is not None
    online = go_offline_if_unreachable()
    if not online and not is_cached(location.hub_id):
        raise unreachable(location.name, location.hub_id)
    return _read(location.name, location.hub_id, None, show_progress=sys.stderr.isatty())


def _read(dataset: str, path: str, cache: Path | None, show_progress: bool) -> DatasetDict:
    import datasets
    from datasets.exceptions import DatasetsError

    with _quiet(show_progress):
        try:
            if (Path(path) / "dataset_dict.json").is_file():
                return datasets.load_from_disk(path)
            if (Path(path) / "state.json").is_file():
                return datasets.DatasetDict({"(unnamed)": datasets.load_from_disk(path)})
            return _build(dataset, path, cache)
        except (DatasetsError, OSError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            root = error.__cause__ or error
            reason = " ".join(f"{type(root).__name__}: {root}".split())[:300]
            raise BadInput.of(
                "dataset",
                dataset,
                f"cannot be read ({reason}); needed are parquet, csv or json files named train* "
                "and test*",
            ) from error


def _build(dataset: str, path: str, cache: Path | None) -> DatasetDict:
    import datasets

    where = {"cache_dir": str(cache) if cache else None}
    builder = datasets.load_dataset_builder(path, **where)
    kind = type(builder).__module__.rpartition(".")[2]
    if kind not in _TABLES:
        raise BadInput.of(
            "dataset", dataset, f"holds {kind} files; allowed are parquet, csv and json"
        )
    _refuse_several(dataset, Path(path), builder.config.data_files)
    if kind == "csv":  # pandas would make nulls of texts such as "None", "NA" and ""
        builder = datasets.load_dataset_builder(path, **where, keep_default_na=False)
    # No checks: a part of a data set keeps the card, and with it the sizes, of the whole.
    builder.download_and_prepare(verification_mode="no_checks")
    return builder.as_dataset()


def _refuse_several(dataset: str, folder: Path, files: Mapping[str, Sequence[str]] | None) -> None:
    """Raise BadInput for a folder of data sets, which `datasets` would read as one large one."""
    if not files or not folder.is_dir():
        return
    inside = [Path(file).relative_to(folder) for file in files.get("train", ())]
    tops = sorted({file.parts[0] for file in inside if len(file.parts) > 1})
    if len(tops) > 1:
        raise BadInput.of(
            "dataset",
            dataset,
            f"holds several data sets ({', '.join(tops)}); allowed is the folder of one of them",
        )


@contextlib.contextmanager
def _quiet(show_progress: bool) -> Iterator[None]:
    """Keep `datasets` from printing, and from reporting the use of local folders to its makers."""
    import datasets

    hub_log = logging.getLogger("huggingface_hub")  # says so when a README has no metadata
    verbosity, hub_level = datasets.logging.get_verbosity(), hub_log.level
    bars_were_on = not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity_error()
    hub_log.setLevel(logging.ERROR)
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    if not show_progress:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        hub_log.setLevel(hub_level)
        if bars_were_on:
            datasets.enable_progress_bars()
