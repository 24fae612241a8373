"""The names under which MLflow knows a trial. People's scripts and the report rely on them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fedtune.config import FIELDS, UNHASHED
from fedtune.provenance import command, user
from fedtune.trial.identity import ENGINE, Trial

EXPERIMENT = "fedtune"

KIND = "fedtune.kind"
SWEEP = "fedtune.sweep"
TRIAL_ID = "fedtune.trial_id"
BASELINE_ID = "fedtune.baseline_trial_id"
#: Of trials whose partition is made of groups, and of those that distil on a data set of its own.
GROUPS_HASH = "fedtune.groups_hash"
POOL_HASH = "fedtune.pool_hash"
OUTCOME = "fedtune.outcome"
COLLAPSED = "fedtune.collapsed"
GIT_COMMIT = "fedtune.git_commit"
#: The round of which the artifact predictions.npy holds labels and predictions of the test set.
PREDICTIONS = "fedtune.predictions"
#: The name of the artifact with each client's examples of each class, where clients differ.
PARTITION_FILE = "fedtune.partition_file"
#: Who writes a trial's run (see ``claims.py``).
WRITER = "fedtune.writer"
#: Where a trial diverged: round and client.
DIVERGED = "fedtune.diverged"

#: Of a sweep's run that fedtune made; any other is the user's, or `mlflow run` made it.
OWN = "fedtune.own"

# Of the sweep's run: when it was last launched (Unix time, ms), its trials and the whole grid,
# begun or not, and where it comes from.
LAUNCHED = "fedtune.launched"
TRIALS = "fedtune.trials"
PLANNED = "fedtune.planned"
SWEEP_FILE = "fedtune.sweep_file"
SWEEP_FILE_SHA256 = "fedtune.sweep_file_sha256"
SWEEP_FILE_COMMITTED = "fedtune.sweep_file_committed"

#: Those of them that not every sweep has: where a launch tells none, an earlier one's goes.
OPTIONAL = (TRIALS, PLANNED, SWEEP_FILE, SWEEP_FILE_SHA256, SWEEP_FILE_COMMITTED)

#: The stages of distillation, by their metrics, and what they are called.
STAGES = {
    "stages/client_mean": "mean client",
    "stages/ensemble": "ensemble",
    "stages/parameter_mean": "parameter mean",
    "stages/distilled": "distilled",
}

#: Evaluations by sequential step, not by round: what their metrics' names begin with.
BY_STEP = "by_step/"

# MLflow's own: what its pages show in columns and at the top.
RUN_NAME = "mlflow.runName"
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
USER = "mlflow.user"
SOURCE, SOURCE_TYPE, VERSION = (f"mlflow.source.{what}" for what in ("name", "type", "git.commit"))
COLOUR = "mlflow.runColor"

#: MLflow cuts a tag, and so a note, and a parameter at this many characters.
LONGEST_TAG = 8000

#: MLflow takes at most so many metrics in a batch.
LARGEST_BATCH = 1000
LONGEST_PARAM = 6000

#: Fields that every run's name has; other swept fields are appended to it.
_NAMED_FIELDS = ("clients", "model", "dataset", "seed")


def run_name(trial: Trial, axes: Sequence[str] = ()) -> str:
    """For example ``K032 mini-bert bbc-news s0``: what tells runs apart comes first, padded to
    sort.
    """
    return " ".join(filter(None, _name_parts(trial, axes)))


def short_names(trials: Sequence[Trial], axes: Sequence[str] = ()) -> list[str]:
    """Names that tell these trials apart, without what they have in common: ``K032 s0``."""
    parts = [_name_parts(trial, axes) for trial in trials]
    shorter = [[brief(part) for part in each] for each in parts]
    if len({*map(tuple, shorter)}) == len({*map(tuple, parts)}):
        parts = shorter
    differ = [len({*column}) > 1 for column in zip(*parts, strict=True)]
    return [
        " ".join(part for i, part in enumerate(each) if part and (i == 0 or differ[i]))
        for each in parts
    ]


def brief(name: str, length: int = 20) -> str:
    """A long name of a model or a data set with ``…`` in its middle; numbers are left whole."""
    if len(name) <= length or "=" in name:
        return name
    return f"{name[: length // 2 - 1]}…{name[-(length // 2) :]}"


def _name_parts(trial: Trial, axes: Sequence[str]) -> list[str]:
    config = trial.config
    values = [(axis, config.called(axis)) for axis in axes if axis not in _NAMED_FIELDS]
    extra = [f"{axis}={value}" if value != "" else "" for axis, value in values]
    short = (Path(name).name for name in (config.model, config.dataset))
    return [f"K{config.num_clients:03d}", *short, f"s{config.seed}", *extra]


def params(trial: Trial) -> dict[str, str]:
    """The fields hashed into ``trial_id`` and nothing else: MLflow refuses to change one."""
    config = trial.config
    values: dict[str, Any] = {f: getattr(config, f) for f in FIELDS if f not in UNHASHED}
    return {f: str(v) for f, v in (values | {"precision": trial.asked_precision}).items()}


def tags(trial: Trial) -> dict[str, str]:
    """What else is known when a trial begins: identity, hashes, fields outside the hash."""
    own = {
        KIND: "baseline" if trial.is_baseline else "federated",
        TRIAL_ID: trial.trial_id,
        BASELINE_ID: trial.baseline_id,
        "fedtune.model_hash": trial.model_hash,
        "fedtune.dataset_hash": trial.dataset_hash,
        "fedtune.engine": str(ENGINE),
        "fedtune.precision_used": str(trial.config.precision),  # the parameter is as asked
    }
    some = {GROUPS_HASH: trial.groups_hash, POOL_HASH: trial.pool_hash}
    own |= {key: value for key, value in some.items() if value}
    return own | {f"fedtune.{f}": str(getattr(trial.config, f)) for f in sorted(UNHASHED)}


def shown_tags(commit: str, known: Mapping[str, str]) -> dict[str, str]:
    """What MLflow's pages show of a run in columns: who and which command made it, unless that is
    ``known`` already, and the ``commit`` of the code, where it is one.
    """
    told = {USER: user(), SOURCE: command(), SOURCE_TYPE: "LOCAL"}
    shown = {key: value for key, value in told.items() if value and key not in known}
    is_project = known.get(SOURCE_TYPE) == "PROJECT"  # of which MLflow has told it
    if re.fullmatch("[0-9a-f]{40}", commit) and not is_project:
        shown[VERSION] = commit
    return shown


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


def run_page(experiment_id: str, run_id: str) -> str:
    """The page of a run, as a link within MLflow's pages."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{urlencode(_TRAINING)}"


def view_page(experiment_id: str, key: str, *, charts: bool) -> str:
    """The page of a saved view (see ``views.py``), with charts or as a table, as such a link."""
    query = {"viewStateShareKey": key} | ({"compareRunsMode": "CHART"} if charts else {})
    return f"#/experiments/{experiment_id}/runs?{urlencode(query | _TRAINING)}"


def run_url(tracking_uri: str, experiment_id: str, run_id: str) -> str:
    """The address of a run's page."""
    return url(tracking_uri, run_page(experiment_id, run_id))


def url(tracking_uri: str, page: str) -> str:
    """Where a browser finds a page: at the tracking server, or at the default of ``mlflow ui``."""
    server = tracking_uri if tracking_uri.startswith("http") else "http://127.0.0.1:5000"
    return f"{server.rstrip('/')}/{page}"


#: MLflow opens in its view for language model applications unless a page says otherwise.
_TRAINING = {"workflowType": "machine_learning"}
