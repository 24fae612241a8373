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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag

from fedtune.provenance import git_commit
from fedtune.tracking import names
from fedtune.tracking.called import Called, as_called
from fedtune.tracking.inputs import dataset_input
from fedtune.tracking.sweep_run import SweepRun, Told, newest
from fedtune.tracking.times import times_ms
from fedtune.tracking.uri import experiment_name, find_experiment, resolve_uri
from fedtune.tracking.views import colour
from fedtune.trial.identity import Trial
from fedtune.trial.results import Result
from fedtune.trial.stopping import Outcome
from fedtune.trial.system import SAMPLE_MARKER, read_samples

#: Present in every record, so its last step tells which rounds a run has.
_MARKER = "steps/sequential"


class Projection:
    """One sweep in MLflow: its run, and a run per trial beneath it. Needs one writer at a time.

    ``axes`` are the fields that name the trials' runs; ``sweep_tags`` and ``params`` go to the
    sweep's own run, ``called`` are the names of models and data sets (see ``called.py``), and
    ``results`` tells how the sweep's trials stand when it is asked.
    """

    def __init__(
        self,
        tracking_uri: str,
        sweep: str,
        axes: Sequence[str] = (),
        sweep_tags: Mapping[str, str] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        called: Called | None = None,
        results: Callable[[], Sequence[Result]] = tuple,
        inherit: bool = True,
    ):
        self.uri = tracking_uri
        told = Told(sweep, axes, sweep_tags or {}, params or {}, called or {}, results)
        for noisy in ("mlflow.store.db", "alembic"):  # they tell of every table that they make
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.client = MlflowClient(tracking_uri)
        inherited = self._inherited_run() if inherit else None
        self.experiment_id = self._experiment(inherited)
        self._sweep = SweepRun(self.client, self.experiment_id, told, inherited)
        self._runs: dict[str, str] = {}
        self._last_step: dict[str, int] = {}
        self._last_sample: dict[str, int] = {}

    @property
    def parent_id(self) -> str:
        """The sweep's run; empty before :meth:`open_sweep`."""
        return self._sweep.run_id

    def describe(self, axes: Sequence[str], params: Mapping[str, str], called: Called) -> None:
        """Tell what was not known when the sweep began, before it is closed."""
        self._sweep.told = replace(self._sweep.told, axes=axes, params=params, called=called)

    def urls(self) -> dict[str, str]:
        """Where a browser shows the trials together: what is shown, and the address."""
        return {what: names.url(self.uri, page) for what, page in self._sweep.pages().items()}

    def open_sweep(self) -> str:
        """Find or make the sweep's run and return its id."""
        return self._sweep.open()

    def close_sweep(self, status: str, table: str = "", csv: str = "") -> None:
        """Give the sweep's run what its trials amount to, the closing table as its note and as
        artifacts, and end it.

        Raises MlflowException where MLflow cannot be reached, and what its store of artifacts
        raises where that refuses; the run has ended by then.
        """
        self._sweep.close(status, table, csv)

    def project(self, result: Result, status: str = "RUNNING") -> int:
        """Bring the trial's run up to date and return how many rounds were added.

        ``status`` is MLflow's. Raises MlflowException where MLflow cannot be reached.
        """
        started_ms = int(result.origin.get("begun_ms", 0))
        run_id = self._open_trial(result.trial, result.origin, result.facts)
        missing = [r for r in result.records if r["round"] > self._last_step[run_id]]
        times = times_ms(result.records, started_ms)
        new = self._last_step[run_id] < 0 and bool(result.records)
        groups = [_metrics(_facts(result), started_ms, 0)] if new else []
        groups += [_metrics(r, times[r["round"]], r["round"]) for r in missing]
        self._log(run_id, groups)
        if missing:
            self._last_step[run_id] = missing[-1]["round"]
        self._log_samples(run_id, result)
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

    def set_outcome(self, result: Result, outcome: Outcome) -> None:
        """Mark a trial that was not brought to its end (``failed``, ``waiting``).

        Its run ends with its last round; one without rounds ends when it was made.
        """
        now = {"begun_ms": round(1000 * time.time()), "git_commit": git_commit()}
        run_id = self._open_trial(result.trial, now | result.origin, result.facts)
        self._tag(run_id, {names.OUTCOME: outcome})
        started = self.client.get_run(run_id).info.start_time
        ended = max(times_ms(result.records, started).values(), default=started)
        self.client.set_terminated(run_id, "FAILED", ended)

    def _open_trial(self, trial: Trial, origin: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
        if trial.trial_id in self._runs:
            return self._runs[trial.trial_id]
        shown = as_called(trial, self._sweep.told.called)
        found = self._found_trial(shown)
        if found is None:
            run = self.client.create_run(
                self.experiment_id,
                start_time=int(origin.get("begun_ms", 0)),
                run_name=names.run_name(shown, self._sweep.told.axes),
                tags={names.SWEEP: self._sweep.told.sweep, names.TRIAL_ID: trial.trial_id},
            )
            run_id = str(run.info.run_id)
        else:
            run_id = found.info.run_id
            if found.info.status != "RUNNING":
                self.client.update_run(run_id, status="RUNNING")
            if names.OUTCOME in found.data.tags:  # not any more: it goes on
                self.client.delete_tag(run_id, names.OUTCOME)
        if found is None or not found.data.params:  # the launch may have died between the two calls
            values = [Param(key, value) for key, value in names.params(shown).items()]
            self.client.log_batch(run_id, params=values)
        known = found.data.tags if found else {}
        own = names.tags(trial) | names.origin_tags(origin)
        own |= names.shown_tags(str(origin.get("git_commit")), known)
        own |= {
            names.PARENT: self.parent_id,
            names.COLOUR: colour(shown.config, self._sweep.told.called),
        }
        self._tag(run_id, own)
        if "data/train_examples" in facts:  # else it failed before its data was read
            self._log_dataset(found, run_id, dataset_input(trial, shown.config.dataset, facts))
        self._runs[trial.trial_id] = run_id
        self._last_step[run_id] = self._last(found, _MARKER)
        self._last_sample[run_id] = self._last(found, SAMPLE_MARKER)
        return run_id

    def _found_trial(self, shown: Trial) -> Run | None:
        """The run of a trial, unless it was made under other names of model or data set, which
        MLflow lets nobody change: such a run is made anew.
        """
        condition = f"tags.`{names.TRIAL_ID}` = '{shown.trial_id}'"
        found = newest(self.client, self.experiment_id, self._sweep.told.sweep, condition)
        if found is None:
            return None
        now = {field: getattr(shown.config, field) for field in ("model", "dataset")}
        if all(found.data.params.get(field, name) == name for field, name in now.items()):
            return found
        self.client.delete_run(found.info.run_id)
        return None

    def _log_dataset(self, found: Run | None, run_id: str, data: DatasetInput) -> None:
        if found is None or not found.inputs or not found.inputs.dataset_inputs:
            self.client.log_inputs(run_id, datasets=[data])
        self._sweep.add_dataset(data)

    def _last(self, found: Run | None, metric: str) -> int:
        """The last step that the run has of a metric; -1 without one."""
        if found is None or metric not in found.data.metrics:
            return -1
        history = self.client.get_metric_history(found.info.run_id, metric)
        return max(point.step for point in history)

    def _log(self, run_id: str, groups: Iterable[list[Metric]]) -> None:
        """Log points; those of a group (a round, say) are in MLflow together or not at all."""
        batch: list[Metric] = []
        for group in groups:
            if len(batch) + len(group) > names.LARGEST_BATCH:
                self.client.log_batch(run_id, metrics=batch)
                batch = []
            batch += group
        if batch:
            self.client.log_batch(run_id, metrics=batch)

    def _log_samples(self, run_id: str, result: Result) -> None:
        """What was sampled of the trial's process; the step is the number of the sample."""
        samples = read_samples(result.samples) if result.samples else []
        last = self._last_sample[run_id]
        groups = [_metrics(s, s["unix_ms"], number) for number, s in enumerate(samples)]
        self._log(run_id, groups[last + 1 :])
        self._last_sample[run_id] = max(last, len(samples) - 1)

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

    def _inherited_run(self) -> Run | None:
        """The run that ``mlflow run`` made for this process, if it is in this tracking store."""
        run_id = os.environ.get("MLFLOW_RUN_ID")
        if not run_id or resolve_uri() != self.uri:
            return None
        return self.client.get_run(run_id)

    def _experiment(self, inherited: Run | None) -> str:
        """The experiment that the environment names, else ``fedtune``."""
        if inherited:
            return str(inherited.info.experiment_id)
        found = find_experiment(self.client)
        return found or str(self.client.create_experiment(experiment_name()))


def _metrics(values: Mapping[str, Any], timestamp_ms: int, step: int) -> list[Metric]:
    """The numbers of ``values`` that have tracked names (all have a slash), as points."""
    return [Metric(k, float(v), timestamp_ms, step) for k, v in values.items() if "/" in k]


def _facts(result: Result) -> dict[str, Any]:
    """What is tracked once at the start. (Summaries are tracked at the end.)"""
    return {key: v for key, v in result.facts.items() if not key.startswith("summary/")}
