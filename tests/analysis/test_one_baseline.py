"""Strategies and partitions are held against one baseline, and against the trials of today."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from as_tracked import write
from grids import study
from strategy_grids import PLAIN, SOME, grid_of, rows_of
from support import new_database
from synthetic import make_trial, run_all
from worlds import skewed

from fedtune.analysis import tables
from fedtune.analysis.cell import Series
from fedtune.analysis.grid import Grid
from fedtune.analysis.history import load_sweep
from fedtune.analysis.origin import trained_on
from fedtune.trial.identity import Trial


def test_all_strategies_and_partitions_are_held_against_one_baseline() -> None:
    grid = grid_of(study(seeds=(0, 1)))

    assert len(grid.series) == 15
    baselines = {
        tuple(t.trial_id for t in grid.alone(series, 1).trials.values()) for series in grid.series
    }
    (ids,) = baselines
    assert len(ids) == 2, "a seed each"
    for trial in grid.trials:
        assert trial.baseline_test_accuracy is not None
        assert trial.baseline_id in ids
    for table in (tables.per_trial(grid), tables.per_cell(grid), tables.to_target(grid)):
        alone = [row for row in rows_of(table) if row["K"] == 1]
        assert {(row["model"], row["data set"]) for row in alone} == {("mini-bert", "ag-news")}
        assert len(alone) == (2 if table.name == "trials" else 1)


def test_a_setting_of_centralised_training_has_baselines_of_its_own() -> None:
    trials = [
        trial
        for epochs in (1, 2)
        for trial in study((8, 32), spreads=PLAIN, strategies=SOME, local_epochs=epochs)
    ]

    grid = grid_of(trials)

    for series in grid.series:
        alone = grid.alone(series, 1).trials[0]
        assert alone.params["local_epochs"] == series.variant[-1]
        assert all(
            trial.baseline_id == alone.trial_id
            for cell in grid.cells(series)
            for trial in cell.trials.values()
        )


def test_one_client_with_a_strategy_is_no_baseline() -> None:
    prox = {"strategy": "fedprox", "prox_mu": 0.5}
    trials = study((1, 8), spreads=PLAIN, strategies=[prox])
    trials.append(make_trial("mini-bert", "ag-news", 8, 0, budget_rounds=6, max_rounds=8))

    grid = grid_of(trials)

    series = Series("mini-bert", "ag-news", "fedprox")
    own, alone = grid.cell(series, 1).trials[0], grid.alone(series, 1).trials[0]
    assert (own.is_baseline, alone.is_baseline) == (False, True)
    assert own.baseline_id == alone.trial_id
    assert grid.cell(series._replace(variant="fedavg"), 1).trials[0] is alone


def test_an_earlier_engine_is_left_out_whatever_the_strategy(tmp_path: Path) -> None:
    uri = new_database(tmp_path)
    write(uri, run_all(study((8,), spreads=PLAIN, strategies=SOME), skewed))
    trials = study((8,), spreads=PLAIN, strategies=PLAIN)
    renewed = run_all([replace(t, model_hash="0" * 64) for t in trials], skewed)
    write(uri, [replace(r, origin=r.origin | {"begun_ms": 1_700_000_001_000}) for r in renewed])

    sweep = load_sweep(uri, None)

    assert {t.trial_id for t in sweep.trials} == {r.trial.trial_id for r in renewed}
    assert sweep.left_out == 4


@pytest.mark.parametrize(
    ("hashed", "settings"),
    [
        ("pool_hash", {"strategy": "feddf", "distill_dataset": "texts.jsonl", "distill_steps": 9}),
        ("groups_hash", {"partition": "natural", "client_column": "author"}),
    ],
)
def test_clients_or_texts_that_have_changed_since_make_no_second_row(
    tmp_path: Path, hashed: str, settings: dict[str, Any]
) -> None:
    """Neither is part of a baseline, which stays as it is."""
    uri = new_database(tmp_path)
    trials = [t for s in ({}, settings) for t in study((2, 4), (0,), PLAIN, [s])]

    def launched(digit: str, begun_ms: int) -> list[Trial]:
        asked = [replace(t, **{hashed: digit * 64}) if _has(t, settings) else t for t in trials]
        told = run_all(dict.fromkeys(asked), skewed)
        write(uri, [replace(r, origin=r.origin | {"begun_ms": begun_ms}) for r in told])
        return asked

    def known() -> list[str]:
        return sorted(trial.trial_id for trial in load_sweep(uri, None).trials)

    before = launched("1", 1_700_000_000_000)
    assert known() == sorted({t.trial_id for t in before})

    after = launched("2", 1_700_000_001_000)

    assert known() == sorted({t.trial_id for t in after})
    sweep = load_sweep(uri, None)
    assert sweep.left_out == 2
    table = trained_on(Grid(sweep.trials, sweep.expected))
    told = {column: {row[column] for row in rows_of(table)} for column in table.header}
    if hashed == "pool_hash":
        assert told["hash of texts distilled on"] == {"", "2" * 12}
    else:
        assert "hash of texts distilled on" not in told


def _has(trial: Trial, settings: dict[str, Any]) -> bool:
    return all(getattr(trial.config, field) == value for field, value in settings.items())
