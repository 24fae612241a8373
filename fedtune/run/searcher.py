"""Baselines first: the searcher that releases a federated trial when its target is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from fedtune.plan.plan import make_plan
from fedtune.plan.sweepfile import SweepSpec
from fedtune.run.launch import Launch
from fedtune.run.progress import Silent
from fedtune.run.space import trial_space
from fedtune.trial.identity import Trial


class BaselineFirstSearcher(Searcher):
    """Hands out trials seed by seed, K = 1 first, a federated one once its baseline has ended.

    Each time it gives the first trial in the order of the plan that can start, so a later seed's
    baseline comes only where nothing of the earlier seeds can run. (Tune asks in advance, for
    trials that could not start yet; with ``max_concurrent_trials`` it asks when there is room.)

    For a Tune script of your own::

        searcher = BaselineFirstSearcher({"clients": [8, 32], "seed": [0, 1]},
                                         {"model": "mini-bert", "dataset": "bbc-news"})
        tune.Tuner(fedtune.trainable, tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=searcher.num_trials)).fit()

    ``axes`` and ``settings`` are fields of :class:`fedtune.TrialConfig`; the baselines are added.
    ``num_samples`` has to be ``num_trials``, or Tune ends after its default of one. Raises
    BadInput.
    """

    def __init__(
        self,
        axes: Mapping[str, Sequence[Any]],
        settings: Mapping[str, Any] | None = None,
        *,
        store: str | Path = "trials",
    ):
        where = Path(store).absolute()
        plan = make_plan(SweepSpec("tune", axes, settings or {}), where)
        self._begin(Launch(plan, where, Silent(), None))

    @classmethod
    def of_launch(cls, launch: Launch) -> BaselineFirstSearcher:
        """The searcher for the trials that a launch still lacks."""
        searcher = cls.__new__(cls)
        searcher._begin(launch)
        return searcher

    def _begin(self, launch: Launch) -> None:
        super().__init__()
        self._launch = launch
        self._waiting: list[Trial] = list(launch.todo)
        self._running: dict[str, Trial] = {}
        self.num_trials = len(self._waiting)
        self._may_be_ready = True

    def suggest(self, trial_id: str) -> Any:
        """The next trial's configuration; None while all that are left wait for a baseline."""
        if not self._may_be_ready:
            return None  # Tune asks many times a second; only a trial's end changes the answer
        for position, planned in enumerate(self._waiting):
            trial = self._launch.release(planned)
            if trial is not None:
                del self._waiting[position]
                self._running[trial_id] = trial
                return trial_space(trial, self._launch.store)
        if not self._running:  # nobody is left who could change that
            self._waiting = []
        self._waiting = [trial for trial in self._waiting if not self._launch.doomed(trial)]
        self._may_be_ready = not self._waiting
        return None if self._waiting else Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended; the siblings of a baseline that ended with ``error`` cannot start."""
        self._may_be_ready = True
        trial = self._running.pop(trial_id, None)
        if trial is not None and error:
            self._launch.failed.setdefault(trial.trial_id, "the worker died")

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the round logs in the store say which trials have ended."""

    def restore(self, checkpoint_path: str) -> None:
        """See :meth:`save`."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles the searcher into a file that fedtune never reads again.
        return {"num_trials": self.num_trials}
