"""The artifacts of trials: test predictions at the budget, and what each client has."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

from fedtune.analysis.tracked import Tested, TrackedTrial
from fedtune.tracking import names

ARTIFACT = "predictions.npy"


def with_artifacts(client: MlflowClient, trials: Sequence[TrackedTrial]) -> list[TrackedTrial]:
    """The trials with their predictions, where MLflow has those of the budget's round, and with
    what each client has, where that is tracked.
    """
    # A bar for each of many small files would bury what the report says.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory() as folder:
        return [_with_artifacts(client, trial, Path(folder)) for trial in trials]


def _with_artifacts(client: MlflowClient, trial: TrackedTrial, folder: Path) -> TrackedTrial:
    """The report can do without them, so whatever is wrong with an artifact makes it absent."""
    tags, found = trial.tags, trial
    place = folder / trial.run_id
    place.mkdir()
    with suppress(Exception):  # what a store of artifacts raises is up to its library
        if tags.get(names.PREDICTIONS) == f"round {trial.rule.budget}":
            path = client.download_artifacts(trial.run_id, ARTIFACT, str(place))
            found = replace(found, tested=read(np.load(path, allow_pickle=False), trial))
    with suppress(Exception):
        if names.PARTITION_FILE in tags:
            path = client.download_artifacts(trial.run_id, tags[names.PARTITION_FILE], str(place))
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            shares = read_shares(content, trial)
            own = all(each.get("num_test_examples") for each in content["clients"])
            names_of = content["label_names"]
            found = replace(found, shares=shares, class_names=names_of, own_tests=own)
    return found


def read_shares(content: Any, trial: TrackedTrial) -> np.ndarray | None:
    """Each client's examples of each class, (K, C), of a partition.json; None where that is not
    this trial's.
    """
    shares = np.asarray([each["labels"] for each in content["clients"]])
    expected = (trial.clients, int(trial.facts.get("data/num_classes", 0)))
    if shares.shape != expected or not np.issubdtype(shares.dtype, np.integer):
        return None
    return shares.astype(np.int64)


def read(content: np.ndarray, trial: TrackedTrial) -> Tested | None:
    """Labels and predictions as answers; None where they are not those behind the accuracy."""
    expected = (2, int(trial.facts.get("data/test_examples", 0)))
    if content.shape != expected or not np.issubdtype(content.dtype, np.integer):
        return None
    labels, predicted = content.astype(np.int64)
    correct = labels == predicted
    if trial.accuracy is None or abs(int(correct.sum()) - trial.accuracy * len(correct)) > 0.5:
        return None
    return Tested(hashlib.sha256(labels.tobytes()).hexdigest(), labels, correct)
