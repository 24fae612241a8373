"""The test predictions of trials at their budget, for comparisons example by example."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from fedtune.analysis.tracked import Tested, TrackedTrial
from fedtune.tracking import names

ARTIFACT = "predictions.npy"


def with_predictions(client: MlflowClient, trials: Sequence[TrackedTrial]) -> list[TrackedTrial]:
    """The trials with their predictions, where MLflow has those of the budget's round."""
    # A bar for each of many small files would bury what the report says.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory() as folder:
        return [
            replace(trial, tested=_download(client, trial, Path(folder)))
            if trial.tags.get(names.PREDICTIONS) == f"round {trial.rule.budget}"
            else trial
            for trial in trials
        ]


def _download(client: MlflowClient, trial: TrackedTrial, folder: Path) -> Tested | None:
    """The report can do without them, so whatever is wrong with the artifact makes it absent."""
    place = folder / trial.run_id
    place.mkdir()
    try:
        path = client.download_artifacts(trial.run_id, ARTIFACT, str(place))
        content = np.load(path, allow_pickle=False)
    except Exception:  # what a store of artifacts raises is up to its library
        return None
    return read(content, trial)


def read(content: np.ndarray, trial: TrackedTrial) -> Tested | None:
    """Labels and predictions as answers; None where they are not those behind the accuracy."""
    expected = (2, int(trial.facts.get("data/test_examples", 0)))
    if content.shape != expected or not np.issubdtype(content.dtype, np.integer):
        return None
    labels, predicted = content.astype(np.int64)
    correct = labels == predicted
    if trial.accuracy is None or abs(int(correct.sum()) - trial.accuracy * len(correct)) > 0.5:
        return None
    return Tested(hashlib.sha256(labels.tobytes()).hexdigest(), correct)
