"""What MLflow's pages call models and data sets: names rather than local paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fedtune.paths import expanded
from fedtune.trial.identity import Trial

#: By field and by the name that was asked for.
Called = Mapping[tuple[str, str], str]

_FIELDS = ("model", "dataset")


def called(trials: Iterable[Trial]) -> dict[tuple[str, str], str]:
    """A name for every model and data set of these trials: ``/home/me/models/a`` is ``a``.

    Where two folders have that name, the folders above tell them apart: ``a (old)``, ``a (new)``.
    """
    configs = [trial.config for trial in trials]
    found: dict[tuple[str, str], str] = {}
    for field in _FIELDS:
        parts = {name: _parts(name) for name in {str(getattr(c, field)) for c in configs}}
        for name, own in parts.items():
            others = [other for other in parts.values() if other != own]
            found[field, name] = _apart(own, others)
    return found


def as_called(trial: Trial, known: Called) -> Trial:
    """The trial under the names of its model and data set, with the same ``trial_id``."""
    names = called([trial]) | dict(known)
    shown = {field: names[field, str(getattr(trial.config, field))] for field in _FIELDS}
    return replace(trial, config=trial.config.model_copy(update=shown))


def _parts(name: str) -> tuple[str, ...]:
    """The folders of a local path, from the root; any other name (``owner/name``) is one part."""
    is_path = name.startswith(("/", ".", "~")) or ("/" in name and expanded(name).exists())
    return Path(os.path.abspath(expanded(name))).parts if is_path else (name,)  # noqa: PTH100


def _apart(parts: Sequence[str], others: Iterable[Sequence[str]]) -> str:
    """The last part, with as many of those above as tell it from the others."""
    length = 1
    while length < len(parts) and any(parts[-length:] == other[-length:] for other in others):
        length += 1
    above = "-".join(parts[-length:-1]).strip("/")
    return f"{parts[-1]} ({above})" if above else parts[-1]
