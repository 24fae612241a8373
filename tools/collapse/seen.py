"""Trials of the experiment as it reads them: curves against steps, and rounds to a target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import optimize

from fedtune.analysis.passage import first_passage
from fedtune.config import TrialConfig
from fedtune.trial.by_step import merged
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.results import read_result

#: The part of one client's accuracy that is to be reached.
FRACTION = 0.9

#: The last rounds of the budget, whose mean is what one client has.
_LAST = 3


class Point(NamedTuple):
    steps: int
    accuracy: float
    loss: float


@dataclass(frozen=True)
class Seen:
    """One trial: ``points`` are all its evaluations but that of the untrained model, ``ends`` those
    at the ends of rounds, by round.
    """

    model: str
    dataset: str
    rate: float
    batch_size: int
    clients: int
    head: str
    head_init: str
    seed: int
    budget: int
    cap: int
    steps_per_round: int
    chance: float
    points: Sequence[Point]
    ends: dict[int, Point]

    @cached_property
    def level(self) -> float:
        """The mean accuracy of the last three rounds of the budget."""
        last = range(self.budget - _LAST + 1, self.budget + 1)
        return float(np.mean([self.ends[number].accuracy for number in last]))

    def at(self, steps: int) -> Point | None:
        """The evaluation after exactly so many steps."""
        return next((point for point in self.points if point.steps == steps), None)

    def rounds_to(self, target: float) -> float:
        """Rounds from which the accuracy stays at a target; infinite where it did not get there."""
        found = first_passage([(p.steps, p.accuracy) for p in self.points], target)
        return math.ceil(found.by / self.steps_per_round) if found.reached else math.inf

    def path_to(self, target: float) -> float:
        """The sum of the rates of the steps to a target, between two evaluations along the
        logarithm; infinite where it did not get there.
        """
        steps = np.log([point.steps for point in self.points])
        curve = optimize.isotonic_regression([point.accuracy for point in self.points]).x
        at = int(np.searchsorted(curve, target - 1e-9))
        if at == len(curve):
            return math.inf
        if at == 0:
            return self.rate * float(np.exp(steps[0]))
        share = (target - curve[at - 1]) / (curve[at] - curve[at - 1])
        return self.rate * float(np.exp(steps[at - 1] + share * (steps[at] - steps[at - 1])))


class Trials:
    """Those of a store, each with the one client that it is held against."""

    def __init__(self, seen: Iterable[Seen]):
        self.seen = sorted(
            seen, key=lambda s: (s.dataset, s.model, -s.rate, s.clients, s.batch_size, s.seed)
        )
        self._alone = {self._key(one): one for one in self.seen if one.clients == 1}

    def where(self, **asked: object) -> list[Seen]:
        """The trials with these values."""
        return [s for s in self.seen if all(getattr(s, k) == v for k, v in asked.items())]

    def baseline(self, seen: Seen) -> Seen | None:
        """One client with the same settings, without what is about several."""
        return self._alone.get(self._key(seen))

    def target(self, seen: Seen) -> float | None:
        """What the trial is to reach."""
        alone = self.baseline(seen)
        return None if alone is None else FRACTION * alone.level

    def rounds(self, seen: Seen) -> float | None:
        """Rounds to target; infinite beyond the cap, None without a baseline."""
        target = self.target(seen)
        return None if target is None else seen.rounds_to(target)

    @staticmethod
    def _key(seen: Seen) -> tuple[object, ...]:
        return seen.model, seen.dataset, seen.rate, seen.batch_size, seen.head, seen.seed


def read(store: Path) -> Trials:
    """All trials of a store that have come to their end."""
    found = []
    for path in sorted(store.glob("*/config.yaml")):
        folder = TrialFolder(store, path.parent.name)
        trial = Trial.from_dict(folder.read_config())
        result = read_result(store, trial)
        if result.ended and not result.diverged:
            asked = trial.config.replace(eval_steps="geometric")
            everything = merged(
                Trial(**{**vars(trial), "config": asked}), result.records, result.by_step
            )
            found.append(_seen(trial.config, result.facts, everything))
    return Trials(found)


def _seen(
    config: TrialConfig, facts: dict[str, float], everything: Sequence[dict[str, float]]
) -> Seen:
    points = [
        (int(e["round"]), Point(int(e["step"]), e["test/accuracy"], e["test/loss"]))
        for e in everything
        if e["step"]
    ]
    per_round = int(facts["steps/per_round"])
    budget, cap, rate = config.budget_rounds, config.max_rounds, config.learning_rate
    assert isinstance(budget, int)
    assert isinstance(cap, int)
    assert isinstance(rate, float)
    return Seen(
        model=Path(config.model).name,
        dataset=Path(config.dataset).name,
        rate=rate,
        batch_size=config.batch_size,
        clients=config.num_clients,
        head=config.head,
        head_init=config.head_init,
        seed=config.seed,
        budget=budget,
        cap=cap,
        steps_per_round=per_round,
        chance=facts["summary/chance"],
        points=[point for _, point in points],
        ends={number: p for number, p in points if p.steps == number * per_round},
    )
