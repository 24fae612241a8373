"""Tracking for Tune scripts of one's own."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from fedtune.config import FIELDS, UNHASHED
from fedtune.plan.plan import Plan
from fedtune.plan.plan_file import earlier_plan, save_plan
from fedtune.plan.sweepfile import check_name
from fedtune.redaction import redacted
from fedtune.run.trainable import DIVERGED, TRIAL_ID
from fedtune.tracking.names import LAUNCHED
from fedtune.tracking.projection import Projection
from fedtune.tracking.uri import writable_uri
from fedtune.tracking.writer import Writer
from fedtune.trial.identity import Trial
from fedtune.trial.results import Result, read_result, stored_trial


class MlflowCallback(tune.Callback):
    """Every round of a Tune experiment over ``fedtune.trainable`` in MLflow, once, in one run per
    trial.

    Give it to ``tune.RunConfig(callbacks=[MlflowCallback("my-sweep")])``. ``sweep`` groups the runs
    under one parent; launching again under the same name continues the same runs. ``store`` must be
    the trainable's, ``tracking_uri`` is by default what ``fedtune run`` would take. What MLflow
    could not take is left to ``fedtune sync``, and said at the end: the store keeps which trials
    the sweep has.
    """

    def __init__(
        self, sweep: str, *, store: str | Path = "trials", tracking_uri: str | None = None
    ):
        self._sweep, self._store = check_name(sweep, "sweep"), str(Path(store).absolute())
        self._uri = writable_uri(tracking_uri)
        self._writer: Writer | None = None
        self._planned: dict[str, Trial] = {}
        self._completed: list[Mapping[str, Any]] = []

    def setup(self, *args: Any, **info: Any) -> None:
        """Called by Tune when the experiment begins. Raises BadInput where MLflow, or the
        environment, is not right for tracking; warns where no server answers.
        """
        store = Path(self._store)
        # Which trials there will be is not known, and what `fedtune sync` told of them may change.
        tags = {LAUNCHED: str(round(1000 * time.time()))}
        earlier = earlier_plan(store, self._sweep)
        self._planned = dict(earlier.by_id()) if earlier else {}
        called = self._plan().called()

        def connect(on_step: Callable[[], None]) -> Projection:
            return Projection(
                self._uri,
                self._sweep,
                sweep_tags=tags,
                called=called,
                results=self._results,
                store=store,
                on_step=on_step,
            )

        self._writer = Writer(connect, store, {})
        problem = self._writer.ready()
        if problem:
            text = f"MLflow at {redacted(self._uri)} does not answer ({problem}); trials run anyway"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

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
        left = dict(self._writer.flush())
        projection = self._writer.projection
        if projection is not None:
            plan = self._plan()

            def end(opened: Projection) -> None:
                opened.describe(plan.axes, plan.params(), plan.called())
                opened.close_sweep("FINISHED")

            why = self._writer.conclude(end)
            if why:
                left["the sweep's end"] = why
        if left:
            reason = next(iter(left.values()))
            raise RuntimeError(f"not in MLflow: {', '.join(left)} ({reason}); run `fedtune sync`")

    def _update(self, result: Mapping[str, Any], status: str) -> None:
        trial_id = result.get(TRIAL_ID)
        if trial_id is None or self._writer is None or (DIVERGED in result and status == "RUNNING"):
            return
        trial = stored_trial(Path(self._store), trial_id)
        if trial is not None:
            if trial_id not in self._writer.trials:
                self._planned[trial_id] = trial
                # For `fedtune status` and `fedtune sync`.
                save_plan(self._plan(), Path(self._store))
            self._writer.trials[trial_id] = trial
            self._writer.update(trial_id, status)

    def _results(self) -> list[Result]:
        """How the trials stand that the sweep has had so far."""
        trials = dict(self._planned)
        store = Path(self._store)
        return [read_result(store, t, trials.get(t.baseline_id)) for t in trials.values()]

    def _plan(self) -> Plan:
        """The trials that the sweep has had so far."""
        trials = tuple(self._planned.values())
        values = {f: {getattr(t.config, f) for t in trials} for f in FIELDS if f not in UNHASHED}
        axes = tuple(f for f, found in values.items() if len(found) > 1)
        return Plan(self._sweep, axes, trials, grows=True)  # another script may add to it too

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_writer": None}  # Tune pickles its callbacks
