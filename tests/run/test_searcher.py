"""The searcher without Ray: what is handed out when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ray.tune.search import Searcher
from support import LEARNS

from fedtune.errors import BadInput
from fedtune.plan.plan import Plan, make_plan
from fedtune.plan.sweepfile import SweepSpec
from fedtune.run.launch import Launch
from fedtune.run.progress import Silent
from fedtune.run.searcher import BaselineFirstSearcher

Write = Callable[..., None]


@pytest.fixture
def searcher(plan: Plan, tmp_path: Path) -> BaselineFirstSearcher:
    return BaselineFirstSearcher.of_launch(Launch(plan, tmp_path, Silent(), None))


def test_the_baseline_comes_first_and_the_rest_wait_for_it(searcher: BaselineFirstSearcher) -> None:
    assert searcher.num_trials == 3
    assert searcher.suggest("a")["clients"] == 1
    assert searcher.suggest("b") is None
    assert searcher.suggest("b") is None


def test_an_ended_baseline_releases_its_siblings_with_their_target(
    searcher: BaselineFirstSearcher, plan: Plan, write_log: Write
) -> None:
    searcher.suggest("a")
    write_log(plan.trials[0], [0.5, 0.7, 0.8])
    searcher.on_trial_complete("a", {})

    released = [searcher.suggest("b"), searcher.suggest("c")]

    assert [space["clients"] for space in released] == [8, 2]
    assert [space["target_accuracy"] for space in released] == pytest.approx([0.72, 0.72])
    assert searcher.suggest("d") == Searcher.FINISHED


def test_a_baseline_that_is_not_done_releases_nobody(
    searcher: BaselineFirstSearcher, plan: Plan, write_log: Write
) -> None:
    searcher.suggest("a")
    write_log(plan.trials[0], [0.5, 0.9])  # one round short of its budget

    assert searcher.suggest("b") is None


def test_siblings_of_a_baseline_whose_worker_died_are_not_handed_out(
    searcher: BaselineFirstSearcher,
) -> None:
    searcher.suggest("a")
    searcher.on_trial_complete("a", error=True)

    assert searcher.suggest("b") == Searcher.FINISHED


def test_siblings_of_a_diverged_baseline_are_not_handed_out(
    searcher: BaselineFirstSearcher, plan: Plan, write_log: Write
) -> None:
    searcher.suggest("a")
    write_log(plan.trials[0], [0.5], diverged=True)
    searcher.on_trial_complete("a", {})

    assert searcher.suggest("b") == Searcher.FINISHED


def test_siblings_of_a_baseline_at_chance_run_their_budget_without_a_target(
    searcher: BaselineFirstSearcher, plan: Plan, write_log: Write
) -> None:
    searcher.suggest("a")
    write_log(plan.trials[0], [0.5, 0.5, 0.52])

    space = searcher.suggest("b")

    assert (space["target_accuracy"], space["stop"]) == ("none", "target")


def test_a_target_of_the_users_own_waits_for_the_baseline_and_stays(
    bert: str, write_log: Write, tmp_path: Path
) -> None:
    axes = {"model": [bert], "dataset": ["toy"], "clients": [2]}
    own = {"budget_rounds": 2, "target_accuracy": 0.6}
    plan = make_plan(SweepSpec("own", axes, {**LEARNS, **own}))
    searcher = BaselineFirstSearcher.of_launch(Launch(plan, tmp_path, Silent(), None))
    assert searcher.suggest("a")["clients"] == 1
    assert searcher.suggest("b") is None, "at chance there is no target, not even this one"
    write_log(plan.trials[0], [0.5, 0.7, 0.8])
    searcher.on_trial_complete("a", {})

    space = searcher.suggest("b")

    assert (space["clients"], space["target_accuracy"]) == (2, 0.6)


def test_trials_that_have_ended_are_not_handed_out_again(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    baseline, eight, two = plan.trials
    write_log(baseline, [0.5, 0.7, 0.8])
    write_log(eight, [0.5, 0.6, 0.6, 0.6, 0.6])  # at its cap
    searcher = BaselineFirstSearcher.of_launch(Launch(plan, tmp_path, Silent(), None))

    assert searcher.num_trials == 1
    assert searcher.suggest("a")["clients"] == two.config.clients


def test_bad_input_of_a_script_is_told_when_the_searcher_is_made(bert: str) -> None:
    with pytest.raises(BadInput, match="learning_rate"):
        BaselineFirstSearcher({"clients": [2]}, {"model": bert, "learning_rate": 0.0})


def test_a_later_seeds_baseline_waits_while_an_earlier_seed_has_trials_that_can_run(
    bert: str, write_log: Write, tmp_path: Path
) -> None:
    axes = {"model": [bert], "dataset": ["toy"], "clients": [2], "seed": [0, 1]}
    plan = make_plan(SweepSpec("seeds", axes, {**LEARNS, "budget_rounds": 2}))
    searcher = BaselineFirstSearcher.of_launch(Launch(plan, tmp_path, Silent(), None))
    first = searcher.suggest("a")
    write_log(plan.trials[0], [0.5, 0.7, 0.8])
    searcher.on_trial_complete("a", {})

    rest = [searcher.suggest(name) for name in "bc"]

    handed_out = [(space["clients"], space["seed"]) for space in [first, *rest]]
    assert handed_out == [(1, 0), (2, 0), (1, 1)]


def test_where_nothing_of_a_seed_can_run_the_next_ones_baseline_does(
    bert: str, tmp_path: Path
) -> None:
    axes = {"model": [bert], "dataset": ["toy"], "clients": [2], "seed": [0, 1]}
    searcher = BaselineFirstSearcher(axes, LEARNS, store=tmp_path)

    handed_out = [searcher.suggest(name) for name in "ab"]

    assert [(space["clients"], space["seed"]) for space in handed_out] == [(1, 0), (1, 1)]
    assert searcher.suggest("c") is None
