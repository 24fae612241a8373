"""Figures, tables and sentences of grids of every kind, whole or not."""

from __future__ import annotations

import pytest
from synthetic import (
    in_memory,
    make_trial,
    paper_like,
    result_of,
    run_all,
    whole_grid,
)

from fedtune.analysis import figures, regime, style, summary, tables
from fedtune.analysis.grid import Grid
from fedtune.analysis.report import FIGURES


def drawn(grid: Grid) -> dict[str, figures.Drawn]:
    with style.settings():
        found = [made for make in FIGURES if (made := make(grid)) is not None]
        for figure in found:
            style.save_svg(figure.figure, figure.name)
    return {figure.name: figure for figure in found}


def test_one_seed_has_points_and_five_have_intervals() -> None:
    for count, words in ((1, "One seed"), (3, "one of 3 seeds"), (5, "95 % intervals")):
        trials = whole_grid(("mini-bert",), ("imdb",), (1, 4), range(count))
        figure = drawn(in_memory(run_all(trials, paper_like)))["accuracy-at-budget"]
        (axes,) = figure.figure.axes
        assert words in figure.caption
        assert len(axes.containers) == (2 if count == 5 else 0)  # an error bar for each K


def test_trials_that_missed_their_target_stand_above_the_cap_and_open() -> None:
    trials = whole_grid(("mini-distilbert",), ("imdb",), (1, 2, 32))

    (axes,) = drawn(in_memory(run_all(trials, paper_like)))["rounds-to-target"].figure.axes

    opened = [
        line
        for line in axes.lines
        if line.get_markerfacecolor() == "none" and len(line.get_xdata())
    ]
    assert len(opened) == 1
    assert opened[0].get_ydata()[0] > 20
    assert "> 20" in [label.get_text() for label in axes.get_yticklabels()]


def test_an_empty_a_waiting_and_a_lonely_grid_are_drawn_as_far_as_they_go() -> None:
    alone = in_memory(run_all(whole_grid(("mini-bert",), ("imdb",), (1,)), paper_like))
    begun = in_memory([result_of(make_trial("mini-bert", "imdb", 8), paper_like, None, last=0)])

    assert drawn(Grid(())) == {}
    assert "accuracy-per-byte" not in drawn(alone)
    assert drawn(begun)
    for grid in (Grid(()), alone, begun):
        assert summary.sentences(grid) == []
        for table in (summary.cost, tables.per_cell, tables.ranks, tables.to_target):
            table(grid).as_markdown()
        regime.regime(grid).as_csv()


def test_what_stopped_at_its_target_has_no_accuracy_at_the_budget() -> None:
    trials = whole_grid(("mini-bert",), ("imdb",), (1, 2), stop="target")

    grid = in_memory(run_all(trials, paper_like))

    (row,) = summary.cost(grid).shown()
    assert row[4:8] == ["", "", "3", "7"]
    assert any("stopped at the target before the budget" in line for line in summary.caveats(grid))


def test_the_papers_regime_is_what_its_sizes_give() -> None:
    rows = {tuple(row[:3]): row[3:5] for row in regime.regime(Grid(())).rows}

    assert rows["the paper", "IMDB", 32] == [50, pytest.approx(0.1)]
    assert rows["the paper", "Yelp", 32] == [1270, pytest.approx(1.27)]
    assert rows["the paper", "AG News", 1] == [7500, pytest.approx(15.0)]
