"""A data set out of the folder, the file or the hub that it is in; `datasets` reads most."""

from __future__ import annotations

import glob
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtune.data import shipped
from fedtune.data.cards import CARDS, check_card
from fedtune.data.csv_tables import CSV, can_be_sniffed, csv_splits, csv_table
from fedtune.data.library_calls import quiet, told_apart
from fedtune.data.literal import plain_name, taken_literally
from fedtune.data.lookup import (
    TOKENS_FILE,
    Location,
    is_cached,
    is_table,
    unpacked_suffix,
    unreachable,
)
from fedtune.data.text_files import read_text
from fedtune.errors import BadInput, did_you_mean
from fedtune.hub import go_offline_if_unreachable
from fedtune.paths import cache_root, states

if TYPE_CHECKING:
    from datasets import DatasetBuilder, DatasetDict

# Formats that hold tables. Others that `datasets` knows hold images or archives, or unpickle.
_TABLES = {"parquet", "csv", "json", "arrow", "cache"}
_JSON = (".json", ".jsonl", ".ndjson")
#: What `save_to_disk` writes beside its tables.
_SAVED = ("dataset_dict.json", "state.json", "dataset_info.json", "dataset_infos.json")
_MOST_NAMES = 20


def read_splits(location: Location, dataset_config: str) -> DatasetDict:
    """Every split there is, by name; ``train`` alone where a data set is one table.

    Raises BadInput where it cannot be reached or read, or has no such configuration.
    """
    if location.hub_id is not None:
        return _read_hub(location, dataset_config)
    if location.folder is not None:
        return _read_folder(location, location.folder, dataset_config)
    if dataset_config != "none":
        raise _no_configurations(dataset_config, location.name)
    if location.file is not None:
        return _read_file(location.name, location.file)
    return shipped.read(location.name)


def _read_file(dataset: str, file: Path) -> DatasetDict:
    import datasets

    kind = unpacked_suffix(file)
    with quiet(False), told_apart(dataset, "is the file damaged?"):
        if kind in CSV:
            return datasets.DatasetDict({"train": csv_table(dataset, [file])})
        if kind in _JSON:
            read_text(dataset, file, only_utf8=True)
        cache = _cache([file])
        literal = taken_literally(file.parent, [file], cache)
        name = file.name if literal == file.parent else plain_name(file.name)
        builder = datasets.load_dataset_builder(
            "json" if kind in _JSON else "parquet",
            data_files={"train": [glob.escape(str(literal / name))]},
            cache_dir=str(cache),
        )
        return _prepared(dataset, builder)


def _read_folder(location: Location, folder: Path, dataset_config: str) -> DatasetDict:
    import datasets

    dataset = location.name

    if (folder / TOKENS_FILE).is_file():
        raise BadInput.of("dataset", dataset, "holds tokens, not texts; give the texts' folder")
    saved = [name for name in ("dataset_dict.json", "state.json") if (folder / name).is_file()]
    if saved and dataset_config != "none":
        raise _no_configurations(dataset_config, dataset)
    needed = "needed are parquet, csv or json files named train* and test*"
    cards = [name for name in CARDS if (folder / name).is_file()]
    needed += f", and nothing in {cards[0]} that says otherwise" if cards else ""
    with quiet(False), told_apart(dataset, needed):
        files = [file for file in location.files() if _may_be_data(file)]
        cache = _cache(files)
        literal = taken_literally(folder, files, cache)
        if not saved:
            check_card(dataset, folder)
            return _build(dataset, str(literal), dataset_config, cache)
        found = datasets.load_from_disk(str(literal))
        if isinstance(found, datasets.DatasetDict):
            return found
        return datasets.DatasetDict({"train": found})


def _read_hub(location: Location, dataset_config: str) -> DatasetDict:
    assert location.hub_id is not None
    online = go_offline_if_unreachable()
    if not online and not is_cached(location.hub_id, dataset_config):
        raise unreachable(location.name, location.hub_id)
    needed = "needed are parquet, csv or json files of a train and a test split"
    with quiet(sys.stderr.isatty()), told_apart(location.name, needed):
        return _build(location.name, location.hub_id, dataset_config, None)


def _cache(files: Sequence[Path]) -> Path:
    """Where `datasets` keeps the copy that it makes of local files: one place for each state of
    them, since it tells them apart by their times alone, which an archive sets as it likes.

    In fedtune's cache, where one command removes them, and not among what the user has downloaded.
    """
    state = hashlib.sha256(repr(states(files)).encode()).hexdigest()
    place = cache_root() / "datasets" / state[:16]
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"is no folder to write to ({error.strerror})"
        raise BadInput.of("FEDTUNE_CACHE", str(place.parent), message) from error
    return place


def _may_be_data(file: Path) -> bool:
    return is_table(file) or file.suffix == ".arrow" or file.name in (*CARDS, *_SAVED)


def _build(dataset: str, path: str, dataset_config: str, cache: Path | None) -> DatasetDict:
    import datasets

    def builder_with(**options: Any) -> DatasetBuilder:
        name = None if dataset_config == "none" else dataset_config
        where = str(cache) if cache else None
        return datasets.load_dataset_builder(path, name, cache_dir=where, **options)

    try:
        builder = builder_with()
    except ValueError as error:
        raise _wrong_configuration(dataset, path, dataset_config) or error from None
    kind = type(builder).__module__.rpartition(".")[2]
    if kind not in _TABLES:
        raise BadInput.of(
            "dataset", dataset, f"holds {kind} files; allowed are parquet, csv and json"
        )
    folder = Path(path) if Path(path).is_dir() else None
    files = builder.config.data_files or {}
    if folder is not None:
        _refuse_several(dataset, folder, files)
        if kind == "csv" and can_be_sniffed(builder):
            return csv_splits(dataset, builder, files)
        if kind == "json":
            for file in (Path(file) for found in files.values() for file in found):
                if unpacked_suffix(file) in _JSON:
                    read_text(dataset, file, only_utf8=True)
    if kind == "csv":  # pandas would make nulls of texts such as "None", "NA" and ""
        builder = builder_with(keep_default_na=False)
    return _prepared(dataset, builder)


def _prepared(dataset: str, builder: DatasetBuilder) -> DatasetDict:
    # No checks: a part of a data set keeps the card, and with it the sizes, of the whole.
    builder.download_and_prepare(verification_mode="no_checks")
    splits = builder.as_dataset()
    for rows in splits.values():  # the columns as lists, or all records under a key
        kinds = {type(feature).__name__ for feature in rows.features.values()}
        if len(splits) == len(rows) == 1 and kinds <= {"List", "dict"}:
            message = "holds one record of lists or objects; needed is a list of records, or a "
            raise BadInput.of("dataset", dataset, f"{message}record in each line")
    return splits


def _refuse_several(dataset: str, folder: Path, files: Mapping[str, Sequence[str]]) -> None:
    """Raise BadInput for a folder of data sets, which `datasets` would read as one large one."""
    inside = [Path(file).relative_to(folder) for file in files.get("train", ())]
    tops = sorted({file.parts[0] for file in inside if len(file.parts) > 1})
    if len(tops) > 1:
        raise BadInput.of(
            "dataset",
            dataset,
            f"holds several data sets ({', '.join(tops)}); allowed is the folder of one of them",
        )


def _no_configurations(dataset_config: str, dataset: str) -> BadInput:
    message = f"{dataset} has no configurations to choose from; leave it out"
    return BadInput.of("dataset_config", dataset_config, message)


def _wrong_configuration(dataset: str, path: str, dataset_config: str) -> BadInput | None:
    """The error for a configuration that is missing or absent; None where it is neither."""
    import datasets

    try:
        names = list(datasets.get_dataset_config_names(path))
    except Exception:  # whatever the hub raises: then the first error is the one to tell
        return None
    listed = ", ".join(names[:_MOST_NAMES])
    listed += f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    if dataset_config == "none" and len(names) > 1:
        return BadInput.of(
            "dataset",
            dataset,
            f"has several configurations ({listed}); choose one: --dataset-config {names[0]}",
        )
    if dataset_config in ("none", *names):
        return None
    if names in ([], ["default"]):
        return _no_configurations(dataset_config, dataset)
    hint = did_you_mean(dataset_config, names)
    message = f"{dataset} has no such configuration{hint}; allowed is {listed}"
    return BadInput.of("dataset_config", dataset_config, message)
