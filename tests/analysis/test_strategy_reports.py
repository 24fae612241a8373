"""Sweeps over strategies, partitions and K: one baseline, their series, tables and figures."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from as_tracked import in_memory, shares_of, with_answers, with_partitions, write
from grids import study
from mlflow import MlflowClient
from support import SHORT, call, new_database, toy_run
from synthetic import make_trial, result_of, run_all
from worlds import skewed

from fedtune.analysis import by_client, curves, figures, report, style, summary, tables
from fedtune.analysis.axis import Axis, Naming, settings_of, varied
from fedtune.analysis.cell import Series
from fedtune.analysis.expected import read_expected
from fedtune.analysis.grid import Grid
from fedtune.analysis.history import load_sweep
from fedtune.analysis.missing import missing
from fedtune.analysis.origin import trained_on
from fedtune.analysis.paper.part import part_of
from fedtune.analysis.paper.shape import has_papers_shape
from fedtune.analysis.strategies import by_strategy, compares_strategies, worst_client
from fedtune.config import TrialConfig
from fedtune.federated.client_accuracy import client_accuracies
from fedtune.plan.plan import Plan
from fedtune.tracking import names
from fedtune.tracking.partition_figure import partition_figure
from fedtune.trial.identity import Trial

PLAIN: tuple[dict[str, Any], ...] = ({},)
DIRICHLET = {"partition": "dirichlet", "partition_alpha": 0.1}
SOME = ({}, {"strategy": "scaffold"}, {"strategy": "fedadam", "server_learning_rate": 0.1})


def grid_of(trials: list[Trial], **options: Any) -> Grid:
    return in_memory(run_all(trials, skewed), **options)


def rows_of(table: Any) -> list[dict[str, Any]]:
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


# One baseline


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


# Series, and what runs along x


@pytest.mark.parametrize(
    ("trials", "axis", "labels"),
    [
        (
            study(strategies=SOME),
            Axis("clients", (1, 8, 32)),
            {
                (f"mini-bert ({strategy})", f"ag-news, {spread}")
                for strategy in ("fedavg", "scaffold", "fedadam")
                for spread in ("iid", "dirichlet 0.1", "dirichlet 1")
            },
        ),
        (
            study(strategies=PLAIN),
            Axis("clients", (1, 8, 32)),
            {
                ("mini-bert (iid)", "ag-news"),
                ("mini-bert (dirichlet 0.1)", "ag-news"),
                ("mini-bert (dirichlet 1)", "ag-news"),
            },
        ),
        (
            study((8,), strategies=SOME),
            Axis("partition_alpha", (0.1, 1.0, math.inf)),
            {(f"mini-bert ({s})", "ag-news") for s in ("fedavg", "scaffold", "fedadam")},
        ),
        (
            study((8,), spreads=[{"participation": p} for p in (0.25, 0.5, 1.0)], strategies=PLAIN),
            Axis("participation", (0.25, 0.5, 1.0)),
            {("mini-bert", "ag-news")},
        ),
        (
            study(
                (8,),
                spreads=PLAIN,
                strategies=[{"strategy": "fedprox", "prox_mu": m} for m in (0.01, 0.1, 1.0)],
            ),
            Axis("prox_mu", (0.01, 0.1, 1.0)),
            {("mini-bert", "ag-news")},
        ),
        (
            [t for r in (0.01, 0.1) for t in study((8,), (0,), PLAIN, SOME, learning_rate=r)],
            Axis("learning_rate", (0.01, 0.1)),
            {(f"mini-bert ({s})", "ag-news") for s in ("fedavg", "scaffold", "fedadam")},
        ),
        (
            study((8,), spreads=[{}, {"partition": "shards"}, DIRICHLET], strategies=PLAIN),
            Axis("clients", (1, 8)),
            {
                ("mini-bert (iid)", "ag-news"),
                ("mini-bert (shards 2)", "ag-news"),
                ("mini-bert (dirichlet 0.1)", "ag-news"),
            },
        ),
    ],
    ids=("both", "partitions", "alpha", "participation", "mu", "rate", "kinds"),
)
def test_what_is_compared_has_readable_names(
    trials: list[Trial], axis: Axis, labels: set[tuple[str, str]]
) -> None:
    grid = grid_of(trials)

    assert grid.axis == axis
    assert {(series.label, series.dataset) for series in grid.series} == labels
    assert len({*grid.xs}) == len(axis.values)
    counted = sum(len(cell.trials) for cell in grid.every_cell())
    assert counted == len(grid.trials), "every trial is in one cell"


@pytest.mark.parametrize(
    ("field", "settled"),
    [
        ("distill_examples", [(40, 15, 0.05), (80, 30, 0.05), (160, 60, 0.05)]),
        ("batch_size", [(8, 15, 0.05), (16, 9, 0.05), (32, 6, 0.05)]),
        ("learning_rate", [(0.05, 15, 0.05), (0.1, 15, 0.1), (0.2, 15, 0.2)]),
        ("local_epochs", [(1, 15, 0.05), (2, 15, 0.05), (4, 15, 0.05)]),
    ],
)
@pytest.mark.parametrize("strategy", ["feddf", "one-shot"])
def test_what_follows_from_a_setting_is_not_compared_in_its_place(
    field: str, settled: list[tuple[float, int, float]], strategy: str
) -> None:
    trials = []
    for value, steps, rate in settled:
        own = {"strategy": strategy, "distill_steps": steps, "distill_learning_rate": rate}
        if strategy == "one-shot":
            own["one_shot_epochs"] = 6 * (int(value) if field == "local_epochs" else 2)
        shared = {"distill_examples": 40} | {field: value}
        trials += study((8,), spreads=PLAIN, strategies=[{}, own], **shared)

    settings = [settings_of(names.params(trial)) for trial in trials]
    naming = Naming.of(settings)

    assert naming.axis == Axis(field, tuple(value for value, *_ in settled))
    told = {naming.variant(each) for each in settings if not each.is_baseline}
    assert told == {"fedavg", strategy}


def test_what_was_asked_for_is_compared_though_it_might_follow() -> None:
    asked = [
        make_trial("mini-bert", "ag-news", 8, strategy="feddf", distill_examples=texts)
        for texts in (40, 80)
    ]
    trials = [
        replace(t, config=t.config.replace(distill_steps=steps)) for t in asked for steps in (3, 6)
    ]
    settings = [settings_of(names.params(trial)) for trial in trials]
    assert varied(settings) == ["distill_examples", "distill_steps"]
    assert Naming.of(settings).axis == Axis("distill_steps", (3, 6))


def test_a_setting_that_belongs_to_a_strategy_is_told_where_it_varies_there() -> None:
    strategies = [{}, *({"strategy": "fedprox", "prox_mu": mu} for mu in (0.1, 1.0))]

    grid = grid_of(study(spreads=PLAIN, strategies=strategies))

    assert [s.label for s in grid.series] == [
        "mini-bert (fedavg)",
        "mini-bert (fedprox, prox_mu=0.1)",
        "mini-bert (fedprox, prox_mu=1.0)",
    ]


def test_along_another_axis_one_client_is_a_line_and_each_value_a_row() -> None:
    grid = grid_of(study((8,), strategies=SOME))

    with style.settings():
        drawn = figures.accuracy_at_budget(grid)
        assert drawn is not None
        style.save_svg(drawn.figure, "drawn")
        assert curves.accuracy_per_round(grid) is not None
    (axes,) = drawn.figure.axes
    (legend,) = drawn.figure.legends
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "1", "iid"]
    assert axes.get_xlabel() == "partition alpha"
    assert "one client" in {text.get_text() for text in legend.get_texts()}
    rows = rows_of(summary.cost(grid))
    scaffold = [row for row in rows if row["model"] == "mini-bert (scaffold)"]
    assert [row["partition_alpha"] for row in scaffold] == ["0.1", "1", "iid"]
    assert {row["K"] for row in rows} == {8}
    told = [float(str(row["points lost"]).split()[0]) for row in scaffold]
    assert told == sorted(told, reverse=True)
    assert "3.0 (ag-news, iid) to 7.0 (ag-news, partition alpha = 0.1) points less" in " ".join(
        summary.sentences(grid)
    )


# Strategy x heterogeneity


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


# What is missing


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


# The paper


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


# Client by client


def test_what_clients_have_and_how_they_are_served_is_drawn(tmp_path: Path) -> None:
    results = run_all(study((4, 8), strategies=SOME[:2]), skewed)
    results = with_partitions(with_answers(results, tmp_path), tmp_path)
    uri = new_database(tmp_path)
    write(uri, results)

    sweep = load_sweep(uri, None)
    report.build(sweep, tmp_path / "report")

    for trial in sweep.trials:
        if trial.spread == "iid":
            assert trial.shares is None
            continue
        (mine,) = [r.trial for r in results if r.trial.trial_id == trial.trial_id]
        assert trial.shares is not None
        assert (trial.shares == shares_of(mine)).all()
        assert trial.shares.sum() == 2048
        assert trial.class_names == [f"class {c}" for c in range(trial.shares.shape[1])]
        artifacts = {file.path for file in MlflowClient(uri).list_artifacts(trial.run_id)}
        assert {"partition.json", "partition.png"} <= artifacts
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Figure 7. What each client has" in page
    assert "Figure 8. Accuracy by client" in page
    assert "There is no Figure" not in page


def test_squares_stand_for_the_examples_of_the_largest_k() -> None:
    grid = grid_of(study((4, 8), strategies=PLAIN), answered=True)

    with style.settings():
        drawn = by_client.classes_of_clients(grid)

    assert drawn is not None
    titles = [axes.get_title() for axes in drawn.figure.axes]
    assert [title.split(" (")[0] for title in titles] == [
        "ag-news, dirichlet 0.1, K = 8",
        "ag-news, dirichlet 1, K = 8",
    ]
    trials = sorted(
        (t for t in grid.trials if t.shares is not None and t.clients == 8), key=lambda t: t.spread
    )
    for axes, trial in zip(drawn.figure.axes, trials, strict=True):
        assert trial.shares is not None
        (squares,) = axes.collections
        colours = squares.get_facecolor()
        assert len(colours) == (trial.shares > 0).sum()
        opacity = np.asarray(colours)[:, 3]
        expected = trial.shares[trial.shares > 0] / trial.shares.max()
        assert opacity == pytest.approx(0.08 + 0.92 * expected)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (["World", "Sports, and whatever else is"], ["World", "Sports, and wha…"]),
        ([f"c{number}" for number in range(13)], None),
    ],
)
def test_the_picture_of_a_partition_names_the_classes_where_there_is_room(
    classes: list[str], told: list[str] | None
) -> None:
    labels = np.eye(len(classes), dtype=int)
    content = {"label_names": classes, "clients": [{"labels": row.tolist()} for row in labels]}
    (axes,) = partition_figure(content, f"{len(classes)} clients").axes
    found = [label.get_text() for label in axes.get_yticklabels()]
    assert found == told if told else axes.get_ylabel() == "class"
    assert len(axes.collections[0].get_facecolor()) == len(classes)


def test_accuracy_by_client_is_that_of_the_classes_it_has() -> None:
    grid = grid_of(study((8,), (0, 1), strategies=SOME[:2]), answered=True)

    with style.settings():
        drawn = by_client.accuracy_by_client(grid)

    assert drawn is not None
    for axes, spread in zip(drawn.figure.axes, ("dirichlet 0.1", "dirichlet 1"), strict=True):
        assert [len(line.get_ydata()) for line in axes.lines] == [8, 8]
        trials = [
            t for t in grid.trials if t.spread == spread and t.params["strategy"] == "scaffold"
        ]
        each = []
        for trial in trials:
            assert trial.tested is not None
            assert trial.shares is not None
            by_class = [
                trial.tested.correct[trial.tested.labels == c].mean()
                for c in range(trial.shares.shape[1])
            ]
            each.append(sorted(row @ by_class / row.sum() for row in trial.shares))
            told = client_accuracies(trial.shares, trial.tested.labels, trial.tested.correct)
            assert sorted(told) == pytest.approx(each[-1])
        assert axes.lines[1].get_ydata() == pytest.approx(np.mean(each, axis=0))


@pytest.mark.parametrize(("held_out", "drawn"), [((3, 5), False), ((3, 0), True)])
def test_clients_with_test_examples_of_their_own_are_not_drawn_by_class(
    tmp_path: Path, held_out: tuple[int, int], drawn: bool
) -> None:
    """As they are judged: by class only where one of them has no test examples."""
    natural = {"partition": "natural", "client_column": "author"}
    trials = study((2,), spreads=[natural, DIRICHLET], strategies=PLAIN)
    results = with_answers(run_all(trials, skewed), tmp_path)
    for result in results:
        if not result.trial.is_baseline:
            shares = ([100, 200, 100, 112], [412, 312, 412, 400])
            clients: list[dict[str, Any]] = [{"labels": row} for row in shares]
            if result.trial.config.partition == "natural":
                for client, number in zip(clients, held_out, strict=True):
                    client["num_test_examples"] = number
            content = {"label_names": list("abcd"), "clients": clients}
            path = tmp_path / result.trial.trial_id / "partition.json"
            path.write_text(json.dumps(content))
    uri = new_database(tmp_path)
    placed = [(r, tmp_path / r.trial.trial_id / "partition.json") for r in results]
    write(uri, [replace(r, partition=path) if path.is_file() else r for r, path in placed])
    sweep = load_sweep(uri, None)
    grid = Grid(sweep.trials, sweep.expected)

    with style.settings():
        figure = by_client.accuracy_by_client(grid)

    assert figure is not None
    titles = [axes.get_title().rpartition(", K")[0] for axes in figure.figure.axes]
    assert titles == ["ag-news, dirichlet 0.1", *["ag-news, natural"] * drawn]
    assert by_client.classes_of_clients(grid) is not None


def test_a_partition_is_an_artifact_once_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    results = run_all(study((4,), spreads=[DIRICHLET], strategies=PLAIN), skewed)
    results = with_partitions(results, tmp_path)
    uri = new_database(tmp_path)
    write(uri, results)
    write(uri, results)
    client = MlflowClient(uri)
    (trial,) = [t for t in load_sweep(uri, None).trials if not t.is_baseline]
    kept = [a.path for a in client.list_artifacts(trial.run_id)]
    assert kept == ["partition.json", "partition.png"]
    assert trial.shares is not None

    for content in ("[", "[]", '{"clients": [{"labels": [1, 2]}]}', '{"clients": 3}'):
        wrong = tmp_path / "partition.json"
        wrong.write_text(content)
        client.log_artifact(trial.run_id, str(wrong))
        (read,) = [t for t in load_sweep(uri, None).trials if not t.is_baseline]
        assert read.shares is None


def test_iid_sweeps_have_no_figures_client_by_client() -> None:
    grid = grid_of(study(spreads=PLAIN), answered=True)

    assert by_client.classes_of_clients(grid) is None
    assert by_client.accuracy_by_client(grid) is None


def test_real_trials_with_a_partition_are_reported(bert: str, tmp_path: Path) -> None:
    new_database(tmp_path)
    settings = {"partition": "dirichlet", "strategy": "scaffold", "stop": "budget-then-target"}
    asked = toy_run(bert, "2,4", **SHORT, **settings)
    done = call(*asked, "--no-ray", folder=tmp_path)
    assert done.code == 0, done.everything

    with mock.patch.object(report, "FIGURES", {7: report.FIGURES[7]}):
        told = call("report", folder=tmp_path)

    assert told.code == 0, told.everything
    assert "missing" not in told.out
    assert "(scaffold" not in told.out, "it is the only strategy"
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Figure 7. What each client has" in page
    with (tmp_path / "report" / "tables" / "by-clients.csv").open() as file:
        assert [row["K"] for row in csv.DictReader(file)] == ["1", "2", "4"]
    for path in (tmp_path / "trials").glob("*/partition.json"):
        config = (path.parent / "config.yaml").read_text()
        (trial,) = [
            t
            for t in load_sweep(f"sqlite:///{tmp_path}/mlflow.db", None).trials
            if t.trial_id == path.parent.name
        ]
        told_labels = [each["labels"] for each in json.loads(path.read_text())["clients"]]
        if "partition: dirichlet" in config:
            assert trial.shares is not None
            assert trial.shares.tolist() == told_labels
            worst = min(by_client._accuracies(trial))
            assert worst_client(trial) == pytest.approx(worst)
        else:
            assert trial.shares is None
