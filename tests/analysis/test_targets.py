"""The baseline's level, the target, and the rounds to it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from as_tracked import in_memory
from grids import whole_grid
from synthetic import make_trial, run_all
from worlds import paper_like

from fedtune.analysis.cell import Series
from fedtune.analysis.paper.evidence import Evidence
from fedtune.analysis.paper.judging import judge
from fedtune.analysis.paper.rounds import Aim, Rounds, median, rounds_to
from fedtune.analysis.paper.targets import rounds_by_target, verdicts_by_target
from fedtune.trial.identity import Trial


def test_the_baseline_is_the_mean_of_its_last_evaluations_and_the_stop_rule_is_not() -> None:
    last = {8: 0.80, 9: 0.86, 10: 0.74}

    def curve(trial: Trial, step: int) -> float:
        return last.get(step, 0.7) if step else 0.5

    base, other = (
        in_memory(run_all(whole_grid(("mini-bert",), ("imdb",), (1, 2)), curve))
        .cell(Series("mini-bert", "imdb"), k)
        .trials[0]
        for k in (1, 2)
    )

    assert base.baseline_levels["test/accuracy"] == pytest.approx(0.80)
    assert base.retention == 1.0
    assert other.retention == pytest.approx((0.74 - 0.5) / (0.80 - 0.5))
    assert other.target == pytest.approx(0.9 * 0.74), "that of the paper, at the budget alone"
    assert Aim(0.9).of(other) == pytest.approx(0.72)
    assert Aim(0.9, above_chance=True).of(other) == pytest.approx(0.5 + 0.9 * 0.3)


@pytest.mark.parametrize(
    ("accuracies", "rounds"),
    [
        ([0.5, 0.6, 0.75, 0.8, 0.8, 0.8], Rounds(2, True, 20)),
        ([0.5, 0.75, 0.6, 0.65, 0.8, 0.8], Rounds(4, True, 20)),  # a single lucky round
        ([0.5, 0.6, 0.6, 0.6, 0.6, 0.6], Rounds(6, None, 20)),  # it stopped by itself
    ],
)
def test_rounds_to_target_count_from_where_it_stays_met(
    accuracies: list[float], rounds: Rounds
) -> None:
    (trial,) = in_memory(run_all([make_trial("mini-bert", "imdb", 1)], lambda *_: 0.5)).trials
    records = [
        {"round": at, "steps/sequential": 64 * at, "test/accuracy": value}
        for at, value in enumerate(accuracies)
    ]
    rule = replace(trial.rule, is_baseline=False)

    found = rounds_to(replace(trial, records=records, rule=rule, ended=True), 0.7)

    assert found == rounds


@pytest.mark.parametrize("lasts", [False, True])
def test_a_lucky_round_that_lets_a_trial_stop_is_no_target_met(lasts: bool) -> None:
    """One round above the target lets a trial end at its budget, where it is at chance again."""

    def curve(trial: Trial, step: int) -> float:
        if trial.config.clients == 1:
            return 0.5 + 0.4 * min(1.0, step / 4)
        return 0.88 if step == 3 or (lasts and step > 3) else 0.5

    trials = whole_grid(("mini-bert",), ("imdb",), (1, 4))
    grid = in_memory(run_all(trials, curve))
    cell = grid.cell(Series("mini-bert", "imdb"), 4)

    found = Evidence(grid).rounds(cell)[0]

    assert cell.trials[0].state == "reached"
    assert found == (Rounds(3, True, 20) if lasts else Rounds(11, None, 20))


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([Rounds(3, True, 20), Rounds(5, True, 20), Rounds(9, True, 20)], "5"),
        ([Rounds(3, True, 20), Rounds(5, None, 20), Rounds(9, True, 20)], "> 4"),
        ([Rounds(3, True, 20), Rounds(5, True, 20), Rounds(9, None, 20)], "5"),
        ([Rounds(3, True, 20), Rounds(math.inf, False, 20)], "> 20"),
        ([Rounds(9, None, 20)], "> 8"),
        ([], ""),
    ],
)
def test_a_median_that_may_be_higher_says_so(found: list[Rounds], told: str) -> None:
    assert median(found) == told


def test_the_verdicts_at_other_targets_are_a_table() -> None:
    grid = in_memory(run_all(whole_grid(seeds=range(5)), paper_like))

    table = verdicts_by_target(grid, judge(grid))

    assert [row[0] for row in table.rows] == ["C4", "C5", "C6", "C7", "C11", "C13"]
    assert list(table.header[2:]) == [
        *("0.8", "0.9", "0.95"),
        *("0.8 above chance", "0.9 above chance", "0.95 above chance"),
    ]
    at_nine_tenths = table.header.index("0.9")
    assert all(row[1] == "holds" for row in table.rows)
    assert table.rows[0][at_nine_tenths] == "holds"
    rounds = rounds_by_target(grid)
    (row,) = (row for row in rounds.rows if row[:3] == ["mini-bert", "imdb", 32])
    numbers = [str(value).removeprefix("> ") for value in row[3:6]]
    assert numbers == sorted(numbers, key=float), "a higher target takes longer"
