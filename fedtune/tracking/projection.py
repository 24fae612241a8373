"""From round logs to MLflow, exactly once.

MLflow holds a projection of the logs on disk that can be repeated at any time: a run is found by
its sweep and trial, a round by its step, and only what is missing is added. Points carry times that
are computed from the log, so even a batch that MLflow took and failed to acknowledge adds nothing
when it is sent again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType

from fedtune.provenance import git_commit
from fedtune.tracking import names
from fedtune.tracking.uri import experiment_name, find_experiment, resolve_uri
from fedtune.trial.identity import Trial
from fedtune.trial.results import Result
from fedtune.trial.stopping import Outcome

#: Present in every record, so its last step tells which rounds a run has.
_MARKER = "steps/sequential"

#: MLflow takes at most 1,000 metrics in a batch.
_BATCH = 900

#: An address with more runs than this is longer than browsers and terminals like.
_RUNS_IN_URL = 24


class Projection:
    """One sweep in MLflow: its run, and a run per trial beneath it. Needs one writer at a time.

    ``axes`` are the fields that name the trials' runs, ``sweep_tags`` go to the sweep's own run.
    """

    def __init__(
        self,
        tracking_uri: str,
        sweep: str,
        axes: Sequence[str] = (),
        sweep_tags: Mapping[str, str] | None = None,
        *,
        inherit: bool = True,
    ):
        self.uri, self.sweep, self.axes = tracking_uri, sweep, axes
        self._sweep_tags = dict(sweep_tags or {})
        for noisy in ("mlflow.store.db", "alembic"):  # they tell of every table that they make
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.client = MlflowClient(tracking_uri)
        self._inherited = self._inherited_run() if inherit else None
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
        own = {names.KIND: "sweep", names.SWEEP: self.sweep, names.GIT_COMMIT: git_commit()}
        found = None if self._inherited else self._find(f"tags.`{names.KIND}` = 'sweep'")
        if self._inherited:
            self.parent_id = self._inherited.info.run_id
            self.client.update_run(self.parent_id, name=self.sweep)  # MLflow draws a name by lot
        elif found:
            self.parent_id = found.info.run_id
            self.client.update_run(self.parent_id, status="RUNNING")
        else:
            run = self.client.create_run(self.experiment_id, run_name=self.sweep)
            self.parent_id = run.info.run_id
        self._tag(self.parent_id, self._sweep_tags | own)
        return self.parent_id

    def close_sweep(self, status: str, table: str = "", csv: str = "") -> None:
        """Give the sweep's run the closing table, as its note and as artifacts, and end it.

        Raises MlflowException where MLflow cannot be reached, and what its store of artifacts
        raises where that refuses; the run has ended by then.
        """
        if table:
            links = " · ".join(f"[{what}]({url})" for what, url in self.urls().items())
            curves = f"\n\nCurves: {links}\n"
            fits = len(table) + len(curves) <= names.LONGEST_TAG
            note = table if fits else "The closing table is among the artifacts: `table.md`."
            self.client.set_tag(self.parent_id, names.NOTE, note + curves)
        if not self._inherited:  # else `mlflow run` ends it
            self.client.set_terminated(self.parent_id, status)
        if table:
            self.client.log_text(self.parent_id, table + "\n", "table.md")
            self.client.log_text(self.parent_id, csv, "table.csv")

    def project(self, result: Result, status: str = "RUNNING") -> int:
        """Bring the trial's run up to date and return how many rounds were added.

        ``status`` is MLflow's. Raises MlflowException where MLflow cannot be reached.
        """
        started_ms = int(result.origin.get("begun_ms", 0))
        run_id = self._open_trial(result.trial, result.origin)
        missing = [r for r in result.records if r["round"] > self._last_step[run_id]]
        times = _times_ms(result.records, started_ms)
        new = self._last_step[run_id] < 0 and bool(result.records)
        batch = _metrics(_facts(result), started_ms, 0) if new else []
        for record in missing:
            batch += _metrics(record, times[record["round"]], record["round"])
            if len(batch) > _BATCH - 50:
                self.client.log_batch(run_id, metrics=batch)
                batch = []
        if batch:
            self.client.log_batch(run_id, metrics=batch)
        if missing:
            self._last_step[run_id] = missing[-1]["round"]
        if status != "RUNNING" and self._is_stale(run_id, result):
            # MLflow cannot take a metric back (rounds to a target that is not reached any more),
            # but a projection can be made anew.
            self.client.delete_run(run_id)
            del self._runs[result.trial.trial_id]
            return self.project(result, status)
        if status != "RUNNING":
            # By the log: it ended when it did, however often it is projected.
            ended_ms = times[result.records[-1]["round"]] if result.records else None
            self.client.set_terminated(run_id, status, ended_ms)
            self._conclude(run_id, result, times)
        return len(missing)

    def run_id(self, trial_id: str) -> str | None:
        """The MLflow run of a trial that has been projected."""
        return self._runs.get(trial_id)

    def set_outcome(self, trial: Trial, outcome: Outcome) -> None:
        """Mark a trial that was not brought to its end (``failed``, ``waiting``)."""
        now = {"begun_ms": round(1000 * time.time()), "git_commit": git_commit()}
        run_id = self._open_trial(trial, now)
        self._tag(run_id, {names.OUTCOME: outcome})
        self.client.set_terminated(run_id, "FAILED")

    def _open_trial(self, trial: Trial, origin: Mapping[str, Any]) -> str:
        if trial.trial_id in self._runs:
            return self._runs[trial.trial_id]
        found = self._find(f"tags.`{names.TRIAL_ID}` = '{trial.trial_id}'")
        if found is None:
            run = self.client.create_run(
                self.experiment_id,
                start_time=int(origin.get("begun_ms", 0)),
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
            if names.OUTCOME in found.data.tags:  # not any more: it goes on
                self.client.delete_tag(run_id, names.OUTCOME)
        if found is None or not found.data.params:  # the launch may have died between the two calls
            values = [Param(key, value) for key, value in names.params(trial).items()]
            self.client.log_batch(run_id, params=values)
        own = names.tags(trial) | names.origin_tags(origin)
        self._tag(run_id, own | {names.PARENT: self.parent_id})
        self._runs[trial.trial_id], self._last_step[run_id] = run_id, last
        return run_id

    def _conclude(self, run_id: str, result: Result, times: Mapping[int, int]) -> None:
        """What is tracked at a trial's end; the artifact last, in case its store refuses."""
        summary = result.summary
        if summary is not None and result.ended:  # a summary on the way would be a second point
            last = result.records[-1]["round"]
            data = self.client.get_run(run_id).data
            metrics = result.summary_metrics()
            # MLflow shows the point of the latest step and time; a summary that has changed (with
            # another target, say) must be that one.
            step = max(last, self._last_step[run_id])
            changed = any(key in data.metrics for key in metrics)
            moment = round(1000 * time.time()) if changed else times[last]
            fresh = [
                point
                for point in _metrics(metrics, moment, step)
                if data.metrics.get(point.key) != point.value
            ]
            if fresh:
                self.client.log_batch(run_id, metrics=fresh)
            words = {names.COLLAPSED: str(summary.collapsed).lower()}
            if summary.outcome is not None:
                words[names.OUTCOME] = summary.outcome
            if result.diverged:
                words[names.DIVERGED] = result.diverged
            self._tag(run_id, words)
            if result.predictions is not None:
                which = f"round {result.trial.stop_rule.budget}"
                if data.tags.get(names.PREDICTIONS) != which:
                    self.client.log_artifact(run_id, str(result.predictions))
                    self._tag(run_id, {names.PREDICTIONS: which})

    def _is_stale(self, run_id: str, result: Result) -> bool:
        """Has the run a summary metric that the trial, as it is read now, has not?"""
        now = result.summary_metrics()
        known = self.client.get_run(run_id).data.metrics if now else {}
        return any(key.startswith("summary/") and key not in now for key in known)

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

    def _inherited_run(self) -> Run | None:
        """The run that ``mlflow run`` made for this process, if it is in this tracking store."""
        run_id = os.environ.get("MLFLOW_RUN_ID")
        if not run_id or resolve_uri() != self.uri:
            return None
        return self.client.get_run(run_id)

    def _experiment(self) -> str:
        """The experiment that the environment names, else ``fedtune``."""
        if self._inherited:
            return str(self._inherited.info.experiment_id)
        found = find_experiment(self.client)
        return found or str(self.client.create_experiment(experiment_name()))


def _metrics(values: Mapping[str, Any], timestamp_ms: int, step: int) -> list[Metric]:
    """The numbers of ``values`` that have tracked names (all have a slash), as points."""
    return [Metric(k, float(v), timestamp_ms, step) for k, v in values.items() if "/" in k]


def _facts(result: Result) -> dict[str, Any]:
    """What is tracked once at the start. (Summaries are tracked at the end.)"""
    return {key: v for key, v in result.facts.items() if not key.startswith("summary/")}


def _times_ms(records: Sequence[Mapping[str, Any]], started_ms: int) -> dict[int, int]:
    """When each round was over, by adding up the times in the log."""
    times, elapsed = {}, 0.0
    for record in records:
        elapsed += record.get("time/round_s", 0.0) + record.get("time/eval_s", 0.0)
        times[record["round"]] = started_ms + round(1000 * elapsed)
    return times
