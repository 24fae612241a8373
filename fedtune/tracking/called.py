"""What MLflow's pages call models and data sets: names rather than local paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fedtune.config import PLACES
from fedtune.data.lookup import is_table
from fedtune.paths import expanded
from fedtune.trial.identity import Trial

#: By field and by the name that was asked for.
Called = Mapping[tuple[str, str], str]


def called(trials: Iterable[Trial]) -> dict[tuple[str, str], str]:
    """A name for every model and data set of these trials: ``/home/me/models/a`` is ``a``.

    Where two folders have that name, the folders above tell them apart: ``a (old)``, ``a (new)``.
    """
    parts: dict[str, dict[str, Sequence[str]]] = {field: {} for field in PLACES}
    parts["distill_dataset"]["none"] = ("none",)  # so that no file is called that
    for trial in trials:
        for field in PLACES:
            name = getattr(trial.config, field)
            parts[field][name] = _parts(name, trial.model_dir if field == "model" else "")
    return {
        (field, name): _apart(own, [other for other in found.values() if other != own])
        for field, found in parts.items()
        for name, own in found.items()
    }


def as_called(trial: Trial, known: Called) -> Trial:
    """The trial under the names of its model and data sets, with the same ``trial_id``."""
    config, names = trial.config, called([trial]) | dict(known)
    shown = {field: names[field, getattr(config, field)] for field in PLACES}
    return replace(trial, config=config.model_copy(update=shown))


def _parts(name: str, place: str = "") -> Sequence[str]:
    """The folders of a local path, from the root; any other name is one part.

    ``place`` is where it was found. What is not known from there is told from the name alone:
    ``data/mine`` might be on the hub, and stays.
    """
    own = Path(name).parts
    if place and len(own) > 1 and Path(place).parts[-len(own) :] == own:
        return Path(place).parts
    is_path = name.startswith(("/", ".", "~")) or len(own) > 2 or is_table(Path(name))
    return Path(os.path.abspath(expanded(name))).parts if is_path else (name,)  # noqa: PTH100


def _apart(parts: Sequence[str], others: Iterable[Sequence[str]]) -> str:
    """The last part, with as many of those above as tell it from the others."""
    length = 1
    while length < len(parts) and any(parts[-length:] == other[-length:] for other in others):
        length += 1
    above = "-".join(parts[-length:-1]).strip("/")
    return f"{parts[-1]} ({above})" if above else parts[-1]
