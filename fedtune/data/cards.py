"""The card of a local data set, looked at before `datasets` follows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedtune.errors import BadInput
from fedtune.yaml_text import BadYAML, load_yaml

#: Where `datasets` looks for settings in a folder: the front matter of a card, and a file of them.
CARDS = ("README.md", ".huggingface.yaml")


def check_card(dataset: str, folder: Path) -> None:
    """Raise BadInput where a card cannot be read, or names files that are not in ``folder``.

    What is on this machine is read without a network, whatever its card says.
    """
    for name in CARDS:
        if not (folder / name).is_file():
            continue
        try:
            settings = _settings(folder / name)
        except ValueError as error:  # no text, or no YAML
            kind = "is not valid YAML" if isinstance(error, BadYAML) else "is not in UTF-8"
            part = "front matter of " if name == CARDS[0] else ""
            raise BadInput.of("dataset", dataset, f"the {part}{name} {kind}: {error}") from None
        if settings is not None and not isinstance(settings, dict):
            raise BadInput.of("dataset", dataset, f"the settings of {name} are no mapping")
        for place in _texts((settings or {}).get("configs")):
            if "://" in place or "::" in place:
                message = f"{name} names files that are elsewhere ({place[:200]}); put them into "
                message += (
                    "the folder and name them there, since a folder is read without a network"
                )
                raise BadInput.of("dataset", dataset, message)


def _settings(path: Path) -> Any:
    text = path.read_text(encoding="utf-8-sig")
    if path.name != CARDS[0]:
        return load_yaml(text)
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    block = REGEX_YAML_BLOCK.search(text)
    return load_yaml(block.group(2)) if block else None


def _texts(value: Any) -> Iterator[str]:
    """Every text in a nest of lists and mappings, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (*_texts(key), *_texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
