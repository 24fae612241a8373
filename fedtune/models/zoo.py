"""Where models come from: short names, hub ids and local directories become one directory.

Only files that hold data are ever taken: safetensors, JSON and vocabularies. Nothing downloaded is
executed, and no pickle is opened.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from fedtune.data.tokenizer import TOKENIZER_FILES, has_tokenizer
from fedtune.errors import BadInput, did_you_mean, readable
from fedtune.models.configuration import read_config
from fedtune.models.short_names import NAMES
from fedtune.models.weights import INDEX, WEIGHTS, leads_out, named_files, weight_files
from fedtune.paths import expanded, states
from fedtune.yaml_text import BadYAML, load_yaml

PAPER_LEARNING_RATE = 2.0e-5

_MINI = Path(__file__).parent / "mini"
_HUB_FILES = ["config.json", "*.safetensors", "*.safetensors.index.json", "README.md"]
_HUB_FILES += TOKENIZER_FILES


@dataclass(frozen=True)
class ModelSource:
    """A model on this machine: a directory in Hugging Face layout with safetensors weights."""

    name: str
    directory: Path
    learning_rate: float  # of plain SGD; the card's, or the paper's where the card names none


def find_model(name: str) -> ModelSource:
    """Find ``name``, downloading it where it is a hub id that is not in the local cache.

    A folder of that name under ``$FEDTUNE_DATA`` comes first, then a short name, then a directory,
    then the hub. Raises BadInput where there is nothing usable.
    """
    with readable("model", name):
        directory = _local_directory(name) or _still_from_hub(name)
        _check_directory(name, directory)
        return ModelSource(name, directory, card_learning_rate(directory))


def find_here(name: str) -> ModelSource | None:
    """Like :func:`find_model` without a network: None for a model that would be downloaded.

    Whether the hub has it is not looked up.
    """
    directory = _local_directory(name)
    if directory is None:
        _check_name(name)
        directory = _cached(_hub_id(name))
        if directory is None:
            return None
    _check_directory(name, directory)
    return ModelSource(name, directory, card_learning_rate(directory))


def availability(name: str) -> str:
    """Where a model would come from, without touching the network: for people to read."""
    with readable("model", name):
        local = _local_directory(name)
    if local is not None:
        return "ships with fedtune" if local.parent == _MINI else f"local: {local}"
    return "in the local cache" if _cached(_hub_id(name)) else "needs the network once"


@lru_cache(maxsize=32)
def _hash_file(path: str, state: object) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(directory: Path) -> str:
    """SHA-256 (hex) over the configuration and the initial weights: what makes a model itself.

    Raises BadInput where a file cannot be read.
    """
    digest = hashlib.sha256()
    with readable("model", str(directory)):
        for path in [directory / "config.json", *weight_files(directory)]:
            digest.update(_hash_file(str(path), states([path])).encode())
    return digest.hexdigest()


def _local_directory(name: str) -> Path | None:
    data = os.environ.get("FEDTUNE_DATA")
    folder = expanded(data) / name if data else None
    if folder is not None and (folder / "config.json").is_file():
        return folder.absolute()
    if name in NAMES:
        return _MINI / name if NAMES[name].hub_id is None else None
    path = expanded(name).absolute()  # workers run in folders of their own
    return path if path.is_dir() else None


def _hub_id(name: str) -> str:
    return (NAMES[name].hub_id if name in NAMES else None) or name


def _cached(hub_id: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        # The patterns of the download: without them every file of the hub that was left out there
        # would count as missing.
        found = snapshot_download(hub_id, allow_patterns=_HUB_FILES, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return Path(found) if _is_whole(Path(found)) else None


def _is_whole(directory: Path) -> bool:
    """Is there all that a model needs? Not every cache has a list of what the hub has."""
    needed = ["config.json", *named_files(directory)]
    return all((directory / name).is_file() for name in needed) and has_tokenizer(directory)


def _check_name(name: str) -> None:
    """Raise BadInput for what is neither a short name nor could be a hub id."""
    if name not in NAMES and ("/" not in name or name.startswith((".", "/", "~"))):
        hint = did_you_mean(name, NAMES)
        raise BadInput.of(
            "model",
            name,
            f"no such model{hint}; allowed is one of {', '.join(NAMES)}, "
            "a directory, or a hub id such as google-bert/bert-base-cased",
        )


def _still_from_hub(name: str) -> Path:
    directory = _from_hub(name)
    if not _is_whole(directory):  # somebody has cleared the cache since the last look
        _from_hub.cache_clear()
        directory = _from_hub(name)
    return directory


@cache  # a launch looks each model up once for every configuration
def _from_hub(name: str) -> Path:
    _check_name(name)
    hub_id = _hub_id(name)
    cached = _cached(hub_id)
    if cached is not None:
        return cached
    from fedtune.hub import go_offline_if_unreachable

    way_out = (
        f"put the model's directory at $FEDTUNE_DATA/{name}, give a directory, "
        "or run once where the hub can be reached"
    )
    if not go_offline_if_unreachable():
        raise BadInput.of(
            "model",
            name,
            f"not (or not whole) in the local cache and the hub cannot be reached; {way_out}",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInput.of("model", name, f"the hub did not give it ({reason}); {way_out}") from None


def _check_directory(name: str, directory: Path) -> None:
    if not (directory / "config.json").is_file():
        raise BadInput.of("model", name, f"{directory} has no config.json, so it is no model")
    if not weight_files(directory):
        raise BadInput.of(
            "model",
            name,
            f"{directory} has no safetensors weights; other formats can run code when they are "
            "opened; save it once more with model.save_pretrained(directory)",
        )
    named = sorted(named_files(directory))
    foreign = [n for n in named if leads_out(n) or not n.endswith(".safetensors")]
    if foreign:
        raise BadInput.of(
            "model",
            name,
            f"{directory} takes weights from {foreign[0]}; allowed are safetensors files within "
            "the directory; save it once more with model.save_pretrained(directory)",
        )
    lacking = [n for n in named if not (directory / n).is_file()]
    if lacking:
        raise BadInput.of(
            "model",
            name,
            f"{directory} lacks {lacking[0]}; weights are in {WEIGHTS}, or in the files that "
            f"{INDEX} names; save it once more with model.save_pretrained(directory)",
        )
    if not has_tokenizer(directory):
        raise BadInput.of("model", name, f"{directory} has no tokenizer files")
    read_config(directory, name)


def card_learning_rate(directory: Path) -> float:
    """The card's rate for plain SGD (its front matter, ``fedtune: {learning_rate: …}``)."""
    card = directory / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    if not text.startswith("---\n"):
        return PAPER_LEARNING_RATE
    try:
        front = load_yaml(text.split("\n---", 1)[0])
    except BadYAML:  # a card is prose by strangers; only its own key matters here
        return PAPER_LEARNING_RATE
    section = front.get("fedtune") if isinstance(front, dict) else None
    rate = section.get("learning_rate") if isinstance(section, dict) else None
    if isinstance(rate, int | float) and 0 < rate < math.inf:
        return float(rate)
    return PAPER_LEARNING_RATE
