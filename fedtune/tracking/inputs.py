"""The data of a trial as MLflow's pages show it: a data set with its hash, source and size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag

from fedtune.data.columns import separated
from fedtune.data.lookup import resolve
from fedtune.errors import BadInput
from fedtune.trial.identity import Trial

#: As the report shows a hash; MLflow takes at most 36.
_HASH_DIGITS = 12


def dataset_input(trial: Trial, name: str, facts: Mapping[str, Any]) -> DatasetInput:
    """The data set called ``name``; its digest stands for the tokens and labels used.

    ``facts`` are those of the trial, of which the profile has ``data/*``.
    """
    config = trial.config
    kind, source = _source(config.dataset)
    texts = separated(config.text_column)
    columns = [
        *({"type": "string", "name": name, "required": True} for name in texts),
        {"type": "any", "name": config.label_column, "required": True},
    ]
    profile = {k.removeprefix("data/"): v for k, v in facts.items() if k.startswith("data/")}
    dataset = Dataset(
        name=name,
        digest=trial.dataset_hash[:_HASH_DIGITS],
        source_type=kind,
        source=json.dumps(source),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _source(dataset: str) -> tuple[str, dict[str, Any]]:
    """Where the data is: the kind of source, as MLflow calls it, and what belongs to it."""
    try:
        found = resolve(dataset)
    except BadInput:  # it was on another machine
        return "local", {"uri": dataset}
    if found.place is not None:
        return "local", {"uri": str(found.place)}
    if found.hub_id is not None:
        return "hugging_face", {"path": found.hub_id}
    return "code", {"tags": {"mlflow.source.name": f"fedtune.data ({dataset})"}}
