"""When a trial ends, and what its rounds amount to. Pure functions of a round log.

A record is one line of ``rounds.jsonl``: a mapping with ``round`` and the round's metrics under
their tracked names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Record = Mapping[str, Any]
Outcome = Literal[
    "baseline", "reached", "not_reached", "target_undefined", "diverged", "waiting", "failed"
]


#: An accuracy that is the target in exact arithmetic has met it: 0.8 * 0.9 is a hair above 0.72.
ROUNDING = 1e-9


class Target(NamedTuple):
    """What a trial has to reach: an accuracy; or nothing yet (None); or, where its baseline is not
    above chance, nothing at all (``undefined``).
    """

    accuracy: float | None
    undefined: bool = False


@dataclass(frozen=True)
class StopRule:
    """How long a trial runs.

    A baseline (K = 1) runs ``budget`` rounds. A federated trial with ``stop="target"`` ends at the
    first evaluated round from 1 on whose ``metric`` is at least ``target``, or at ``cap``. With
    ``stop="budget-then-target"`` (the paper's study) it runs its budget in any case, then on until
    it has met the target at some round, or to ``cap``. Without a target, ``stop="target"`` runs to
    the cap and ``stop="budget-then-target"`` its budget.
    """

    is_baseline: bool
    budget: int
    cap: int
    eval_every: int
    stop: str
    metric: str

    def ended(self, records: Sequence[Record], target: Target) -> bool:
        """Does the log hold all the rounds of this trial? False for an empty log."""
        if not records:
            return False
        last = records[-1]["round"]
        if self.is_baseline:
            return bool(last >= self.budget)
        if last >= self.cap:
            return True
        if target.undefined:
            return bool(last >= self.budget)
        if target.accuracy is None:
            return self.stop != "target" and last >= self.budget
        met = first_round_at(records, target.accuracy, self.metric) is not None
        return met and (self.stop == "target" or last >= self.budget)

    def evaluates(self, round_num: int) -> bool:
        """Is this round evaluated? Round 0, every ``eval_every``-th, the budget and the cap are."""
        return round_num % self.eval_every == 0 or round_num in (self.budget, self.last)

    def evaluations(self, first: int, last: int) -> int:
        """How many of the rounds ``first`` to ``last`` are evaluated, without going through them.

        >>> StopRule(True, 5, 9, 2, "target", "test/accuracy").evaluations(0, 5)  # 0, 2, 4, 5
        4
        """
        if last < first:
            return 0
        regular = last // self.eval_every - (first - 1) // self.eval_every
        ends = {self.budget, self.last}
        return regular + sum(first <= r <= last and r % self.eval_every != 0 for r in ends)

    @property
    def first(self) -> int:
        """The round after which the trial ends at the earliest."""
        return self.budget if self.is_baseline or self.stop != "target" else 1

    @property
    def last(self) -> int:
        """The round after which the trial ends at the latest."""
        return self.budget if self.is_baseline else self.cap

    def read(self, records: Sequence[Record]) -> Sequence[Record]:
        """The part of a log that counts: a longer one is read up to the cap that is asked for."""
        return [record for record in records if record["round"] <= self.last]


def first_round_at(records: Sequence[Record], target: float, metric: str) -> int | None:
    """The first evaluated round from 1 on with ``metric`` at least ``target``; None without one."""
    for record in records:
        if record["round"] >= 1 and record.get(metric, -math.inf) >= target - ROUNDING:
            return int(record["round"])
    return None


def accuracy_at(records: Sequence[Record], round_num: int, metric: str) -> float | None:
    """``metric`` after ``round_num``, or None where that round is missing or was not evaluated."""
    return next((r.get(metric) for r in records if r["round"] == round_num), None)


def steps_at(records: Sequence[Record], round_num: int) -> int | None:
    """The sequential steps up to and with ``round_num``; None where that round is missing."""
    steps = accuracy_at(records, round_num, "steps/sequential")
    return None if steps is None else int(steps)


#: "At chance" is within this many binomial standard errors of it.
CHANCE_ERRORS = 3


def chance_error(chance: float, num_examples: int) -> float:
    """How far from ``chance`` an accuracy on ``num_examples`` may be and still count as chance."""
    return CHANCE_ERRORS * math.sqrt(chance * (1 - chance) / num_examples)


def clearly_above_chance(accuracy: float, chance: float, num_examples: int) -> bool:
    """Is ``accuracy`` above ``chance`` by more than CHANCE_ERRORS binomial standard errors?"""
    return accuracy > chance + chance_error(chance, num_examples)


@dataclass(frozen=True)
class Baseline:
    """What siblings need to know of a K = 1 trial: its accuracy at the budget, its worth."""

    accuracy: float
    above_chance: bool

    def target(self, fraction: float) -> Target:
        """What a sibling has to reach: ``fraction`` of this accuracy, if it is above chance."""
        return Target(fraction * self.accuracy) if self.above_chance else Target(None, True)


def read_baseline(
    records: Sequence[Record], rule: StopRule, facts: Mapping[str, Any]
) -> Baseline | None:
    """The baseline that this K = 1 log gives at the rule's budget; None before that."""
    accuracy = accuracy_at(records, rule.budget, rule.metric)
    if accuracy is None:
        return None
    counted = facts[f"data/{rule.metric.partition('/')[0]}_examples"]
    return Baseline(accuracy, clearly_above_chance(accuracy, facts["summary/chance"], counted))


def choose_target(
    own_target: float | None, baseline: Baseline | None, fraction: float = 0.9
) -> Target:
    """The target of a trial: the user's own, else the fraction of its baseline's accuracy.

    Where there is a baseline and it is not above chance, no K can reach anything.
    """
    if baseline is None or (own_target is not None and baseline.above_chance):
        return Target(own_target)
    return baseline.target(fraction)


class Shown(NamedTuple):
    """The accuracy that stands for a trial in a table, after which round it was measured, and its
    part of the baseline's (which is always that at the budget).
    """

    accuracy: float
    round_num: int
    at_budget: bool
    relative: float | None

    @property
    def mark(self) -> str:
        """What stands behind a number that is not of the budget: `` (round 4)``, else nothing."""
        return "" if self.at_budget else f" (round {self.round_num})"


@dataclass(frozen=True)
class Summary:
    """What a trial amounts to; absent values are None, never a stand-in such as the cap.

    ``shown`` is the accuracy at the budget, or before that the last there is, from round 1 on: a
    trial that stopped at its target has no other. It is not tracked, since the rounds say it.
    """

    outcome: Outcome | None  # None: still running, or there is nothing to hold it against
    collapsed: bool
    baseline_accuracy: float | None
    target_accuracy: float | None
    accuracy_at_budget: float | None
    relative_accuracy: float | None
    rounds_to_target: int | None
    steps_to_target: int | None
    final_accuracy: float | None
    chance: float
    clients: int
    shown: Shown | None

    def metrics(self) -> dict[str, float]:
        """The numbers that exist, under their tracked names."""
        fields = vars(self).items()
        return {
            f"summary/{name}": float(value)
            for name, value in fields
            if name not in ("outcome", "collapsed", "shown") and value is not None
        }


def summarize(
    records: Sequence[Record],
    rule: StopRule,
    facts: Mapping[str, Any],
    *,
    baseline: Baseline | None,
    own_target: float | None = None,
    fraction: float = 0.9,
    diverged: bool = False,
) -> Summary:
    """Read a trial's log against its baseline (section 3.4: 90 % of the baseline's accuracy).

    ``own_target`` is a target the user set instead of the fraction of the baseline.
    """
    records = rule.read(records)
    goal = choose_target(own_target, baseline, fraction)
    target = goal.accuracy
    at_budget = accuracy_at(records, rule.budget, rule.metric)
    first = first_round_at(records, target, rule.metric) if target is not None else None
    tested = [record for record in records if "test/accuracy" in record]
    later = [record["test/accuracy"] for record in tested if record["round"] >= 1]
    chance, num_test = facts["summary/chance"], facts["data/test_examples"]
    return Summary(
        outcome=_outcome(records, rule, goal, first, diverged),
        collapsed=bool(later)
        and not any(clearly_above_chance(accuracy, chance, num_test) for accuracy in later),
        baseline_accuracy=baseline.accuracy if baseline else None,
        target_accuracy=target,
        accuracy_at_budget=at_budget,
        relative_accuracy=at_budget / baseline.accuracy
        if baseline and baseline.accuracy and at_budget is not None
        else None,
        rounds_to_target=first,
        steps_to_target=steps_at(records, first) if first is not None else None,
        final_accuracy=tested[-1]["test/accuracy"] if tested else None,
        chance=chance,
        clients=facts["summary/clients"],
        shown=_shown(records, rule, baseline),
    )


def _shown(records: Sequence[Record], rule: StopRule, baseline: Baseline | None) -> Shown | None:
    evaluated = [r for r in records if 1 <= r["round"] <= rule.budget and rule.metric in r]
    if not evaluated:
        return None
    last = evaluated[-1]
    accuracy, round_num = float(last[rule.metric]), int(last["round"])
    relative = accuracy / baseline.accuracy if baseline and baseline.accuracy else None
    return Shown(accuracy, round_num, round_num == rule.budget, relative)


def _outcome(
    records: Sequence[Record],
    rule: StopRule,
    target: Target,
    first: int | None,
    diverged: bool,
) -> Outcome | None:
    if diverged:
        return "diverged"
    if rule.is_baseline:
        return "baseline" if rule.ended(records, target) else None
    if not rule.ended(records, target):
        return None
    if target.undefined:
        return "target_undefined"
    if target.accuracy is None:
        return None
    return "reached" if first is not None else "not_reached"
