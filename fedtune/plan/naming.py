"""The name of a sweep that was asked for by options, without a file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedtune.config import FIELDS, PLACES, UNHASHED, TrialConfig
from fedtune.paths import exists, expanded

#: The most letters of a name that fedtune makes, and the hex digits that end one in which something
#: does not show. Two sweeps of one name are taken for one comparison, so four digits are too few.
_LENGTH, _DIGITS = 40, 6

_PLURALS = {"model": "models", "dataset": "datasets"}


def name_from(settings: Mapping[str, Sequence[Any]]) -> str:
    """A sweep's name from the values of its settings, for example ``mini-bert-bbc-news``.

    Settings that make other trials of the same model and data are part of it, so that two rates do
    not end up as one comparison; numbers of clients and seeds are not, so that more can be added.
    Several models are ``2models``, a folder is its last part, and a name has at most 40 letters;
    where something does not show, the name ends with digits that stand for the whole. The order in
    which settings and their values are given does not matter.
    """
    compared = {field: settings[field] for field in _PLURALS if field in settings}
    others = {f: settings[f] for f in FIELDS if f in settings and _is_told(f, settings[f])}
    what = "-".join(
        [last_part(values[0]) for values in compared.values() if len(values) == 1]
        + [f"{len(values)}{_PLURALS[f]}" for f, values in compared.items() if len(values) > 1]
    )
    told = [f if len(v) > 1 else f"{f}-{_text_of(f, last_part)(v[0])}" for f, v in others.items()]
    whole = {f: _each(_text_of(f, _whole_path), v) for f, v in (compared | others).items()}

    name = plain("-".join([what, *told]))
    meant = "-".join([text if f in compared else f"{f}-{text}" for f, text in whole.items()])
    if name == meant and len(name) <= _LENGTH:
        return name
    digits = hashlib.sha256(repr(whole).encode()).hexdigest()[:_DIGITS]
    count = [f"{len(others)}settings"] if len(others) > 1 else []
    for parts in ([what, *told], [what, *others], [what, *count]):
        name = f"{plain('-'.join(parts))}-{digits}"
        if len(name) <= _LENGTH:
            return name
    return f"{plain(what)[: _LENGTH - _DIGITS - 1]}-{digits}"


def _is_told(field: str, values: Sequence[Any]) -> bool:
    """Do these values of a setting make other trials, of what is compared under one name?"""
    if field in ("model", "dataset", "clients", "seed") or field in UNHASHED:
        return False
    return list(values) != [TrialConfig.model_fields[field].default]


def _each(text: Callable[[Any], str], values: Sequence[Any]) -> str:
    return ",".join(sorted(map(text, values)))


def plain(text: str) -> str:
    """``text`` in the letters that a name may have."""
    return re.sub(r"[^A-Za-z0-9._+-]", "-", text).lstrip("-_.+").rstrip("-") or "run"


def _text_of(field: str, of_place: Callable[[Any], str]) -> Callable[[Any], str]:
    """What puts a value of a field into words, by ``of_place`` where it may be a place."""
    return of_place if field in PLACES else _text


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def last_part(value: object) -> str:
    """What a model or a data set is called: a path by its last part."""
    text = str(value)
    return expanded(text).resolve().name if _is_path(text) else text.rpartition("/")[2]


def _whole_path(value: object) -> str:
    """Which model or data set it is, wherever the command is given."""
    text = str(value)
    return str(expanded(text).resolve()) if _is_path(text) else text


def _is_path(text: str) -> bool:
    return ("/" in text or text.startswith((".", "~"))) and exists(text)
