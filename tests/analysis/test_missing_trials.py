"""What is missing of a plan of strategies and partitions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from as_tracked import in_memory
from grids import study
from strategy_grids import PLAIN, SOME, grid_of
from synthetic import result_of
from worlds import skewed

from fedtune.analysis.expected import read_expected
from fedtune.analysis.missing import missing
from fedtune.plan.plan import Plan
from fedtune.tracking import names
from fedtune.trial.identity import Trial


def plan_of(trials: list[Trial], axes: tuple[str, ...]) -> Plan:
    return Plan("study", axes, tuple(trials))


@pytest.mark.parametrize("clients", [(8, 32), (8,)], ids=("K", "alpha"))
def test_what_a_grid_of_strategies_misses_is_listed(clients: tuple[int, ...]) -> None:
    trials = study(clients, seeds=(0, 1), strategies=SOME, models=("mini-bert", "mini-albert"))
    tags = plan_of(trials, ("strategy", "partition")).tags()
    expected = read_expected(tags)
    begun = [
        trial
        for trial in trials
        if trial.config.model == "mini-bert"
        and (trial.config.seed, trial.config.strategy) != (1, "scaffold")
    ]
    begun = [t for t in begun if t.config.server_optimizer == "none"]

    grid = grid_of(begun, expected=expected)

    assert expected.num_trials == len(trials)
    told = missing(grid)
    whole = len(trials) // 2
    assert told[-1] == f"mini-albert on ag-news: none of {whole} trials has begun" or any(
        line.startswith("mini-albert on ag-news") for line in told
    )
    lines = [line for line in told if line.startswith("K")]
    assert len(lines) == whole - len(begun)
    assert len({*lines}) == len(lines)
    if len(clients) == 2:
        assert "K032 mini-bert (scaffold) ag-news, dirichlet 0.1 s1: not begun" in lines
        assert "K008 mini-bert (fedadam) ag-news, iid s0: not begun" in lines
    else:
        assert "K008 mini-bert (scaffold) ag-news s1 partition alpha = 0.1: not begun" in lines
    assert missing(grid_of(trials, expected=expected)) == []


def test_a_missing_baseline_is_listed_once() -> None:
    trials = study(seeds=(0, 1), strategies=SOME)
    expected = read_expected(plan_of(trials, ()).tags())
    begun = [t for t in trials if not (t.is_baseline and t.config.seed == 1)]

    grid = in_memory([result_of(t, skewed) for t in begun], expected)

    lines = [line for line in missing(grid) if line.endswith("not begun")]
    assert lines == ["K001 mini-bert ag-news s1: not begun"]


def test_a_plan_of_k_alone_is_told_as_before_and_one_with_a_gap_not_at_all() -> None:
    plain = study(spreads=PLAIN, strategies=PLAIN, seeds=(0, 1))
    told = json.loads(plan_of(plain, ()).tags()[names.PLANNED])
    assert told == {
        "model": ["mini-bert"],
        "dataset": ["ag-news"],
        "clients": [1, 8, 32],
        "seed": [0, 1],
    }
    assert names.PLANNED not in plan_of(study(seeds=(0, 1))[:-1], ()).tags()


@pytest.mark.parametrize(
    "told",
    [
        {"fields": ["clients", "strategy"], "points": [[8]]},
        {"fields": ["strategy"], "points": [["fedavg"]]},
        {"fields": ["clients"], "points": [["many"]]},
        {"points": 3},
    ],
)
def test_points_that_are_none_are_no_plan(told: dict[str, Any]) -> None:
    whole = {"model": ["m"], "dataset": ["d"], "seed": [0]} | told
    assert read_expected({names.PLANNED: json.dumps(whole)}).num_trials == 0
