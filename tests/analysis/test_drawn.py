"""Figures, tables and sentences of grids of every kind, whole or not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import pytest
from as_tracked import in_memory
from grids import whole_grid
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.transforms import Bbox
from synthetic import make_trial, result_of, run_all
from worlds import paper_like

from fedtune.analysis import style, summary, tables
from fedtune.analysis.drawing import Drawn
from fedtune.analysis.grid import Grid
from fedtune.analysis.naming import names_of
from fedtune.analysis.paper.regime import regime
from fedtune.analysis.report import FIGURES
from fedtune.trial.identity import Trial


def drawn(grid: Grid, numbers: Iterable[int] = FIGURES) -> dict[str, Drawn]:
    """The figures with these numbers, saved once, under the names that figures have."""
    names = names_of(grid)
    named = grid.renamed(*names.drawn)
    with style.settings(names.families):
        found = [made for number in numbers if (made := FIGURES[number](named)) is not None]
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
        regime(grid).as_csv()


# Figure 1


def budget_figure(top: float, low: float, **settings: object) -> tuple[Drawn, Axes]:
    """Figure 1 of a model that ends at ``top`` with one client and at ``low`` with eight."""

    def curve(trial: Trial, step: int) -> float:
        end = top if trial.config.clients == 1 else low
        return 0.25 + (end - 0.25) * min(1.0, step / 5)

    trials = whole_grid(("m",), ("reviews.csv",), (1, 8), **settings)
    (figure,) = drawn(in_memory(run_all(trials, curve)), [1]).values()
    (axes,) = figure.figure.axes
    return figure, axes


def test_the_axis_of_accuracy_shows_differences_and_says_where_chance_is() -> None:
    figure, axes = budget_figure(0.90, 0.85)

    low, high = axes.get_ylim()
    assert 0.80 < low < 0.85 < 0.90 < high < 0.95
    assert "↓ chance 0.25" in {text.get_text() for text in axes.texts}
    assert "chance" not in legend_of(figure)


def test_chance_is_a_line_where_it_is_near() -> None:
    figure, axes = budget_figure(0.50, 0.30)

    assert axes.get_ylim()[0] < 0.25
    assert [line.get_ydata()[0] for line in axes.lines if line.get_color() == style.MUTED] == [0.25]
    assert "chance" in legend_of(figure)
    assert not axes.texts


def test_the_axis_is_no_shorter_than_what_the_test_set_leaves_open() -> None:
    _, axes = budget_figure(0.900, 0.899)

    low, high = axes.get_ylim()
    assert high - low > 2 * 1.96 * math.sqrt(0.9 * 0.1 / 2000)


def test_a_model_that_is_always_right_has_an_axis_too() -> None:
    _, axes = budget_figure(1.0, 1.0)

    low, high = axes.get_ylim()
    assert 0.99 < low < 1.0 < high < 1.001


def test_what_ended_before_the_budget_is_drawn_open() -> None:
    figure, axes = budget_figure(0.90, 0.85, stop="target")

    points = {
        line.get_markerfacecolor() == "none": line.get_xdata()[0]
        for line in axes.lines
        if line.get_marker() == "o" and len(line.get_xdata())
    }
    assert points == {True: 8, False: 1}
    assert "Open markers" in figure.caption


def legend_of(figure: Drawn) -> list[str]:
    (legend,) = figure.figure.legends
    return [text.get_text() for text in legend.get_texts()]


# Layout


@pytest.mark.parametrize(
    ("models", "datasets", "clients"),
    [(1, 1, 1), (1, 3, 2), (3, 1, 2), (5, 2, 2), (8, 3, 6), (3, 6, 6), (1, 1, 32)],
    ids=lambda count: str(count),
)
def test_nothing_is_cut_or_overlaps_however_much_there_is(
    models: int, datasets: int, clients: int
) -> None:
    trials = whole_grid(
        [f"a-model-with-quite-a-long-name-{i}" for i in range(models)],
        [f"data-set-number-{i}" for i in range(datasets)],
        range(1, 33) if clients == 32 else [2**i for i in range(clients)],
        budget_rounds=2,
        max_rounds=2,
    )
    grid = in_memory(run_all(trials, lambda trial, step: 0.3 + 0.2 * step))

    figures = drawn(grid, [1, 2, 3, 6])

    assert len(figures) == 4
    for figure in figures.values():
        whole = figure.figure.bbox.padded(1)
        width = figure.figure.get_size_inches()[0]
        assert width == (style.PAGE if figure.wide else style.COLUMN)
        (legend,) = figure.figure.legends
        assert whole.width >= legend.get_window_extent().width
        for axes in figure.figure.axes:
            title = axes.title.get_window_extent()
            assert title.width <= axes.get_window_extent().width + 1
            numbers = tick_boxes(axes.xaxis, axes.get_xlim())
            assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(numbers)), figure.name
            heights = tick_boxes(axes.yaxis, axes.get_ylim())
            assert all(a.y1 <= b.y0 for a, b in itertools.pairwise(heights)), figure.name
            others = [title, *(text.get_window_extent() for text in axes.texts)]
            others += [axis.label.get_window_extent() for axis in (axes.xaxis, axes.yaxis)]
            for box in (*numbers, *heights, *others):
                assert not box.width or contains(whole, box), figure.name


def tick_boxes(axis: Axis, limits: tuple[float, float]) -> list[Bbox]:
    """Where the numbers of an axis stand."""
    found = [
        tick.label1.get_window_extent()
        for tick in axis.get_major_ticks()
        if min(limits) <= tick.get_loc() <= max(limits) and tick.label1.get_visible()
    ]
    return [box for box in found if box.width]


def contains(whole: Bbox, box: Bbox) -> bool:
    return bool(
        whole.x0 <= box.x0 and whole.y0 <= box.y0 and box.x1 <= whole.x1 and box.y1 <= whole.y1
    )


def test_eight_models_look_different() -> None:
    looks = {str(style.model_look(index)) for index in range(40)}

    assert len(looks) == 40


def test_data_sets_with_other_budgets_have_axes_of_rounds_of_their_own() -> None:
    trials = [
        *whole_grid(("m",), ("imdb",), (1, 2)),
        *whole_grid(("m",), ("yelp",), (1, 2), budget_rounds=4, max_rounds=4),
    ]

    one, other = drawn(in_memory(run_all(trials, paper_like)), [3])[
        "accuracy-per-round"
    ].figure.axes

    assert one.get_xlim()[1] > 2 * other.get_xlim()[1]


def test_the_papers_regime_is_what_its_sizes_give() -> None:
    rows = {tuple(row[:3]): (*row[3:5], *row[6:]) for row in regime(Grid(())).rows}

    # 200 rounds of 2 x 196 steps with 4 clients miss it, 200 of 2 x 391 with 2 meet it.
    needs = "78,401 to 156,400"
    one, many = (rows["the paper: DistilBERT", "IMDB", clients] for clients in (1, 32))
    assert one == (1564, pytest.approx(3.128), needs, "1 to 2")
    assert many == (50, pytest.approx(0.1), needs, "0.032 to 0.064")
    assert rows["the paper: DistilBERT", "Yelp", 32][:2] == (1270, pytest.approx(1.27))
