"""What is compared between trials, each with the error that a test set of limited size gives it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fedtune.analysis import numbers
from fedtune.analysis.samples import Examples, Sample
from fedtune.analysis.tracked import TrackedTrial


@dataclass(frozen=True)
class Quantity:
    """``of`` a trial, with its standard error from the test set (binomial), where it is known.

    ``by_example`` gives, from the predictions, a number for each test example with ``of`` as mean.
    """

    name: str
    of: Callable[[TrackedTrial], float | None]
    error: Callable[[TrackedTrial], float]
    by_example: Callable[[TrackedTrial], Examples | None] = lambda trial: None


def sample(trials: Mapping[int, TrackedTrial], quantity: Quantity) -> Sample:
    """The quantity of the trials for which it is known; ``trials`` are by seed.

    What a single test example has to do with others nobody knows, so its noise has no bound.
    """
    values = {seed: v for seed, t in sorted(trials.items()) if (v := quantity.of(t)) is not None}
    used = [trials[seed] for seed in values]
    if not used:
        return Sample({})
    if any(trial.num_test < 2 for trial in used):
        return Sample(values, math.inf)
    noise = numbers.mean(quantity.error(trial) for trial in used)
    rows = [row for trial in used if (row := quantity.by_example(trial)) is not None]
    test_sets = {trial.tested.test_set for trial in used if trial.tested is not None}
    if len(rows) < len(used) or len(test_sets) > 1:
        return Sample(values, noise)
    return Sample(values, noise, np.stack(rows), test_sets.pop())


def _accuracy_error(trial: TrackedTrial) -> float:
    return numbers.binomial_se(trial.accuracy or 0.0, trial.num_test)


def _right(trial: TrackedTrial) -> Examples | None:
    return None if trial.tested is None else trial.tested.correct.astype(np.float64)


def _in_the_end(trial: TrackedTrial) -> float | None:
    return trial.baseline_levels.get("test/accuracy") if trial.is_baseline else None


def _right_in_the_end(trial: TrackedTrial) -> Examples | None:
    right, level = _right(trial), _in_the_end(trial)
    return None if right is None or level is None else right - right.mean() + level


def _retention(trial: TrackedTrial) -> float | None:
    """A trial that diverged before the budget keeps nothing: to leave it out would flatter K."""
    if trial.state == "diverged" and trial.accuracy is None:
        return None if trial.headroom is None else 0.0
    return trial.retention


def _retention_error(trial: TrackedTrial) -> float:
    if trial.is_baseline:
        return 0.0
    return _accuracy_error(trial) / (trial.headroom or math.inf)


def _by_example(trial: TrackedTrial, kept: float | None) -> Examples | None:
    """What is kept of the headroom, and what each example adds to it or takes from it, to first
    order.

    The baseline is tested on the same examples, so its error counts here too. Of several
    evaluations there are predictions for one, that at the budget, which stands for all.
    """
    headroom = trial.headroom
    own, other = trial.tested, trial.baseline_tested
    if kept is None or headroom is None or own is None or other is None:
        return None
    if own.test_set != other.test_set:
        return None
    moved = own.correct - kept * other.correct
    return np.asarray(kept + (moved - moved.mean()) / headroom, dtype=np.float64)


def area(trial: TrackedTrial) -> float | None:
    """The mean accuracy over the rounds 0 to the budget (trapezoids); None before the budget.

    From where it diverged a trial counts as at chance: to leave it out would flatter K.
    """
    budget = trial.rule.budget
    points = [(step, value) for step, value in trial.curve.items() if step <= budget]
    if trial.state == "diverged" and points and points[-1][0] < budget:
        points += [(points[-1][0], trial.chance), (budget, trial.chance)]
    if not points or points[0][0] != 0 or points[-1][0] != budget:
        return None
    pairs = itertools.pairwise(points)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs) / budget


def retained_area(trial: TrackedTrial) -> float | None:
    """The same of the accuracy above chance, as a part of the baseline's headroom.

    Chance counts for nothing: a model that stays there has an area of 0, not of 1/C.
    """
    found, headroom = area(trial), trial.headroom
    return None if found is None or headroom is None else (found - trial.chance) / headroom


def _area_error(trial: TrackedTrial) -> float:
    """All rounds share one test set, so that their mean is no better known than one of them."""
    headroom = trial.headroom or math.inf
    return numbers.binomial_se(area(trial) or 0.0, trial.num_test) / headroom


#: Test accuracy at the budget.
ACCURACY = Quantity("accuracy", lambda trial: trial.accuracy, _accuracy_error, _right)
#: A baseline's accuracy over its last evaluations.
IN_THE_END = Quantity("accuracy in the end", _in_the_end, _accuracy_error, _right_in_the_end)
#: The part of the baseline's accuracy above chance that is kept at the budget.
RETENTION = Quantity(
    "retention", _retention, _retention_error, lambda trial: _by_example(trial, trial.retention)
)
#: The mean over the rounds of that part.
AREA = Quantity(
    "area of retention",
    retained_area,
    _area_error,
    lambda trial: _by_example(trial, retained_area(trial)),
)
