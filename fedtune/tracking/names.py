"""The names under which MLflow knows a trial. People's scripts and the report rely on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fedtune.config import FIELDS, UNHASHED
from fedtune.trial.identity import ENGINE, Trial

EXPERIMENT = "fedtune"

KIND = "fedtune.kind"
SWEEP = "fedtune.sweep"
TRIAL_ID = "fedtune.trial_id"
BASELINE_ID = "fedtune.baseline_trial_id"
OUTCOME = "fedtune.outcome"
COLLAPSED = "fedtune.collapsed"
GIT_COMMIT = "fedtune.git_commit"
#: The round of which the artifact predictions.npy holds labels and predictions of the test set.
PREDICTIONS = "fedtune.predictions"
#: Where a trial diverged: round and client.
DIVERGED = "fedtune.diverged"

# Of the sweep's run: when it was last launched (Unix time, ms), its trials and the whole grid,
# begun or not, and where it comes from.
LAUNCHED = "fedtune.launched"
TRIALS = "fedtune.trials"
PLANNED = "fedtune.planned"
SWEEP_FILE = "fedtune.sweep_file"
SWEEP_FILE_SHA256 = "fedtune.sweep_file_sha256"
SWEEP_FILE_COMMITTED = "fedtune.sweep_file_committed"

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"

#: MLflow cuts a tag, and so a note, at this many characters.
LONGEST_TAG = 8000

#: Fields that every run's name has; other swept fields are appended to it.
_NAMED_FIELDS = ("clients", "model", "dataset", "seed")


def run_name(trial: Trial, axes: Sequence[str] = ()) -> str:
    """For example ``K032 mini-bert bbc-news s0``: what tells runs apart comes first, padded to
    sort.
    """
    config = trial.config
    extra = [f"{a}={getattr(config, a)}" for a in axes if a not in _NAMED_FIELDS]
    short = (Path(name).name for name in (config.model, config.dataset))
    return " ".join([f"K{config.clients:03d}", *short, f"s{config.seed}", *extra])


def params(trial: Trial) -> dict[str, str]:
    """The fields hashed into ``trial_id`` and nothing else: MLflow refuses to change one."""
    config = trial.config
    values: dict[str, Any] = {f: getattr(config, f) for f in FIELDS if f not in UNHASHED}
    return {f: str(v) for f, v in (values | {"precision": trial.asked_precision}).items()}


def tags(trial: Trial) -> dict[str, str]:
    """What else is known when a trial begins: identity, hashes, fields outside the hash."""
    own = {
        KIND: "baseline" if trial.config.clients == 1 else "federated",
        TRIAL_ID: trial.trial_id,
        BASELINE_ID: trial.baseline_id,
        "fedtune.model_hash": trial.model_hash,
        "fedtune.dataset_hash": trial.dataset_hash,
        "fedtune.engine": str(ENGINE),
        "fedtune.precision_used": str(trial.config.precision),  # the parameter is as asked
    }
    return own | {f"fedtune.{f}": str(getattr(trial.config, f)) for f in sorted(UNHASHED)}


def origin_tags(origin: Mapping[str, Any]) -> dict[str, str]:
    """Which code computed a trial, and on what."""
    return {f"fedtune.{key}": str(value) for key, value in origin.items() if key != "begun_ms"}


def listed(trial_ids: Iterable[str]) -> str:
    """The value of TRIALS: as many digits of each as a tag has room for, 12 for 600 trials."""
    ids = sorted(trial_ids)
    digits = max(LONGEST_TAG // max(len(ids), 1) - 1, 0)
    return " ".join(dict.fromkeys(trial_id[:digits] for trial_id in ids))


def is_listed(trial_id: str, value: str) -> bool:
    """Has the sweep this trial, by the value of its TRIALS? Every one, where that is empty."""
    told = value.split()
    return not told or trial_id[: len(told[0])] in told


def charts_url(tracking_uri: str, experiment_id: str, sweep: str) -> str:
    """The page that charts a sweep's trials together.

    MLflow charts only top-level runs, and a sweep's trials are nested: hence the filter that leaves
    the sweep's run out, and an order other than by creation, under which nothing is nested.
    """
    query = f"tags.`{SWEEP}` = '{sweep}' and tags.`{KIND}` != 'sweep'"
    order = "metrics.`summary/clients`"
    return (
        f"{_ui(tracking_uri)}/#/experiments/{experiment_id}/runs"
        f"?compareRunsMode=CHART&searchFilter={quote(query)}"
        f"&orderByKey={quote(order)}&orderByAsc=true"
    )


def accuracy_url(tracking_uri: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """The page with the accuracy per round of these runs, one curve each."""
    query = {
        "runs": json.dumps(list(run_ids)),
        "experiments": json.dumps([experiment_id]),
        "metric": json.dumps("test/accuracy"),
        "plot_metric_keys": json.dumps(["test/accuracy"]),
        "x_axis": "step",
        "show_point": "true",
    }
    return f"{_ui(tracking_uri)}/#/metric?{urlencode(query)}"


def _ui(tracking_uri: str) -> str:
    """Where a browser finds MLflow: at the tracking server, or at the default of ``mlflow ui``."""
    return (tracking_uri if tracking_uri.startswith("http") else "http://127.0.0.1:5000").rstrip(
        "/"
    )
