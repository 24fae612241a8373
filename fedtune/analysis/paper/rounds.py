"""Rounds and steps to a target as the claims count them: from where the accuracy stays there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fedtune.analysis import numbers
from fedtune.analysis.passage import first_passage
from fedtune.analysis.tracked import TrackedTrial


@dataclass(frozen=True)
class Aim:
    """What counts as the target: a fraction of the baseline's accuracy, or of its part above
    chance. Without a fraction it is the trial's own (the paper's nine tenths).
    """

    fraction: float | None = None
    above_chance: bool = False

    @property
    def label(self) -> str:
        share = "own" if self.fraction is None else f"{self.fraction:g}"
        return f"{share} above chance" if self.above_chance else share

    def of(self, trial: TrackedTrial) -> float | None:
        """The accuracy to reach; None where no baseline is clearly above chance."""
        summary = trial.summary
        level = trial.baseline_levels.get(trial.rule.metric)
        if summary is None or summary.target_accuracy is None or level is None:
            return None
        if trial.tags["fedtune.target_accuracy"] != "none":
            return summary.target_accuracy
        fraction = self.fraction or float(trial.tags["fedtune.target_fraction"])
        floor = trial.chance if self.above_chance else 0.0
        return floor + fraction * (level - floor)


#: The target that the trials themselves ran to, but for the baseline's level.
OWN = Aim()


@dataclass(frozen=True)
class Rounds:
    """How many rounds a trial needs: at least ``least``, infinite where the cap was not enough.

    A trial that stopped by itself before it reached this level needs more rounds than it ran:
    whether it would have got there by the cap nobody knows (``reached`` is None).
    """

    least: float
    reached: bool | None
    cap: int

    @property
    def as_stopped(self) -> Rounds:
        """The same for a target at which the trial stopped: met in its last round."""
        return Rounds(self.least - 1, True, self.cap) if self.reached is None else self

    @property
    def log(self) -> float:
        """log2 of the rounds, counted up to the cap: one that was not reached is just beyond it."""
        return math.log2(min(self.least, self.cap + 1))

    @property
    def rounding(self) -> float:
        """The variance of ``log`` from whole rounds: the target is met within the last of them. (Of
        a single round nobody knows how early; it is taken to be at most by half.)
        """
        rounds = min(self.least, self.cap + 1)
        return math.log2(rounds / (rounds - 1) if rounds > 1 else 2) ** 2 / 12

    def __str__(self) -> str:
        if self.reached:
            return f"{self.least:g}"
        return f"> {self.cap if self.reached is False else self.least - 1:g}"


def rounds_to(trial: TrackedTrial, level: float | None) -> Rounds | None:
    """When a trial gets to an accuracy; None where that is not known yet, or there is none."""
    if level is None:
        return None
    cap, metric = trial.rule.last, trial.rule.metric
    evaluated = [(r["round"], r[metric]) for r in trial.records if r["round"] and metric in r]
    passage = first_passage(evaluated, level)
    if passage.reached:
        return Rounds(passage.by, True, cap)
    if not trial.ended:
        return None
    if trial.state == "diverged" or trial.records[-1]["round"] >= cap:
        return Rounds(math.inf, False, cap)
    return Rounds(passage.after + 1, None, cap)


def met_its_own(trial: TrackedTrial) -> bool:
    """Does the accuracy stay at the target by which the trial stopped? A single round above it is
    enough to stop at the budget, whatever came after.
    """
    goal = trial.summary.target_accuracy if trial.summary is not None else None
    own = rounds_to(trial, goal)
    return own is not None and own.reached is True


def median(found: Iterable[Rounds]) -> str:
    """The median for people: a number, ``> cap``, or nothing."""
    rounds = list(found)
    if not rounds:
        return ""
    middle = numbers.median(each.least for each in rounds)
    most = numbers.median(each.least if each.reached else math.inf for each in rounds)
    if middle == math.inf:
        return f"> {max(each.cap for each in rounds)}"
    return f"{middle:g}" if most == middle else f"> {middle - 1:g}"
