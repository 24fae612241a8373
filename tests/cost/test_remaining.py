"""The time that is left is corrected by the rounds that have been run."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtune.cost.launch_cost import LaunchCost
from fedtune.cost.remaining import Remaining
from fedtune.cost.trial_cost import Cost
from fedtune.machine import Machine
from fedtune.plan.plan import Plan


def remaining(plan: Plan, said: float, cores: int = 1) -> Remaining:
    """Of a launch whose trials, of ten rounds, were said to take ``said`` seconds a round."""
    costs = {t.trial_id: Cost(10, 10, 0, 10 * said, said) for t in plan.trials}
    cost = LaunchCost(plan, plan.trials, Machine(cores, 64e9), True, {}, costs)
    return Remaining(cost)


def record(round_num: int, seconds: float) -> dict[str, float]:
    return {"round": round_num, "time/round_s": seconds - 1, "time/eval_s": 1.0}


def test_it_begins_with_what_was_said(plan: Plan) -> None:
    ids = [trial.trial_id for trial in plan.trials]
    assert remaining(plan, 2.0).of_launch(dict.fromkeys(ids, 10)) == 60
    assert (
        remaining(plan, 2.0, cores=3).of_launch(dict.fromkeys(ids, 10)) == 40
    )  # baseline, sibling


def test_rounds_that_were_run_correct_their_trial_and_all_others(plan: Plan) -> None:
    first, second, third = (trial.trial_id for trial in plan.trials)
    left = remaining(plan, 2.0)
    left.round_done(first, {"round": 0, "time/eval_s": 100.0})  # round 0 trains nothing
    assert left.of_trial(first, 10) == 20

    for number in range(1, 4):
        left.round_done(first, record(number, 6.0))

    assert left.of_trial(first, 7) == 42
    assert left.of_trial(second, 10) == 60, "three times as long as was said"
    left.round_done(second, record(1, 4.0))
    assert left.of_trial(second, 9) == 36
    assert left.of_trial(third, 10) == pytest.approx(50), "as those that have run, on average"
    assert left.of_launch({first: 7, second: 9, third: 10}) == pytest.approx(42 + 36 + 50)


def test_only_the_last_rounds_count(plan: Plan) -> None:
    left, (first, *_) = remaining(plan, 2.0), (trial.trial_id for trial in plan.trials)
    for number, seconds in enumerate([50.0, 3, 3, 3, 3, 3], start=1):
        left.round_done(first, record(number, seconds))
    assert left.of_trial(first, 4) == 12


def test_a_trial_that_is_not_of_the_launch_changes_nothing(plan: Plan, tmp_path: Path) -> None:
    left = remaining(plan, 2.0)
    left.round_done("0" * 12, record(1, 99.0))
    assert left.of_trial(plan.trials[0].trial_id, 10) == 20
    assert left.of_trial("0" * 12, 10) is None
