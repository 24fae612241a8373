"""Tracking for Tune scripts of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune

from fedtune.sweep.trainable import DIVERGED, TRIAL_ID
from fedtune.tracking.projection import Projection
from fedtune.tracking.uri import resolve_uri
from fedtune.tracking.writer import Writer
from fedtune.trial.results import stored_trial


class MlflowCallback(tune.Callback):
    """Every round of a Tune experiment over ``fedtune.trainable`` in MLflow, once, in one run per
    trial.

    Give it to ``tune.RunConfig(callbacks=[MlflowCallback("my-sweep")])``. ``sweep`` groups the runs
    under one parent; launching again under the same name continues the same runs. ``store`` must be
    the trainable's, ``tracking_uri`` is by default what ``fedtune run`` would take. What MLflow
    could not take is left to ``fedtune sync``, and said at the end.
    """

    def __init__(
        self, sweep: str, *, store: str | Path = "trials", tracking_uri: str | None = None
    ):
        self._sweep, self._store = sweep, str(Path(store).absolute())
        self._uri = resolve_uri(tracking_uri)
        self._writer: Writer | None = None
        self._completed: list[Mapping[str, Any]] = []

    def setup(self, *args: Any, **info: Any) -> None:
        """Called by Tune when the experiment begins."""
        self._writer = Writer(lambda: Projection(self._uri, self._sweep), Path(self._store), {})

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        self._update(result, "RUNNING")

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._completed.append(trial.last_result)
        self._update(trial.last_result, "FINISHED")

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._update(trial.last_result, "FAILED")
        trial_id = trial.last_result.get(TRIAL_ID)
        if self._writer is not None and trial_id in self._writer.trials:
            self._writer.set_outcome(trial_id, "failed")

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        """Write what is due; RuntimeError names the trials of which something is not in MLflow."""
        assert self._writer is not None
        for result in self._completed:  # a baseline may have ended after its siblings
            self._update(result, "FINISHED")
        left = self._writer.flush()
        projection = self._writer.projection
        if projection is not None:
            projection.close_sweep("FINISHED")
        if left:
            reason = next(iter(left.values()))
            raise RuntimeError(f"not in MLflow: {', '.join(left)} ({reason}); run `fedtune sync`")

    def _update(self, result: Mapping[str, Any], status: str) -> None:
        trial_id = result.get(TRIAL_ID)
        if trial_id is None or self._writer is None or (DIVERGED in result and status == "RUNNING"):
            return
        trial = stored_trial(Path(self._store), trial_id)
        if trial is not None:
            self._writer.trials[trial_id] = trial
            self._writer.update(trial_id, status)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_writer": None}  # Tune pickles its callbacks
