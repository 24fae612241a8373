"""Trials as Tune's configurations, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtune.config import FIELDS, TrialConfig
from fedtune.trial.identity import NAMED_BY, Trial


def trial_space(trial: Trial, store: Path) -> dict[str, Any]:
    """A prepared trial as a Tune configuration: its fields, and where things are."""
    return trial.to_dict() | {"store": str(store)}


def trial_of_space(space: Mapping[str, Any]) -> Trial | TrialConfig:
    """The trial that a Tune configuration means: prepared already, or as a user wrote it.

    A prepared one whose tokens are not on this machine (another node of a cluster) comes back as a
    configuration, to be prepared here.
    """
    own = {key: value for key, value in space.items() if key != "store"}
    if not set(NAMED_BY) <= set(own):
        return TrialConfig(**own)
    needed = [own["tokens_dir"], own["model_dir"], own.get("pool_dir") or own["tokens_dir"]]
    if all(Path(folder).is_dir() for folder in needed):
        return Trial.from_dict(own)
    fields = {field: own[field] for field in FIELDS}
    return TrialConfig(**fields | {"precision": own["asked_precision"]})
