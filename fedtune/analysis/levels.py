"""How accurate trials got: at the budget or, where they ended before it, in their last round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from fedtune.analysis import numbers
from fedtune.analysis.cell import Cell, Series
from fedtune.analysis.grid import Grid
from fedtune.analysis.quantities import ACCURACY, Quantity
from fedtune.analysis.samples import Sample, difference
from fedtune.analysis.tracked import TrackedTrial
from fedtune.trial.stopping import clearly_above_chance


class Level(NamedTuple):
    """A test accuracy and the round after which it was measured."""

    accuracy: float
    round_num: int


def level(trial: TrackedTrial) -> Level | None:
    """Accuracy at the budget or, of a trial that ended before, the last one.

    None for a trial that is still on its way there, and for one that diverged before.
    """
    if trial.accuracy is not None:
        return Level(trial.accuracy, trial.rule.budget)
    if not trial.ended or trial.state == "diverged" or not trial.curve:
        return None
    last = max(trial.curve)
    return Level(trial.curve[last], last)


def stopped_early(trial: TrackedTrial) -> bool:
    """Is the trial's level one of a round before the budget?"""
    return trial.accuracy is None and level(trial) is not None


def _level_accuracy(trial: TrackedTrial) -> float | None:
    found = level(trial)
    return None if found is None else found.accuracy


#: ACCURACY where a trial has it, else its last one: what the first screen shows. Claims and ranks
#: compare rounds that are equal, and so rest on ACCURACY alone.
LEVEL = Quantity(
    "accuracy",
    _level_accuracy,
    lambda trial: numbers.binomial_se(_level_accuracy(trial) or 0.0, trial.num_test),
    ACCURACY.by_example,  # None where the trial has no predictions at the budget
)


@dataclass(frozen=True)
class Reached:
    """How accurate the trials of a cell got, for people."""

    cell: Cell

    @property
    def sample(self) -> Sample:
        """Their levels by seed."""
        return self.cell.sample(LEVEL)

    @property
    def known(self) -> list[TrackedTrial]:
        """The trials that have a level."""
        return [trial for trial in self.cell.trials.values() if level(trial) is not None]

    @property
    def diverged(self) -> list[TrackedTrial]:
        """The trials that diverged before the budget."""
        trials = self.cell.trials.values()
        return [t for t in trials if t.state == "diverged" and t.accuracy is None]

    @property
    def rounds(self) -> str:
        """``round 4`` or ``rounds 4 to 7`` where trials ended before the budget, else nothing."""
        if not any(map(stopped_early, self.known)):
            return ""
        return _rounds([found.round_num for t in self.known if (found := level(t)) is not None])

    @property
    def at_chance(self) -> bool:
        """Is every trial within three binomial standard errors of chance, or below it?"""
        return bool(self.known) and all(map(_at_chance, self.known))

    @property
    def never_learned(self) -> bool:
        """Was no trial above chance in any round?"""
        return self.at_chance and all(t.summary and t.summary.collapsed for t in self.known)

    @property
    def has_diverged(self) -> bool:
        """Has every trial that ended diverged before the budget?"""
        return bool(self.diverged) and not self.known

    def text(self) -> str:
        """For example ``0.840 (round 4)`` or ``0.310, which is chance``; nothing if not known."""
        if self.has_diverged:
            return f"diverged (after {self._ends()})"
        if not self.known:
            return ""
        told = self.mean_text()
        if self.at_chance:
            return f"{told}, which is chance"
        notes = [
            (sum(map(_at_chance, self.known)), "at chance"),
            (len(self.diverged), "diverged"),
        ]
        count = len(self.known) + len(self.diverged)
        return told + "".join(f", {some} of {count} {what}" for some, what in notes if some)

    def mean_text(self) -> str:
        """The mean, with the round where that is not the budget's."""
        return f"{self.sample.mean:.3f}" + (f" ({self.rounds})" if self.rounds else "")

    def _ends(self) -> str:
        """After which rounds its trials diverged."""
        return _rounds([t.records[-1]["round"] for t in self.diverged if t.records])


def _at_chance(trial: TrackedTrial) -> bool:
    found = level(trial)
    return found is not None and not clearly_above_chance(
        found.accuracy, trial.chance, trial.num_test
    )


def _rounds(seen: list[int]) -> str:
    low, high = min(seen), max(seen)
    return f"round {low}" if low == high else f"rounds {low} to {high}"


@dataclass(frozen=True)
class Comparison:
    """The cells of a model on a data set with one client, and with several."""

    alone: Cell
    spread: Cell
    where: str = ""  # on which data set, and at which value of x unless that is K

    @property
    def one(self) -> Reached:
        """One client, over the seeds that are compared."""
        shared = self._shared()
        return Reached(_only(self.alone, shared) if shared else self.alone)

    @property
    def many(self) -> Reached:
        """Several clients, over the seeds that are compared and those that diverged."""
        shared, diverged = self._shared(), Reached(self.spread).diverged
        kept = [*shared, *(trial.seed for trial in diverged)]
        return Reached(_only(self.spread, kept) if shared else self.spread)

    @property
    def less(self) -> Sample:
        """How much lower than with one client the accuracy is, by seed.

        Empty where one client has learned nothing: then nothing is compared.
        """
        if self.one.at_chance:
            return Sample({})
        return difference(self.one.sample, self.many.sample)

    def _shared(self) -> list[int]:
        one, many = (Reached(cell).sample.values for cell in (self.alone, self.spread))
        return [seed for seed in one if seed in many]


def _only(cell: Cell, seeds: Sequence[int]) -> Cell:
    return replace(cell, trials={s: t for s, t in cell.trials.items() if s in seeds})


def comparisons(grid: Grid, series: Series) -> list[Comparison]:
    """Those of a series, in the order of x; of K the largest of which anything is known."""
    federated = [
        cell
        for cell in grid.cells(series)
        if not cell.is_baseline and (cell.reaches or Reached(cell).known or Reached(cell).diverged)
    ]
    told = federated[-1:] if grid.axis.is_clients else federated
    return [
        Comparison(grid.alone(series, cell.x), cell, grid.where(series, cell.x)) for cell in told
    ]
