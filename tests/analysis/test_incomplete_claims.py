"""Verdicts where trials are missing, have diverged, or learned nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from as_tracked import in_memory
from claims_of import judged, verdicts
from grids import whole_grid
from synthetic import run_all
from worlds import paper_like

from fedtune.analysis.cell import Series
from fedtune.analysis.expected import Expected
from fedtune.analysis.quantities import area, retained_area
from fedtune.analysis.tables import per_cell


def test_what_is_planned_and_has_not_begun_is_missing_in_the_claims() -> None:
    seeds = tuple(range(5))
    trials = whole_grid(("mini-bert", "mini-albert"), ("ag-news",), seeds=seeds)
    results = run_all(trials, paper_like)
    clients = (1, 2, 4, 8, 16, 32)
    expected = Expected(("mini-bert", "mini-albert"), ("ag-news", "yelp"), clients, seeds)

    begun, whole = verdicts(in_memory(results)), verdicts(in_memory(results, expected))

    assert {begun[number] for number in ("C1", "C5", "C10")} == {"holds"}
    assert {whole[number] for number in ("C1", "C5", "C9", "C10")} == {"not run"}


def test_a_planned_number_of_clients_that_has_not_begun_leaves_trends_open() -> None:
    results = run_all(whole_grid(clients=(1, 2, 4, 8, 16), seeds=range(6)), paper_like)
    expected = Expected(clients=(1, 2, 4, 8, 16, 32))

    found = verdicts(in_memory(results, expected))

    open_still = ("C1", "C2", "C3", "C4", "C5", "C8", "C9", "C10", "C11")
    assert {number: found[number] for number in open_still} == dict.fromkeys(open_still, "not run")
    assert found["C6"] == found["C7"] == found["C13"] == "holds", "seen already"


def test_a_trial_that_diverged_keeps_nothing() -> None:
    trials = whole_grid(("mini-bert", "mini-albert"), ("yelp",), seeds=range(3))
    wrecked = [
        replace(r, records=r.records[:3], diverged="round 3, client 0", summary=None)
        if (r.trial.config.clients, r.trial.config.seed) == (32, 1)
        else r
        for r in run_all(trials, paper_like)
    ]
    grid = in_memory(wrecked)

    found = judged(grid)

    assert found["C10"].verdict == "inconclusive"
    assert found["C10"].parts[0].per_seed == pytest.approx({0: 0.6, 1: 0.0, 2: 0.6}, abs=1e-3)
    cell = grid.cell(Series("mini-bert", "yelp"), 32)
    areas = {seed: area(trial) for seed, trial in cell.trials.items()}
    kept = {seed: retained_area(trial) for seed, trial in cell.trials.items()}
    start, before = (cell.trials[1].curve[at] for at in (0, 2))
    at_chance_from_2_on = 2 * (start + before) / 2 / 10 + 8 * 0.2 / 10
    assert areas[1] == pytest.approx(at_chance_from_2_on, abs=0.03)
    assert kept[1] == pytest.approx((areas[1] - 0.2) / 0.7, abs=0.01)
    assert set(found["C9"].parts[0].per_seed) == {0, 1, 2}
    table = per_cell(grid)
    (row,) = (row for row in table.rows if row[:3] == ["mini-bert", "yelp", 32])
    assert row[table.header.index("retention")] == pytest.approx(0.4, abs=1e-3)


def test_trials_that_all_diverged_are_at_chance_and_no_error() -> None:
    wrecked = [
        replace(r, records=r.records[:3], diverged="round 3, client 0", summary=None)
        if r.trial.config.clients == 32
        else r
        for r in run_all(whole_grid(seeds=range(3)), paper_like)
    ]

    found = judged(in_memory(wrecked))

    assert found["C3"].verdict == "holds"
    (part,) = (part for part in found["C3"].parts if "yelp" in part.what)
    assert "at K = 32: 0.000 (diverged, chance 0.200)" in part.numbers
    assert found["C10"].verdict == "does not hold"


def test_cells_without_a_seed_in_common_decide_nothing() -> None:
    """Which seeds have ended may differ from K to K while a sweep is under way."""
    one, many = ({1: (0, 1), 2: seeds, 4: (0,), 8: (1,)} for seeds in ((0,), (0, 1)))

    for there in (one, many):
        results = run_all(whole_grid(clients=there, seeds=(0, 1)), paper_like)
        kept = [r for r in results if r.trial.config.seed in there[r.trial.config.clients]]

        found = verdicts(in_memory(kept))

        assert {found[number] for number in ("C1", "C4", "C9", "C11")} == {"not run"}


def test_who_never_learned_does_not_fall_to_chance() -> None:
    found = judged(in_memory(run_all(whole_grid(seeds=range(2)), lambda trial, _: 0.0)))

    assert found["C3"].verdict == "not run", "retention has no value"
