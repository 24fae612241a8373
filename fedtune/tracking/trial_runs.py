"""The runs of a sweep's trials: found or made, held by one store, described as they begin."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Param, Run

from fedtune.config import PLACES
from fedtune.tracking import names
from fedtune.tracking.called import as_called
from fedtune.tracking.claims import Claims, one_of
from fedtune.tracking.inputs import dataset_input
from fedtune.tracking.points import ROUND_MARKER, STEP_MARKER, Points, tag
from fedtune.tracking.sweep_run import SweepRun
from fedtune.tracking.times import times_ms
from fedtune.tracking.views import colour
from fedtune.trial.identity import Trial
from fedtune.trial.locks import TrialInUse
from fedtune.trial.results import Result
from fedtune.trial.system import SAMPLE_MARKER


@dataclass
class TrialRun:
    """A run that is held: the time from which that of its points is counted (Unix time, ms), and
    the last round and the last sample of the process that it has, -1 for none; ``by_step`` are the
    sequential steps of which it has an evaluation.
    """

    run_id: str
    started_ms: int
    last_step: int
    last_sample: int
    by_step: set[int]


class TrialRuns:
    """Those of one store for one sweep."""

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        sweep: SweepRun,
        claims: Claims,
        points: Points,
    ):
        self._client, self._experiment_id = client, experiment_id
        self._sweep, self._claims, self._points = sweep, claims, points
        #: How many had points twice, and were made anew.
        self.mended = 0
        self._open: dict[str, TrialRun] = {}  # by trial_id

    def open(self, result: Result) -> TrialRun:
        """The trial's run, held by this store and with everything that is known at its beginning.

        Raises TrialInUse where another store is writing it.
        """
        trial, origin = result.trial, result.origin
        begun_ms = int(origin.get("begun_ms", 0))
        if self._still_held(trial.trial_id):
            return self._open[trial.trial_id]
        shown = as_called(trial, self._sweep.told.called)
        found = self._found_trial(shown, begun_ms)
        if found is None:
            run = self._client.create_run(
                self._experiment_id,
                start_time=begun_ms,
                run_name=names.run_name(shown, self._sweep.told.axes),
                tags={names.SWEEP: self._sweep.told.sweep, names.TRIAL_ID: trial.trial_id}
                | self._claims.tag(begun_ms),
            )
            run_id = str(run.info.run_id)
        else:
            run_id = found.info.run_id
            if found.info.status != "RUNNING":
                self._client.update_run(run_id, status="RUNNING")
            if names.OUTCOME in found.data.tags:  # not any more: it goes on
                self._client.delete_tag(run_id, names.OUTCOME)
        opened = self._as_it_stands(run_id, found, result)
        self._claims.take(run_id, begun_ms)
        self._open[trial.trial_id] = opened
        if not self._still_held(trial.trial_id):
            raise TrialInUse(trial.trial_id, "another store, which took it in the same moment")
        try:
            self._describe(run_id, found, result, shown)
        except Exception:  # what MLflow raises: the next time it is described again
            self.forget(trial.trial_id)
            raise
        return opened

    def _as_it_stands(self, run_id: str, found: Run | None, result: Result) -> TrialRun:
        begun_ms = int(result.origin.get("begun_ms", 0))
        points = self._points.times(found, ROUND_MARKER)
        first = min(points, default=None)
        # Rounds that another store has tracked were over at other times; what follows joins them.
        offset = times_ms(result.records, 0).get(first, 0) if first is not None else 0
        return TrialRun(
            run_id,
            started_ms=begun_ms if first is None else points[first] - offset,
            last_step=max(points, default=-1),
            last_sample=max(self._points.times(found, SAMPLE_MARKER), default=-1),
            by_step={*self._points.times(found, STEP_MARKER)},
        )

    def run_id(self, trial_id: str) -> str | None:
        """The run of a trial that has been opened."""
        opened = self._open.get(trial_id)
        return opened.run_id if opened else None

    def forget(self, trial_id: str) -> None:
        """The run is not held any more, or is gone."""
        self._claims.drop(self._open.pop(trial_id).run_id)

    def _describe(self, run_id: str, found: Run | None, result: Result, shown: Trial) -> None:
        """Give the run what is known of the trial when it begins."""
        if found is None or not found.data.params:  # the launch may have died between the two calls
            values = [Param(key, value) for key, value in names.params(shown).items()]
            self._client.log_batch(run_id, params=values)
        known = found.data.tags if found else {}
        own = names.tags(result.trial) | names.origin_tags(result.origin)
        own |= names.shown_tags(str(result.origin.get("git_commit")), known)
        own |= {
            names.PARENT: self._sweep.run_id,
            names.COLOUR: colour(shown.config, self._sweep.told.called),
        }
        tag(self._client, run_id, own)
        if "data/train_examples" in result.facts:  # else it failed before its data was read
            data = dataset_input(result.trial, shown.config.dataset, result.facts)
            self._log_dataset(found, run_id, data)

    def _still_held(self, trial_id: str) -> bool:
        """Is the run of a trial still this store's to write? A run that was made in the same moment
        as another store's, and is not the one that stays, goes.
        """
        run_id = self.run_id(trial_id)
        if run_id is None:
            return False
        runs = self._runs_of(trial_id)
        own = next((run for run in runs if run.info.run_id == run_id), None)
        if own is not None and self._claims.holds(own):
            if one_of(runs) is own:
                return True
            self._client.delete_run(run_id)
        self.forget(trial_id)
        return False

    def _runs_of(self, trial_id: str) -> list[Run]:
        return self._sweep.search(f"tags.`{names.TRIAL_ID}` = '{trial_id}'")

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
        now = {field: getattr(shown.config, field) for field in PLACES}
        kept = one_of(runs) if len(runs) > 1 else runs[0]
        renamed = any(kept.data.params.get(field, name) != name for field, name in now.items())
        doubled = self._points.are_doubled(kept)
        for run in runs:
            if run is not kept or renamed or doubled:
                self._client.delete_run(run.info.run_id)
        self.mended += doubled or len(runs) > 1
        return None if renamed or doubled else kept

    def _log_dataset(self, found: Run | None, run_id: str, data: DatasetInput) -> None:
        if found is None or not found.inputs or not found.inputs.dataset_inputs:
            self._client.log_inputs(run_id, datasets=[data])
        self._sweep.add_dataset(data)
