"""The name of a sweep that was asked for by options, without a file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from fedtune.config import UNHASHED
from fedtune.paths import expanded

#: The most letters of a sweep's name that fedtune makes, and the hex digits that end one of which
#: something was left out.
_NAME_LENGTH, _NAME_DIGITS = 80, 8


def name_from(axes: Mapping[str, Iterable[Any]], values: Mapping[str, Any]) -> str:
    """A sweep's name from what it compares, for example ``mini-bert-bbc-news``.

    Settings that make other trials of the same model and data are part of it, so that two rates do
    not end up as one comparison; numbers of clients and seeds are not, so that more can be added.
    Where a part of that does not show, such as the folder that a model lies in, a name ends with
    digits that stand for the whole.
    """
    compared = [axes[field] for field in ("model", "dataset") if field in axes]
    settings = [f"{field}-{value}" for field, value in values.items() if field not in UNHASHED]
    shown = "-".join(["+".join(map(_last_part, of)) for of in compared] + settings)
    meant = "-".join(["+".join(map(_whole_path, of)) for of in compared] + settings)
    name = re.sub(r"[^A-Za-z0-9._+-]", "-", shown).lstrip("-_.+").rstrip("-") or "run"
    if name == meant and len(name) <= _NAME_LENGTH:
        return name
    digits = hashlib.sha256(meant.encode()).hexdigest()[:_NAME_DIGITS]
    return f"{name[: _NAME_LENGTH - _NAME_DIGITS - 1]}-{digits}"


def _last_part(value: object) -> str:
    """How a model or a data set is called: a path by its last part."""
    text = str(value)
    return expanded(text).resolve().name if _is_path(text) else text.rpartition("/")[2]


def _whole_path(value: object) -> str:
    """Which model or data set it is, wherever the command is given."""
    text = str(value)
    return str(expanded(text).resolve()) if _is_path(text) else text


def _is_path(text: str) -> bool:
    return ("/" in text or text.startswith((".", "~"))) and expanded(text).is_dir()
