"""How long a launch still takes, by the rounds that it has run."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from fedtune.cost.launch_cost import LaunchCost
from fedtune.cost.speed import kind_of

#: A trial's own last rounds tell its speed, so many.
_RECENT = 5


class Remaining:
    """The time that a launch still takes at the most.

    Begins with what the launch was said to cost. A trial whose rounds have been seen takes what its
    last ones took; one that has not begun takes longer or shorter than was said as others of its
    kind do, or all where there is none of its kind.
    """

    def __init__(self, cost: LaunchCost):
        self._cost = cost
        self._trials = {trial.trial_id: trial for trial in cost.todo}
        self._said = {
            trial_id: each.seconds / each.rounds
            for trial_id, each in cost.costs.items()
            if each.rounds
        }
        self._took: dict[str, list[float]] = {}

    def round_done(self, trial_id: str, record: Mapping[str, Any]) -> None:
        """A round was committed, with the times in its ``record``."""
        if record["round"] and trial_id in self._trials:
            seconds = record["time/round_s"] + record.get("time/eval_s", 0.0)
            self._took.setdefault(trial_id, []).append(seconds)

    def of_trial(self, trial_id: str, rounds_left: int) -> float | None:
        """Seconds for the rounds that a trial still runs at the most; None where nothing is known
        of its speed.
        """
        if trial_id in self._took:
            return rounds_left * fmean(self._took[trial_id][-_RECENT:])
        said = self._said.get(trial_id)
        return None if said is None else rounds_left * said * self._correction(trial_id)

    def of_launch(self, rounds_left: Mapping[str, int]) -> float | None:
        """Seconds until all trials have ended; ``rounds_left`` is of those that have not.

        None where the speed of one of them is not known.
        """
        found = {key: self.of_trial(key, left) for key, left in rounds_left.items()}
        known = {key: seconds for key, seconds in found.items() if seconds is not None}
        return self._cost.wall_time(known) if len(known) == len(found) else None

    def _correction(self, trial_id: str) -> float:
        """By how much longer than was said trials take, judging by those that have run."""
        kind = kind_of(self._trials[trial_id])
        ratios = {
            other: fmean(took) / self._said[other]
            for other, took in list(self._took.items())  # a screen asks from a thread of its own
            if self._said.get(other)
        }
        alike = [ratio for key, ratio in ratios.items() if kind_of(self._trials[key]) == kind]
        return fmean(alike or ratios.values() or [1.0])
