"""Reads a sweep's trials from MLflow. Only this and predictions.py ask MLflow for data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from fedtune.analysis.axis import DEFAULTS
from fedtune.analysis.comparable import current, named_apart
from fedtune.analysis.expected import read_expected
from fedtune.analysis.outcomes import judged
from fedtune.analysis.predictions import with_artifacts
from fedtune.analysis.tracked import Sweep, TrackedTrial
from fedtune.errors import BadInput, did_you_mean
from fedtune.tracking import names
from fedtune.tracking.connection import connect, experiment_of_environment, run_of_environment
from fedtune.tracking.points import ROUND_MARKER, STEP_MARKER
from fedtune.tracking.uri import database_path, experiment_name
from fedtune.trial.stopping import StopRule

#: What is read of every round. ``steps/sequential`` is in every record.
ROUND_METRICS = (
    "steps/sequential",
    "test/accuracy",
    "test/top_class_share",
    "validation/accuracy",
    "comm/bytes",
    "clients/drift",
    "clients/agreement",
    "clients/accuracy_worst",
    *names.STAGES,
    "server/update_norm",
    "time/round_s",
    "time/eval_s",
)

#: What is read of every evaluation by sequential step.
STEP_METRICS = tuple(f"{names.BY_STEP}{split}/accuracy" for split in ("test", "validation"))


def load_sweep(uri: str, wanted: str | None) -> Sweep:
    """Read a sweep (None: the latest) from MLflow at ``uri``, with every round of its trials.

    Raises BadInput where there is no such sweep or none at all, and what MLflow, a network or a
    driver raises where MLflow cannot be reached.
    """
    database = database_path(uri)
    if database and not database.is_file():
        message = "there is no such database; `fedtune run` and `fedtune sweep` make it"
        raise BadInput.of("tracking_uri", uri, message)
    client = connect(uri)
    run = run_of_environment(client, uri)
    experiment = experiment_of_environment(client, run)
    found = _runs(client, experiment, f"tags.`{names.KIND}` = 'sweep'") if experiment else []
    sweeps = sorted(found, key=_latest)
    known = list(dict.fromkeys(run.data.tags[names.SWEEP] for run in reversed(sweeps)))
    if not known:
        where = f"number {experiment}" if run else experiment_name()
        message = (
            f"has no sweep in the experiment {where}; `fedtune run` starts one, "
            "`fedtune sync` brings one in from the round logs"
        )
        raise BadInput.of("tracking_uri", uri, message)
    name = wanted or known[0]
    if name not in known:
        message = (
            f"MLflow has no such sweep{did_you_mean(name, known)}; it has {', '.join(known)} "
            "(`fedtune sync` brings it up to date)"
        )
        raise BadInput.of("sweep", name, message)
    parent = next(run for run in reversed(sweeps) if run.data.tags[names.SWEEP] == name)
    condition = f"tags.`{names.SWEEP}` = '{name}' and tags.`{names.KIND}` != 'sweep'"
    newest: dict[str, Run] = {}
    for run in sorted(_runs(client, experiment, condition), key=lambda run: run.info.start_time):
        newest[run.data.tags[names.TRIAL_ID]] = run
    told = parent.data.tags.get(names.TRIALS, "")
    every = [_read(client, run) for key, run in newest.items() if names.is_listed(key, told)]
    kept, expected = named_apart(current(every), read_expected(parent.data.tags))
    trials = judged(with_artifacts(client, kept))
    order = sorted(trials, key=lambda t: (t.model, t.dataset, t.variant, t.clients, t.seed))
    return Sweep(
        name,
        parent.info.run_id,
        parent.info.status,
        parent.info.start_time,
        tuple(order),
        dict(parent.data.tags),
        expected,
        left_out=len(newest) - len(kept),
    )


def _runs(client: MlflowClient, experiment: str | None, condition: str) -> list[Run]:
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([str(experiment)], condition, max_results=500, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _latest(run: Run) -> int:
    """When a sweep was last launched; when it came into MLflow, where `fedtune sync` brought it."""
    return int(run.data.tags.get(names.LAUNCHED) or run.info.start_time)


def _read(client: MlflowClient, run: Run) -> TrackedTrial:
    # A run that was tracked before a setting came to be has its default.
    params, tags = DEFAULTS | dict(run.data.params), dict(run.data.tags)
    tracked = {key: float(value) for key, value in run.data.metrics.items()}
    clients = int(params["clients"])
    return TrackedTrial(
        name=str(run.info.run_name),
        run_id=str(run.info.run_id),
        trial_id=tags[names.TRIAL_ID],
        baseline_id=tags[names.BASELINE_ID],
        model=params["model"],
        dataset=params["dataset"],
        clients=clients,
        seed=int(params["seed"]),
        variant="",
        params=params,
        tags=tags,
        facts={k: v for k, v in tracked.items() if k.startswith(("data/", "model/", "steps/per_"))}
        | {k: v for k, v in tracked.items() if k == "summary/chance"},
        records=_points(client, run, ROUND_METRICS, "round", ROUND_MARKER),
        by_step=_points(client, run, STEP_METRICS, "step", STEP_MARKER),
        tracked={k: v for k, v in tracked.items() if k.startswith("summary/")},
        rule=StopRule(
            is_baseline=tags[names.KIND] == "baseline",
            budget=int(tags["fedtune.budget_rounds"]),
            cap=int(tags["fedtune.max_rounds"]),
            eval_every=int(tags["fedtune.eval_every"]),
            stop=tags["fedtune.stop"],
            metric=f"{tags['fedtune.stop_on']}/accuracy",
        ),
        started_ms=int(run.info.start_time),
    )


def _points(
    client: MlflowClient, run: Run, metrics: Sequence[str], number: str, marker: str
) -> list[dict[str, Any]]:
    """What a run has of ``metrics`` at each of its steps, which ``number`` names (``round``), where
    it has the ``marker``; all under the names of a round's record.
    """
    found: dict[int, dict[str, Any]] = {}
    for metric in metrics:
        if metric not in run.data.metrics:
            continue
        for point in client.get_metric_history(run.info.run_id, metric):
            record = found.setdefault(point.step, {number: point.step})
            record[metric.removeprefix(names.BY_STEP)] = point.value
    marker = marker.removeprefix(names.BY_STEP)
    return [found[step] for step in sorted(found) if marker in found[step]]
