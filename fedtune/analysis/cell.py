"""The trials of one series at one place along x: the smallest part of a grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from fedtune.analysis import numbers
from fedtune.analysis.quantities import Quantity, sample
from fedtune.analysis.samples import Sample
from fedtune.analysis.tracked import Reach, TrackedTrial


class Series(NamedTuple):
    """What one curve over K, or over what else runs along x, is drawn for."""

    model: str
    dataset: str
    variant: str = ""

    @property
    def label(self) -> str:
        """The model, with the variant where there is one."""
        return f"{self.model} ({self.variant})" if self.variant else self.model


@dataclass(frozen=True)
class Cell:
    """The trials of one series at one value of x, by seed. May be empty.

    ``place`` is where it is drawn along x; ``text`` is the value for people.
    """

    series: Series
    x: float
    trials: dict[int, TrackedTrial]
    place: float
    text: str

    @property
    def clients(self) -> int:
        """K; of an empty cell what it would be, if K runs along x."""
        seen = [trial.clients for trial in self.trials.values()] or [int(self.x)]
        return seen[0]

    @property
    def is_baseline(self) -> bool:
        return bool(self.trials) and all(trial.is_baseline for trial in self.trials.values())

    def values(self, of: Callable[[TrackedTrial], float | None]) -> dict[int, float]:
        """What ``of`` gives for each seed, without the seeds for which it gives None."""
        found = {seed: of(trial) for seed, trial in self.trials.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def sample(self, quantity: Quantity) -> Sample:
        """A quantity with its uncertainty, by seed."""
        return sample(self.trials, quantity)

    @property
    def accuracies(self) -> dict[int, float]:
        """Test accuracy at the budget, by seed."""
        return self.values(lambda trial: trial.accuracy)

    @property
    def reaches(self) -> dict[int, Reach]:
        """Rounds to target of the seeds for which that is known."""
        found = {seed: trial.reach for seed, trial in self.trials.items()}
        return {seed: reach for seed, reach in found.items() if reach is not None}

    def median_rounds(self) -> float | None:
        """The median of rounds to target (inf: half or more did not meet it); None if unknown."""
        return numbers.median(r.order for r in self.reaches.values()) if self.reaches else None

    def median_text(self) -> str:
        """The median of rounds to target for people: a number, ``> cap``, or nothing."""
        middle = self.median_rounds()
        if middle is None:
            return ""
        cap = max(reach.cap for reach in self.reaches.values())
        return f"{middle:g}" if middle != float("inf") else f"> {cap}"

    def reached_text(self) -> str:
        """For example ``2 of 3``: how many seeds met their target."""
        if not self.reaches:
            return ""
        met = sum(reach.rounds is not None for reach in self.reaches.values())
        return f"{met} of {len(self.reaches)}"


def series_of(trial: TrackedTrial) -> Series:
    """The series that a trial belongs to."""
    return Series(trial.model, trial.dataset, trial.variant)
