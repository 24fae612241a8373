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

from mlflow.entities import DatasetInput, Param, Run, RunTag

from fedtune.provenance import git_commit
from fedtune.tracking import names
from fedtune.tracking.called import Called, as_called
from fedtune.tracking.claims import Claims, one_of
from fedtune.tracking.connection import connect, experiment_of_environment, run_of_environment
from fedtune.tracking.inputs import dataset_input
from fedtune.tracking.points import PEAK_MEMORY, ROUND_MARKER, Points, metrics
from fedtune.tracking.sweep_run import SweepRun, Told
from fedtune.tracking.times import times_ms
from fedtune.tracking.uri import make_experiment
from fedtune.tracking.views import colour
from fedtune.trial.identity import Trial
from fedtune.trial.locks import TrialInUse
from fedtune.trial.results import Result
from fedtune.trial.stopping import Outcome
from fedtune.trial.system import SAMPLE_MARKER, read_samples


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
        #: How many runs had points twice, and were made anew.
        self.mended = 0
        self._runs: dict[str, str] = {}
        self._started_ms: dict[str, int] = {}
        self._last_step: dict[str, int] = {}
        self._last_sample: dict[str, int] = {}

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
        run_id = self._open_trial(result)
        started_ms = self._started_ms[run_id]
        missing = [r for r in result.records if r["round"] > self._last_step[run_id]]
        times = times_ms(result.records, started_ms)
        new = self._last_step[run_id] < 0 and bool(result.records)
        groups = [metrics(_facts(result), started_ms, 0)] if new else []
        groups += [metrics(r, times[r["round"]], r["round"]) for r in missing]
        self._points.log(run_id, groups)
        if missing:
            self._last_step[run_id] = missing[-1]["round"]
        self._log_samples(run_id, result)
        if status != "RUNNING" and self._is_stale(run_id, result):
            # MLflow cannot take a metric back (rounds to a target that is not reached any more),
            # but a projection can be made anew.
            self.client.delete_run(run_id)
            self._forget(result.trial.trial_id)
            return self.project(result, status)
        if status != "RUNNING":
            # By the log: it ended when it did, however often it is projected.
            ended_ms = times[result.records[-1]["round"]] if result.records else None
            self.client.set_terminated(run_id, status, ended_ms)
            self._conclude(run_id, result, times)
            self._claims.drop(run_id)
        return len(missing)

    def run_id(self, trial_id: str) -> str | None:
        """The MLflow run of a trial that has been projected."""
        return self._runs.get(trial_id)

    def set_outcome(self, result: Result, outcome: Outcome) -> None:
        """Mark a trial that was not brought to its end (``failed``, ``waiting``).

        Its run ends with its last round; one without rounds ends when it was made.
        """
        now = {"begun_ms": round(1000 * time.time()), "git_commit": git_commit()}
        run_id = self._open_trial(replace(result, origin=now | dict(result.origin)))
        self._tag(run_id, {names.OUTCOME: outcome})
        started = self.client.get_run(run_id).info.start_time
        ended = max(times_ms(result.records, started).values(), default=started)
        self.client.set_terminated(run_id, "FAILED", ended)
        self._claims.drop(run_id)

    def _open_trial(self, result: Result) -> str:
        """The trial's run, held by this store and with everything that is known at its beginning.

        Raises TrialInUse where another store is writing it.
        """
        trial, origin = result.trial, result.origin
        begun_ms = int(origin.get("begun_ms", 0))
        if self._still_held(trial.trial_id):
            return self._runs[trial.trial_id]
        shown = as_called(trial, self._sweep.told.called)
        found = self._found_trial(shown, begun_ms)
        if found is None:
            run = self.client.create_run(
                self.experiment_id,
                start_time=begun_ms,
                run_name=names.run_name(shown, self._sweep.told.axes),
                tags={names.SWEEP: self._sweep.told.sweep, names.TRIAL_ID: trial.trial_id}
                | self._claims.tag(begun_ms),
            )
            run_id = str(run.info.run_id)
        else:
            run_id = found.info.run_id
            if found.info.status != "RUNNING":
                self.client.update_run(run_id, status="RUNNING")
            if names.OUTCOME in found.data.tags:  # not any more: it goes on
                self.client.delete_tag(run_id, names.OUTCOME)
        self._claims.take(run_id, begun_ms)
        self._runs[trial.trial_id] = run_id
        if not self._still_held(trial.trial_id):
            raise TrialInUse(trial.trial_id, "another store, which took it in the same moment")
        self._describe(run_id, found, result, shown)
        points = self._points.times(found, ROUND_MARKER)
        self._last_step[run_id] = max(points, default=-1)
        self._last_sample[run_id] = max(self._points.times(found, SAMPLE_MARKER), default=-1)
        # Rounds that another store has tracked were over at other times; what follows joins them.
        first = min(points, default=None)
        offset = times_ms(result.records, 0).get(first, 0) if first is not None else 0
        self._started_ms[run_id] = begun_ms if first is None else points[first] - offset
        return run_id

    def _describe(self, run_id: str, found: Run | None, result: Result, shown: Trial) -> None:
        """Give the run what is known of the trial when it begins."""
        if found is None or not found.data.params:  # the launch may have died between the two calls
            values = [Param(key, value) for key, value in names.params(shown).items()]
            self.client.log_batch(run_id, params=values)
        known = found.data.tags if found else {}
        own = names.tags(result.trial) | names.origin_tags(result.origin)
        own |= names.shown_tags(str(result.origin.get("git_commit")), known)
        own |= {
            names.PARENT: self.parent_id,
            names.COLOUR: colour(shown.config, self._sweep.told.called),
        }
        self._tag(run_id, own)
        if "data/train_examples" in result.facts:  # else it failed before its data was read
            data = dataset_input(result.trial, shown.config.dataset, result.facts)
            self._log_dataset(found, run_id, data)

    def _still_held(self, trial_id: str) -> bool:
        """Is the run of a trial still this store's to write? A run that was made in the same moment
        as another store's, and is not the one that stays, goes.
        """
        run_id = self._runs.get(trial_id)
        if run_id is None:
            return False
        runs = self._runs_of(trial_id)
        own = next((run for run in runs if run.info.run_id == run_id), None)
        if own is not None and self._claims.holds(own):
            if one_of(runs) is own:
                return True
            self.client.delete_run(run_id)
        self._forget(trial_id)
        return False

    def _runs_of(self, trial_id: str) -> list[Run]:
        return self._sweep.search(f"tags.`{names.TRIAL_ID}` = '{trial_id}'")

    def _forget(self, trial_id: str) -> None:
        self._claims.drop(self._runs.pop(trial_id))

    def _found_trial(self, shown: Trial, begun_ms: int) -> Run | None:
        """The run of a trial, if it can be gone on with.

        MLflow lets nobody take back a point, or change a parameter: a run that has rounds twice, or
        was made under other names of model or data set, is made anew.
        """
        runs = self._runs_of(shown.trial_id)
        for run in runs:
            self._claims.check(run, shown.trial_id, begun_ms)
        if not runs:
            return None
        now = {field: getattr(shown.config, field) for field in ("model", "dataset")}
        kept = one_of(runs) if len(runs) > 1 else runs[0]
        renamed = any(kept.data.params.get(field, name) != name for field, name in now.items())
        doubled = self._points.are_doubled(kept)
        for run in runs:
            if run is not kept or renamed or doubled:
                self.client.delete_run(run.info.run_id)
        self.mended += doubled or len(runs) > 1
        return None if renamed or doubled else kept

    def _log_dataset(self, found: Run | None, run_id: str, data: DatasetInput) -> None:
        if found is None or not found.inputs or not found.inputs.dataset_inputs:
            self.client.log_inputs(run_id, datasets=[data])
        self._sweep.add_dataset(data)

    def _log_samples(self, run_id: str, result: Result) -> None:
        """What was sampled of the trial's process; the step is the number of the sample."""
        samples = read_samples(result.samples) if result.samples else []
        last = self._last_sample[run_id]
        groups = [metrics(s, s["unix_ms"], number) for number, s in enumerate(samples)]
        self._points.log(run_id, groups[last + 1 :])
        self._last_sample[run_id] = max(last, len(samples) - 1)

    def _conclude(self, run_id: str, result: Result, times: Mapping[int, int]) -> None:
        """What is tracked at a trial's end; the artifact last, in case its store refuses."""
        summary = result.summary
        if summary is not None and result.ended:  # a summary on the way would be a second point
            last = result.records[-1]["round"]
            run = self.client.get_run(run_id)
            data, told = run.data, result.summary_metrics()
            # MLflow shows the point of the latest step and time; a summary that has changed (with
            # another target, say) must be that one.
            step = max(last, self._last_step[run_id])
            if step in self._points.times(run, PEAK_MEMORY):  # perhaps another store's
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
        self.client.log_batch(run_id, tags=[RunTag(k, v) for k, v in values.items()])


def _facts(result: Result) -> dict[str, Any]:
    """What is tracked once at the start. (Summaries are tracked at the end.)"""
    return {key: v for key, v in result.facts.items() if not key.startswith("summary/")}
