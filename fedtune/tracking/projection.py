"""From round logs to MLflow, exactly once.

MLflow holds a projection of the logs on disk that can be repeated at any time: a run is found by
its sweep and trial, a round by its step, and only what is missing is added. Points carry times that
are computed from the log, so even a batch that MLflow took and failed to acknowledge adds nothing
when it is sent again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedtune.provenance import git_commit
from fedtune.tracking import names
from fedtune.tracking.called import Called
from fedtune.tracking.claims import Claims
from fedtune.tracking.connection import connect, experiment_of_environment, run_of_environment
from fedtune.tracking.points import PEAK_MEMORY, Points, metrics, metrics_by_step, tag
from fedtune.tracking.sweep_run import SweepRun, Told
from fedtune.tracking.times import times_ms
from fedtune.tracking.trial_runs import TrialRun, TrialRuns
from fedtune.tracking.uri import make_experiment
from fedtune.trial.results import Result
from fedtune.trial.stopping import Outcome
from fedtune.trial.system import read_samples


class Projection:
    """One sweep in MLflow: its run, and a run per trial beneath it.

    A trial has one writer at a time (see ``claims.py``): the ``store`` that has it at work.

    ``axes`` are the fields that name the trials' runs; ``sweep_tags`` and ``params`` go to the
    sweep's own run, ``called`` are the names of models and data sets (see ``called.py``), and
    ``results`` tells how the sweep's trials stand when it is asked. ``on_step`` is called whenever
    MLflow has done something. The run of ``MLFLOW_RUN_ID`` is the sweep's where `mlflow run` made
    it for fedtune's own project (``of_project``); any other is the user's, and stands above the
    sweep's. (``inherit`` is False where there is neither.)

    Raises BadInput where the environment or the tracking store cannot be used as they are, and what
    MLflow raises where it cannot be reached.
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
        store: Path = Path(),
        inherit: bool = True,
        of_project: bool = False,
        on_step: Callable[[], None] = lambda: None,
    ):
        self.uri = tracking_uri
        told = Told(sweep, axes, sweep_tags or {}, params or {}, called or {}, results)
        self.client = connect(tracking_uri, on_step)
        run = run_of_environment(self.client, tracking_uri)
        found = experiment_of_environment(self.client, run)
        self.experiment_id = found or make_experiment(self.client)
        given = run if inherit else None
        self._claims, self._points = Claims(self.client, store), Points(self.client)
        self._sweep = SweepRun(self.client, self.experiment_id, told, given, of_project=of_project)
        self._trial_runs = TrialRuns(
            self.client, self.experiment_id, self._sweep, self._claims, self._points
        )

    @property
    def mended(self) -> int:
        """How many runs had points twice, and were made anew."""
        return self._trial_runs.mended

    @property
    def parent_id(self) -> str:
        """The sweep's run; empty before :meth:`open_sweep`."""
        return self._sweep.run_id

    def describe(
        self,
        axes: Sequence[str],
        params: Mapping[str, str],
        called: Called,
        sweep_tags: Mapping[str, str] | None = None,
    ) -> None:
        """Tell what was not known when this was made, before the sweep is opened or closed."""
        known = self._sweep.told
        tags = known.tags if sweep_tags is None else sweep_tags
        self._sweep.told = replace(known, axes=axes, params=params, called=called, tags=tags)

    def urls(self) -> dict[str, str]:
        """Where a browser shows the trials together: what is shown, and the address."""
        return {what: names.url(self.uri, page) for what, page in self._sweep.pages().items()}

    def check_free(self, begun_ms: Mapping[str, int]) -> None:
        """Raise TrialInUse where another store is tracking one of these trials for this sweep;
        when each was begun here (0: not yet), by ``trial_id``.
        """
        for run in self._sweep.search("attributes.status = 'RUNNING'"):
            trial_id = run.data.tags.get(names.TRIAL_ID, "")
            if trial_id in begun_ms:
                self._claims.check(run, trial_id, begun_ms[trial_id])

    def keep_alive(self) -> None:
        """Tell other stores, from time to time, that the trials at work are still this one's."""
        self._claims.renew()

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

        ``status`` is MLflow's. Raises MlflowException where MLflow cannot be reached, and
        TrialInUse where another store is writing the run.
        """
        run = self._trial_runs.open(result)
        run_id = run.run_id
        missing = [r for r in result.records if r["round"] > run.last_step]
        times = times_ms(result.records, run.started_ms)
        new = run.last_step < 0 and bool(result.records)
        groups = [metrics(_facts(result), run.started_ms, 0)] if new else []
        groups += [metrics(r, times[r["round"]], r["round"]) for r in missing]
        self._points.log(run_id, groups)
        if missing:
            run.last_step = missing[-1]["round"]
        self._log_samples(run, result)
        self._log_by_step(run, result, times)
        if status != "RUNNING" and self._is_stale(run_id, result):
            # MLflow cannot take a metric back (rounds to a target that is not reached any more),
            # but a projection can be made anew.
            self.client.delete_run(run_id)
            self._trial_runs.forget(result.trial.trial_id)
            return self.project(result, status)
        if status != "RUNNING":
            # By the log: it ended when it did, however often it is projected.
            ended_ms = times[result.records[-1]["round"]] if result.records else None
            self.client.set_terminated(run_id, status, ended_ms)
            self._conclude(run, result, times)
            self._claims.drop(run_id)
        return len(missing)

    def run_id(self, trial_id: str) -> str | None:
        """The MLflow run of a trial that has been projected."""
        return self._trial_runs.run_id(trial_id)

    def set_outcome(self, result: Result, outcome: Outcome) -> None:
        """Mark a trial that was not brought to its end (``failed``, ``waiting``).

        Its run ends with its last round; one without rounds ends when it was made.
        """
        now = {"begun_ms": round(1000 * time.time()), "git_commit": git_commit()}
        run_id = self._trial_runs.open(replace(result, origin=now | dict(result.origin))).run_id
        self._tag(run_id, {names.OUTCOME: outcome})
        started = self.client.get_run(run_id).info.start_time
        ended = max(times_ms(result.records, started).values(), default=started)
        self.client.set_terminated(run_id, "FAILED", ended)
        self._claims.drop(run_id)

    def _log_samples(self, run: TrialRun, result: Result) -> None:
        """What was sampled of the trial's process; the step is the number of the sample."""
        samples = read_samples(result.samples) if result.samples else []
        groups = [metrics(s, s["unix_ms"], number) for number, s in enumerate(samples)]
        self._points.log(run.run_id, groups[run.last_sample + 1 :])
        run.last_sample = max(run.last_sample, len(samples) - 1)

    def _log_by_step(self, run: TrialRun, result: Result, times: Mapping[int, int]) -> None:
        """What was found after so many steps, at the times at which rounds were over."""
        new = [point for point in result.by_step if point["step"] not in run.by_step]
        self._points.log(run.run_id, [metrics_by_step(p, times[p["round"]]) for p in new])
        run.by_step |= {point["step"] for point in new}

    def _conclude(self, run: TrialRun, result: Result, times: Mapping[int, int]) -> None:
        """What is tracked at a trial's end; the artifact last, in case its store refuses."""
        run_id = run.run_id
        summary = result.summary
        if summary is not None and result.ended:  # a summary on the way would be a second point
            last = result.records[-1]["round"]
            found = self.client.get_run(run_id)
            data, told = found.data, result.summary_metrics()
            # MLflow shows the point of the latest step and time; a summary that has changed (with
            # another target, say) must be that one.
            step = max(last, run.last_step)
            if step in self._points.times(found, PEAK_MEMORY):  # perhaps another store's
                told.pop(PEAK_MEMORY, None)
            changed = any(key in data.metrics for key in told)
            moment = round(1000 * time.time()) if changed else times[last]
            fresh = [
                point
                for point in metrics(told, moment, step)
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
            if result.partition is not None and names.PARTITION_FILE not in data.tags:
                self._log_partition(run_id, result.partition)
            if result.predictions is not None:
                which = f"round {result.trial.stop_rule.budget}"
                if data.tags.get(names.PREDICTIONS) != which:
                    self.client.log_artifact(run_id, str(result.predictions))
                    self._tag(run_id, {names.PREDICTIONS: which})

    def _log_partition(self, run_id: str, path: Path) -> None:
        """What each client has, as a file and as a picture of it."""
        from fedtune.tracking.partition_figure import partition_figure  # draws: half a second

        content = json.loads(path.read_text(encoding="utf-8"))
        self.client.log_artifact(run_id, str(path))
        figure = partition_figure(content, f"{len(content['clients'])} clients")
        self.client.log_figure(run_id, figure, f"{path.stem}.png")
        self._tag(run_id, {names.PARTITION_FILE: path.name})

    def _is_stale(self, run_id: str, result: Result) -> bool:
        """Has the run a summary metric that the trial, as it is read now, has not?

        (Its peak memory may be that of another store, and of the machine there.)
        """
        now = result.summary_metrics()
        known = {*self.client.get_run(run_id).data.metrics} - {PEAK_MEMORY} if now else ()
        return any(key.startswith("summary/") and key not in now for key in known)

    def _tag(self, run_id: str, values: Mapping[str, str]) -> None:
        tag(self.client, run_id, values)


def _facts(result: Result) -> dict[str, Any]:
    """What is tracked once at the start. (Summaries are tracked at the end.)"""
    return {key: v for key, v in result.facts.items() if not key.startswith("summary/")}
