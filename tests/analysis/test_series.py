"""Which series a sweep has, what they are called, and what runs along x."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from grids import study
from strategy_grids import DIRICHLET, PLAIN, SOME, grid_of, rows_of
from synthetic import make_trial

from fedtune.analysis import curves, figures, style, summary
from fedtune.analysis.axis import Axis, Naming, settings_of, varied
from fedtune.tracking import names
from fedtune.trial.identity import Trial


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
