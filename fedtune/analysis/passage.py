"""When a curve reaches a level, and what steps alone say of the rounds that this takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import optimize

from fedtune.analysis.tracked import TrackedTrial
from fedtune.trial.stopping import ROUNDING


class Passage(NamedTuple):
    """Something is reached after more than ``after`` and at most ``by``; ``by`` is infinite where
    it was not reached within what was seen.
    """

    after: float
    by: float

    @property
    def reached(self) -> bool:
        return math.isfinite(self.by)

    def rounds(self, steps_per_round: int) -> Passage:
        """Steps as rounds: the fewest and the most that it takes, by steps alone.

        >>> Passage(0, 512).rounds(16), Passage(40, 48).rounds(16)
        (Passage(after=1, by=32), Passage(after=3, by=3))
        """
        fewest = math.floor(self.after / steps_per_round) + 1
        return Passage(fewest, math.ceil(self.by / steps_per_round) if self.reached else math.inf)

    def __str__(self) -> str:
        """Whole rounds for people: ``1 to 32``."""
        if not self.reached:
            return f"{self.after:,} or more"
        return f"{self.by:,}" if self.after == self.by else f"{self.after:,} to {self.by:,}"


def first_passage(points: Sequence[tuple[float, float]], level: float) -> Passage:
    """When the values of (place, value) points reach a level for good.

    The values are first made to rise, by the nearest rising sequence (isotonic regression), so a
    single lucky evaluation is no passage, and a single unlucky one does not undo it. From the
    passage on no mean of evaluations is below the level, up to whichever of them it is taken: what
    falls back has reached it only if it was above for longer, or by more.
    """
    if not points:
        return Passage(0, math.inf)
    places = [place for place, _ in points]
    rising = optimize.isotonic_regression([value for _, value in points]).x
    for index, value in enumerate(rising):
        if value >= level - ROUNDING:
            return Passage(places[index - 1] if index else 0, places[index])
    return Passage(places[-1], math.inf)


def steps_to(trial: TrackedTrial, level: float, metric: str | None = None) -> Passage:
    """After how many sequential steps a trial gets to an accuracy, that which it stops by or
    another one, by all its evaluations, those within rounds too.
    """
    return first_passage(trial.against_steps(metric or trial.rule.metric), level)


def together(passages: Sequence[Passage]) -> Passage | None:
    """What several seeds leave open; None without any."""
    if not passages:
        return None
    return Passage(min(each.after for each in passages), max(each.by for each in passages))
