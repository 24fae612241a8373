"""A sweep and its trials in plain dataclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedtune.analysis.axis import Settings, spread_of
from fedtune.analysis.expected import NOTHING_EXPECTED, Expected
from fedtune.config import OF_CLIENTS
from fedtune.tracking import names
from fedtune.trial.stopping import Baseline, Record, StopRule, Summary, accuracy_at

STEPS = "steps/sequential"


@dataclass(frozen=True)
class Reach:
    """When a trial met its target: ``rounds``, or None where ``cap`` rounds were not enough."""

    rounds: int | None
    cap: int

    @property
    def order(self) -> float:
        """For comparing: a target that was not met comes after every round."""
        return math.inf if self.rounds is None else self.rounds

    def __str__(self) -> str:
        return f"> {self.cap}" if self.rounds is None else str(self.rounds)


@dataclass(frozen=True, eq=False)
class Tested:
    """Which test examples a trial classified rightly after its budget.

    ``test_set`` is a digest of the ``labels``: trials that share it were tested on the same
    examples in the same order.
    """

    test_set: str
    labels: NDArray[np.int64]
    correct: NDArray[np.bool_]


@dataclass(frozen=True)
class TrackedTrial:
    """One trial as MLflow has it. ``records`` are its rounds under their tracked names, in order.

    ``facts`` are tracked once (``data/*``, ``model/*``, ``steps/per_round``); ``variant`` names
    swept settings other than model, data set, clients and seed ("" where there are none).
    ``state`` is the outcome, or how far the trial has got. ``shares`` (K, C) are the training
    examples of each class that each client has, where that is tracked, and ``class_names`` what
    the classes are called; ``own_tests`` is whether clients are judged on test examples of their
    own rather than by their classes. ``baseline_levels`` are how accurate the baseline is in the
    end (:func:`fedtune.analysis.outcomes.level_at_the_end`), by metric: the stop rule takes the
    evaluation at the budget, comparisons take this, which hangs less on a single one. ``by_step``
    are all its evaluations by sequential ``step``, those within rounds too, where ``eval_steps``
    asked for such.
    """

    name: str
    run_id: str
    trial_id: str
    baseline_id: str
    model: str
    dataset: str
    clients: int
    seed: int
    variant: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    facts: Mapping[str, float]
    records: Sequence[Record]
    tracked: Mapping[str, float]
    rule: StopRule
    started_ms: int
    baseline: Baseline | None = None
    baseline_test_accuracy: float | None = None
    baseline_levels: Mapping[str, float] = field(default_factory=dict)
    summary: Summary | None = None
    tested: Tested | None = None
    baseline_tested: Tested | None = None
    ended: bool = False
    state: str = ""
    shares: NDArray[np.int64] | None = None
    class_names: Sequence[str] = ()
    own_tests: bool = False
    by_step: Sequence[Record] = ()

    @property
    def is_baseline(self) -> bool:
        """Is it centralised training, which others are held against?"""
        return self.tags[names.KIND] == "baseline"

    @property
    def settings(self) -> Settings:
        """Its parameters, and whether those about clients matter."""
        return Settings(self.params, self.is_baseline)

    @cached_property
    def family(self) -> tuple[str, ...]:
        """The settings that it shares with its baselines, of whatever seed."""
        apart = ("clients", "seed", *OF_CLIENTS)
        return tuple(f"{k}={self.params[k]}" for k in sorted(self.params) if k not in apart)

    @property
    def spread(self) -> str:
        """How its clients differ: ``iid``, ``dirichlet 0.1``."""
        return spread_of(self.params)

    @property
    def chance(self) -> float:
        """The accuracy of always guessing the largest class, or 1/C where that is larger."""
        return self.facts["summary/chance"]

    @property
    def num_test(self) -> int:
        return int(self.facts["data/test_examples"])

    @property
    def steps_per_round(self) -> int:
        """Sequential steps of a round: those of the largest client."""
        return int(self.facts["steps/per_round"])

    @property
    def accuracy(self) -> float | None:
        """Test accuracy after exactly the budget's rounds; None before that."""
        return accuracy_at(self.records, self.rule.budget, "test/accuracy")

    @property
    def headroom(self) -> float | None:
        """How far the baseline is above chance in the end; None where it is not clearly so."""
        base = self.baseline_levels.get("test/accuracy")
        if base is None or self.baseline is None or not self.baseline.above_chance:
            return None
        return base - self.chance if base > self.chance else None

    @property
    def retention(self) -> float | None:
        """The part of the headroom that is kept at the budget: all of it by the baseline itself.

        None where that has no value.
        """
        if self.accuracy is None or self.headroom is None:
            return None
        if self.is_baseline:
            return 1.0
        return (self.accuracy - self.chance) / self.headroom

    @property
    def target(self) -> float:
        """The accuracy to reach. Only where ``reach`` is known: there is none otherwise."""
        assert self.summary is not None
        assert self.summary.target_accuracy is not None
        return self.summary.target_accuracy

    @property
    def reach(self) -> Reach | None:
        """Rounds to target; None where that is not known yet, or where there is no target."""
        if self.summary is None or self.summary.target_accuracy is None:
            return None
        if self.summary.rounds_to_target is None and not self.ended:
            return None
        return Reach(self.summary.rounds_to_target, self.rule.last)

    def at(self, round_num: int | None, metric: str) -> float | None:
        """A metric after a round; None where either is not known."""
        return None if round_num is None else accuracy_at(self.records, round_num, metric)

    @cached_property
    def curve(self) -> dict[int, float]:
        """Test accuracy by round, evaluated rounds only."""
        return {r["round"]: r["test/accuracy"] for r in self.records if "test/accuracy" in r}

    def against_steps(self, metric: str) -> list[tuple[int, float]]:
        """(sequential steps, ``metric``) of every evaluation of the rounds that count but the
        first, of the untrained model.
        """
        points = {int(r[STEPS]): r[metric] for r in self.records if metric in r}
        last = int(self.records[-1][STEPS]) if self.records else 0
        points |= {p["step"]: p[metric] for p in self.by_step if metric in p and p["step"] <= last}
        return [(step, points[step]) for step in sorted(points) if step]

    @cached_property
    def curve_by_step(self) -> dict[float, tuple[int, float]]:
        """(sequential steps, test accuracy) by the rounds that had gone by, whole or in part."""
        steps, rounds = [r[STEPS] for r in self.records], [r["round"] for r in self.records]
        points = self.against_steps("test/accuracy")
        return {float(np.interp(x, steps, rounds)): (x, y) for x, y in points}

    @property
    def peak_memory_mb(self) -> float | None:
        """The most memory that the trial took, where that is tracked."""
        return self.tracked.get("summary/peak_memory_mb")

    @property
    def seconds(self) -> float:
        """Time spent computing rounds and evaluations."""
        times = (r.get("time/round_s", 0.0) + r.get("time/eval_s", 0.0) for r in self.records)
        return float(sum(times))

    def mean_of(self, metric: str) -> float | None:
        """The mean of a metric over the rounds up to the budget, or to an earlier end.

        None where it has none, and for a trial that is on its way there: drift falls as a trial
        goes on, so that the mean over its first rounds is not comparable.
        """
        if not self.ended and self.accuracy is None:
            return None
        values = [r[metric] for r in self.records if metric in r and r["round"] <= self.rule.budget]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Sweep:
    """A sweep's run and its trials, ordered by model, data set, variant, K and seed.

    ``left_out`` counts earlier trials that the sweep has no more: others took their place.
    """

    name: str
    run_id: str
    status: str
    started_ms: int
    trials: tuple[TrackedTrial, ...]
    tags: Mapping[str, str]
    expected: Expected = NOTHING_EXPECTED
    left_out: int = 0
