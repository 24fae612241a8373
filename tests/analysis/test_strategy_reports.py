"""Tables of strategies and of how clients differ."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from as_tracked import in_memory, write
from grids import study
from strategy_grids import DIRICHLET, PLAIN, SOME, grid_of
from support import new_database
from synthetic import run_all
from worlds import skewed

from fedtune.analysis import report
from fedtune.analysis.history import load_sweep
from fedtune.analysis.origin import trained_on
from fedtune.analysis.paper.part import part_of
from fedtune.analysis.paper.shape import has_papers_shape
from fedtune.analysis.strategies import by_strategy, compares_strategies
from fedtune.config import TrialConfig


def test_the_table_of_strategies_is_what_the_rounds_say(tmp_path: Path) -> None:
    results = run_all(study(seeds=(0, 1), strategies=SOME), skewed)
    uri = new_database(tmp_path)
    write(uri, results)

    with mock.patch.object(report, "FIGURES", {}):
        report.build(load_sweep(uri, None), tmp_path / "report")

    with (tmp_path / "report" / "tables" / "strategies.csv").open() as file:
        rows = {(r["strategy"], r["clients"], r["K"]): r for r in csv.DictReader(file)}
    assert len(rows) == 3 * 3 * 2
    called = {"scaffold": "scaffold", "none": "fedavg", "adam": "fedadam"}
    for (strategy, spread, clients), row in rows.items():
        mine = [
            r
            for r in results
            if not r.trial.is_baseline
            and r.trial.config.clients == int(clients)
            and strategy
            == called.get(r.trial.config.strategy, called[r.trial.config.server_optimizer])
            and spread
            == ("iid" if r.trial.config.partition == "iid" else _dirichlet(r.trial.config))
        ]
        assert len(mine) == 2
        accuracies = [r.records[6]["test/accuracy"] for r in mine]
        assert float(row["accuracy at budget"]) == pytest.approx(sum(accuracies) / 2, rel=1e-5)
        reached = [r.summary.rounds_to_target for r in mine if r.summary]
        met = [rounds for rounds in reached if rounds is not None]
        assert row["reached"] == f"{len(met)} of 2"
        if len(met) == 2:
            sent = [r.records[n]["comm/bytes"] for r, n in zip(mine, met, strict=True)]
            assert float(row["rounds to target"]) == sum(met) / 2
            assert float(row["bytes to target"]) == sum(sent) / 2
        else:
            assert (row["rounds to target"], row["bytes to target"]) == ("> 8", "")
        if spread == "iid":
            assert row["worst client"] == ""
        else:
            worst = [r.records[6]["clients/accuracy_worst"] for r in mine]
            assert float(row["worst client"]) == pytest.approx(sum(worst) / 2, rel=1e-5)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Strategies and how clients differ" in page
    assert "federated averaging" not in page


def _dirichlet(config: TrialConfig) -> str:
    return f"dirichlet {config.partition_alpha:g}"


def test_what_is_trained_on_what_is_told_once_for_all_strategies() -> None:
    grid = grid_of(study((4, 8), strategies=SOME[:2]))
    assert len(grid.series) > 2
    (row,) = trained_on(grid).rows
    assert row[:2] == ["mini-bert", "ag-news"]


def test_sweeps_over_k_alone_have_no_such_table() -> None:
    assert not compares_strategies(grid_of(study(spreads=PLAIN, strategies=PLAIN)))
    assert compares_strategies(grid_of(study(spreads=PLAIN, strategies=SOME)))
    assert compares_strategies(grid_of(study(strategies=PLAIN)))


def test_steps_are_those_that_the_rounds_have() -> None:
    """Of a cohort only some take part, so that rounds need not have equally many steps."""
    base, many = run_all(study((8,), spreads=PLAIN, strategies=[{"participation": 0.5}]), skewed)
    records = [
        r | {"steps/sequential": 10 * r["round"] + (r["round"] > 2)}
        for r in map(dict, many.records)
    ]

    grid = in_memory([base, replace(many, records=records)])

    (row,) = by_strategy(grid).rows
    met = next(iter(grid.cell(grid.series[0], 8).reaches.values())).rounds
    assert met is not None
    assert met > 2
    assert row[-3] == 10 * met + 1


def test_steps_of_the_server_are_said_not_to_be_counted_where_there_are_some() -> None:
    distilling = {"strategy": "feddf", "distill_examples": 40, "distill_steps": 3}
    said = by_strategy(grid_of(study((8,), strategies=PLAIN))).note
    assert "distillation" not in said
    with_it = by_strategy(grid_of(study((8,), strategies=[{}, distilling]))).note
    assert with_it.startswith(said)
    assert "the server's own, of distillation, are not counted" in with_it


def test_the_papers_claims_are_of_iid_clients_and_federated_averaging_alone() -> None:
    def shaped(**settings: Any) -> bool:
        trials = study((2, 4, 8), spreads=PLAIN, strategies=[settings])
        grid = in_memory(run_all(trials, lambda *_: 0.6))
        part = part_of("sweep", grid, "Not known.")
        assert bool(part.sections) == has_papers_shape(grid) == bool(part.lines)
        return has_papers_shape(grid)

    assert shaped()
    assert shaped(head_init="per_client")
    assert not shaped(strategy="scaffold")
    assert not shaped(strategy="fedadam")
    assert not shaped(participation=0.5)
    assert not shaped(**DIRICHLET)
