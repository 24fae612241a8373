"""From round logs to MLflow, exactly once.

MLflow holds a projection of the logs on disk that can be repeated at any time: a run is found by
its sweep and trial, a round by its step, and only what is missing is added. Points carry times that
are computed from the log, so even a batch that MLflow took and failed to acknowledge adds nothing
when it is sent again.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType

from fedtune import __version__
from fedtune.tracking import names
from fedtune.trial.prepare import Trial
from fedtune.trial.results import Result
from fedtune.trial.stopping import Outcome

#: Present in every record, so its last step tells which rounds a run has.
_MARKER = "steps/sequential"

#: MLflow takes at most 1,000 metrics in a batch.
_BATCH = 900

#: An address with more runs than this is longer than browsers and terminals like.
_RUNS_IN_URL = 24


class Projection:
    """One sweep in MLflow: its run, and a run per trial beneath it. Needs one writer at a time."""

    def __init__(self, tracking_uri: str, sweep: str, axes: Sequence[str] = ()):
        self.uri, self.sweep, self.axes = tracking_uri, sweep, axes
        for noisy in ("mlflow.store.db", "alembic"):  # they tell of every table that they make
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.client = MlflowClient(tracking_uri)
        self.experiment_id = self._experiment()
        self.parent_id = ""
        self._runs: dict[str, str] = {}
        self._last_step: dict[str, int] = {}

    def urls(self) -> dict[str, str]:
        """Where a browser shows the trials together: what is shown, and the address."""
        urls = {"every metric": names.charts_url(self.uri, self.experiment_id, self.sweep)}
        if 0 < len(self._runs) <= _RUNS_IN_URL:
            run_ids = list(self._runs.values())
            accuracy = names.accuracy_url(self.uri, self.experiment_id, run_ids)
            urls = {"accuracy per round": accuracy} | urls
        return urls

    def open_sweep(self) -> str:
        """Find or make the sweep's run and return its id.

        Under ``mlflow run`` it is the run that MLflow made (``MLFLOW_RUN_ID``); else the newest one
        of this sweep is opened again, so that launching again to resume does not add another.
        """
        inherited = os.environ.get("MLFLOW_RUN_ID")
        own = {names.KIND: "sweep", names.SWEEP: self.sweep, names.GIT_COMMIT: git_commit()}
        found = None if inherited else self._find(f"tags.`{names.KIND}` = 'sweep'")
        if inherited:
            self.parent_id = inherited
        elif found:
            self.parent_id = found.info.run_id
            self.client.update_run(self.parent_id, status="RUNNING")
        else:
            run = self.client.create_run(self.experiment_id, run_name=self.sweep)
            self.parent_id = run.info.run_id
        self._tag(self.parent_id, own)
        return self.parent_id

    def close_sweep(self, status: str, table: str = "", csv: str = "") -> None:
        """Give the sweep's run the closing table, as its note and as artifacts, and end it.

        Raises MlflowException where MLflow cannot be reached.
        """
        links = " · ".join(f"[{what}]({url})" for what, url in self.urls().items())
        self.client.set_tag(self.parent_id, names.NOTE, f"{table}\n\nCurves: {links}\n")
        if table:
            self.client.log_text(self.parent_id, table + "\n", "table.md")
            self.client.log_text(self.parent_id, csv, "table.csv")
        if "MLFLOW_RUN_ID" not in os.environ:  # else `mlflow run` ends it
            self.client.set_terminated(self.parent_id, status)

    def project(self, result: Result, status: str = "RUNNING") -> int:
        """Bring the trial's run up to date and return how many rounds were added.

        ``status`` is MLflow's. Raises MlflowException where MLflow cannot be reached.
        """
        started_ms = result.begun_ms
        run_id = self._open_trial(result.trial, started_ms)
        missing = [r for r in result.records if r["round"] > self._last_step[run_id]]
        times = _times_ms(result.records, started_ms)
        batch: list[Metric] = []
        for record in missing:
            batch += _metrics(record, times[record["round"]], record["round"])
            if len(batch) > _BATCH - 50:
                self.client.log_batch(run_id, metrics=batch)
                batch = []
        if result.records and self._last_step[run_id] < 0:
            batch += _metrics(result.facts, started_ms, 0)
        if batch:
            self.client.log_batch(run_id, metrics=batch)
        if missing:
            self._last_step[run_id] = missing[-1]["round"]
        if status != "RUNNING":
            self._conclude(run_id, result, times, status)
        return len(missing)

    def run_id(self, trial_id: str) -> str | None:
        """The MLflow run of a trial that has been projected."""
        return self._runs.get(trial_id)

    def set_outcome(self, trial: Trial, outcome: Outcome) -> None:
        """Mark a trial that was not brought to its end (``failed``, ``waiting``)."""
        run_id = self._open_trial(trial, round(1000 * time.time()))
        self._tag(run_id, {names.OUTCOME: outcome})
        self.client.set_terminated(run_id, "FAILED")

    def _open_trial(self, trial: Trial, started_ms: int) -> str:
        if trial.trial_id in self._runs:
            return self._runs[trial.trial_id]
        found = self._find(f"tags.`{names.TRIAL_ID}` = '{trial.trial_id}'")
        if found is None:
            run = self.client.create_run(
                self.experiment_id,
                start_time=started_ms,
                run_name=names.run_name(trial, self.axes),
                tags={names.SWEEP: self.sweep, names.TRIAL_ID: trial.trial_id},
            )
            run_id, last = str(run.info.run_id), -1
        else:
            run_id = found.info.run_id
            history = self.client.get_metric_history(run_id, _MARKER)
            last = max((point.step for point in history), default=-1)
            if found.info.status != "RUNNING":
                self.client.update_run(run_id, status="RUNNING")
        if found is None or not found.data.params:  # the launch may have died between the two calls
            values = [Param(key, value) for key, value in names.params(trial).items()]
            self.client.log_batch(run_id, params=values)
        self._tag(
            run_id,
            names.tags(trial) | {names.PARENT: self.parent_id, names.GIT_COMMIT: git_commit()},
        )
        self._runs[trial.trial_id], self._last_step[run_id] = run_id, last
        return run_id

    def _conclude(self, run_id: str, result: Result, times: Mapping[int, int], status: str) -> None:
        summary = result.summary
        if summary is not None and result.ended:  # a summary on the way would be a second point
            last = result.records[-1]["round"]
            points = _metrics(summary.metrics(), times[last], last)
            known = self.client.get_run(run_id).data.metrics
            fresh = [p for p in points if known.get(p.key) != p.value]
            if fresh:
                self.client.log_batch(run_id, metrics=fresh)
            words = {names.COLLAPSED: str(summary.collapsed).lower()}
            if summary.outcome is not None:
                words[names.OUTCOME] = summary.outcome
            if result.diverged:
                words["fedtune.diverged"] = "round {round}, client {client_id}".format(
                    **result.diverged
                )
            self._tag(run_id, words)
        self.client.set_terminated(run_id, status)

    def _tag(self, run_id: str, values: Mapping[str, str]) -> None:
        self.client.log_batch(run_id, tags=[RunTag(k, v) for k, v in values.items()])

    def _find(self, condition: str) -> Run | None:
        """The newest run of this sweep that meets ``condition``."""
        found = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{names.SWEEP}` = '{self.sweep}' and {condition}",
            ViewType.ACTIVE_ONLY,
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        return found[0] if found else None

    def _experiment(self) -> str:
        """The experiment that the environment names, else ``fedtune``."""
        named = os.environ.get("MLFLOW_EXPERIMENT_ID")
        inherited = os.environ.get("MLFLOW_RUN_ID")
        if inherited:
            return str(self.client.get_run(inherited).info.experiment_id)
        if named:
            return named
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", names.EXPERIMENT)
        known = self.client.get_experiment_by_name(name)
        return str(known.experiment_id if known else self.client.create_experiment(name))


def resolve_uri(asked: str | None = None) -> str:
    """The tracking URI: ``asked``, else ``MLFLOW_TRACKING_URI``, else mlflow.db in this folder.

    Absolute, because trials run in other folders.
    """
    uri = asked or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    prefix = "sqlite:///"
    if uri.startswith(prefix) and not uri.startswith("sqlite:////"):
        return f"{prefix}{Path(uri.removeprefix(prefix)).absolute()}"
    return uri


def _metrics(values: Mapping[str, Any], timestamp_ms: int, step: int) -> list[Metric]:
    """The numbers of ``values`` that have tracked names (all have a slash), as points."""
    return [Metric(k, float(v), timestamp_ms, step) for k, v in values.items() if "/" in k]


def _times_ms(records: Sequence[Mapping[str, Any]], started_ms: int) -> dict[int, int]:
    """When each round was over, by adding up the times in the log."""
    times, elapsed = {}, 0.0
    for record in records:
        elapsed += record.get("time/round_s", 0.0) + record.get("time/eval_s", 0.0)
        times[record["round"]] = started_ms + round(1000 * elapsed)
    return times


@lru_cache(maxsize=1)
def git_commit() -> str:
    """The commit of the clone that fedtune runs from, or its version where it runs from a wheel."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here)]
    try:
        # An environment inside somebody's clone is not part of it: only tracked files count.
        subprocess.run(
            [*command, "ls-files", "--error-unmatch", Path(__file__).name],
            check=True,
            capture_output=True,
        )
        done = subprocess.run([*command, "rev-parse", "HEAD"], check=True, capture_output=True)
        return done.stdout.decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return f"none (version {__version__})"
