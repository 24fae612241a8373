"""Figures against K: accuracy at the budget, rounds to target, drift and agreement of clients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from fedtune.analysis import numbers, style
from fedtune.analysis.grid import Cell, Grid, Series
from fedtune.analysis.quantities import ACCURACY
from fedtune.analysis.samples import Sample
from fedtune.analysis.tracked import TrackedTrial

_ROW_HEIGHT = 1.75
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


@dataclass(frozen=True)
class Drawn:
    """A figure with what a page says about it."""

    name: str
    title: str
    caption: str
    figure: Figure
    wide: bool = False


def labels(grid: Grid) -> list[str]:
    """The models, or models with variants, in the order of their colours."""
    return list(dict.fromkeys(series.label for series in grid.series))


def accuracy_at_budget(grid: Grid) -> Drawn | None:
    """Figure 1: test accuracy after the budget's rounds. None where no trial has got that far."""
    datasets = _datasets_with(grid, lambda cell: cell.accuracies)
    if not datasets:
        return None
    figure, panels = _column(len(datasets))
    for axes, dataset in zip(panels, datasets, strict=True):
        for series, shift, index in _series_of(grid, dataset):
            cells = [cell for cell in grid.cells(series) if cell.accuracies]
            _means(axes, {cell.clients: cell.sample(ACCURACY) for cell in cells}, shift, index)
        _chance(axes, grid, dataset)
        budgets = {t.rule.budget for t in grid.trials if t.dataset == dataset}
        rounds = " or ".join(map(str, sorted(budgets)))
        axes.set_title(f"{dataset}, after {rounds} round{'s' * (rounds != '1')}")
        axes.set_ylabel("test accuracy")
        style.k_axis(axes, grid.clients)
    panels[-1].set_xlabel("clients K")
    _model_legend(figure, grid, chance=True)
    return Drawn(
        "accuracy-at-budget",
        "Accuracy at the budget against K",
        "Test accuracy after the same number of rounds for every K. Dashed: chance. "
        + _marks(grid),
        figure,
    )


def rounds_to_target(grid: Grid) -> Drawn | None:
    """Figure 2: rounds to target; what did not reach it stands open at the cap."""
    datasets = _datasets_with(grid, lambda cell: cell.reaches)
    if not datasets:
        return None
    figure, panels = _column(len(datasets), 2.1)
    for axes, dataset in zip(panels, datasets, strict=True):
        series = _series_of(grid, dataset)
        cells = {s: [cell for cell in grid.cells(s) if cell.reaches] for s, _, _ in series}
        reaches = [r for row in cells.values() for cell in row for r in cell.reaches.values()]
        cap = max(reach.cap for reach in reaches)
        for which, shift, index in series:
            _medians(axes, cells[which], cap, shift, index)
        missed = any(reach.rounds is None for reach in reaches)
        _rounds_axis(axes, cap, rows=len(labels(grid)) if missed else 0)
        axes.set_title(dataset)
        axes.set_ylabel("rounds to target")
        style.k_axis(axes, grid.clients)
    panels[-1].set_xlabel("clients K")
    missed = any(trial.reach and trial.reach.rounds is None for trial in grid.trials)
    _model_legend(figure, grid, censored=missed)
    return Drawn(
        "rounds-to-target",
        "Rounds to target against K",
        "Rounds until the trial's own target, a fraction of its baseline's accuracy. Filled "
        "markers are trials, lines join medians. Open ones in the band above the cap stand for "
        "trials that had not reached it by then. These are never averaged: k/n says that k of n "
        "seeds did reach it, and a line ends where half or more did not.",
        figure,
    )


def clients_apart(grid: Grid) -> Drawn | None:
    """Figure 6: how far clients move, and whether they move the same way."""
    kinds: tuple[tuple[str, str], ...] = (
        ("clients/drift", "drift (L2 norm)"),
        ("clients/agreement", "agreement"),
    )
    have = [
        d
        for d in grid.datasets
        if any(t.dataset == d and t.mean_of("clients/drift") is not None for t in grid.trials)
    ]
    if not have:
        return None
    figure = Figure(figsize=(style.COLUMN, _ROW_HEIGHT * len(have) + 0.5), layout="constrained")
    panels = figure.subplots(len(have), 2, squeeze=False, sharex="col")
    for row, dataset in zip(panels, have, strict=True):
        for axes, (metric, label) in zip(row, kinds, strict=True):
            for series, shift, index in _series_of(grid, dataset):
                found = {c.clients: c.values(_mean_of(metric)) for c in grid.cells(series)}
                _means(axes, {k: Sample(v) for k, v in found.items() if v}, shift, index)
            axes.set_title(f"{dataset}: {label}")
            style.k_axis(axes, grid.clients)
        row[0].set_ylim(bottom=0)
        row[1].axhline(0, color=style.MUTED, linewidth=0.6)
    for axes in panels[-1]:
        axes.set_xlabel("clients K")
    _model_legend(figure, grid)
    return Drawn(
        "drift-and-agreement",
        "Drift and agreement of clients against K",
        "Drift: how far a client's model moves in a round, on average. Agreement: the mean "
        "alignment of two clients' movements, 1 where all move alike, 0 where they have nothing "
        f"in common. Means over the rounds up to the budget, or to an earlier end. {_marks(grid)}",
        figure,
    )


def _mean_of(metric: str) -> Callable[[TrackedTrial], float | None]:
    return lambda trial: trial.mean_of(metric)


def _datasets_with(grid: Grid, what: Callable[[Cell], Mapping[int, object]]) -> list[str]:
    return [
        dataset
        for dataset in grid.datasets
        if any(what(c) for s in grid.series if s.dataset == dataset for c in grid.cells(s))
    ]


def _column(rows: int, height: float = _ROW_HEIGHT) -> tuple[Figure, list[Axes]]:
    """Panels below one another, a column wide, each so many inches high."""
    figure = Figure(figsize=(style.COLUMN, height * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, 1, squeeze=False, sharex=True)
    return figure, [row[0] for row in panels]


def _series_of(grid: Grid, dataset: str) -> list[tuple[Series, float, int]]:
    """The series of a data set, each with a factor on K that keeps its markers visible."""
    names = labels(grid)
    return [
        (series, 2 ** (0.14 * (index - (len(names) - 1) / 2)), index)
        for index, name in enumerate(names)
        for series in grid.series
        if (series.dataset, series.label) == (dataset, name)
    ]


def _means(axes: Axes, samples: Mapping[int, Sample], shift: float, index: int) -> None:
    """A line through the means over seeds, with every seed's point or with 95 % intervals."""
    colour, marker = style.model_colour(index), style.model_marker(index)
    xs = [clients * shift for clients in samples]
    axes.plot(xs, [sample.mean for sample in samples.values()], color=colour, zorder=3)
    for x, sample in zip(xs, samples.values(), strict=True):
        seen = list(sample.values.values())
        bounds = sample.interval()
        if bounds is not None:
            axes.errorbar(
                [x],
                [sample.mean],
                [[sample.mean - bounds[0]], [bounds[1] - sample.mean]],
                color=colour,
                marker=marker,
                markersize=3.5,
                elinewidth=0.9,
                zorder=4,
            )
        else:
            axes.plot(
                [x] * len(seen),
                seen,
                linestyle="none",
                marker=marker,
                markersize=3.2,
                markeredgewidth=0,
                color=colour,
                alpha=0.8 if len(seen) > 1 else 1.0,
                zorder=4,
            )


def _above(cap: int, index: float) -> float:
    """Where the trials of the model with this index stand that missed their target: above the cap,
    in a row of their own.
    """
    return float(cap * 1.3 * 1.38**index)


def _rounds_axis(axes: Axes, cap: int, rows: int) -> None:
    """A log axis of rounds, with a band above the cap of so many rows (0: none)."""
    ticks: list[float] = [tick for tick in _TICKS if tick <= cap / (1.3 if rows else 1)]
    names = [str(tick) for tick in ticks]
    highest = cap * 1.2
    if rows:
        highest = _above(cap, rows - 0.3)
        ticks, names = [*ticks, _above(cap, (rows - 1) / 2)], [*names, f"> {cap}"]
        axes.axhspan(cap * 1.12, highest, color=style.RULE, alpha=0.45, linewidth=0, zorder=0)
    axes.set_yscale("log")
    axes.set_ylim(0.85, highest)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels(names)
    for tick, line in zip(ticks, axes.get_ygridlines(), strict=False):
        line.set_visible(tick <= cap)


def _medians(axes: Axes, cells: list[Cell], cap: int, shift: float, index: int) -> None:
    """Each seed's rounds to target, open above the cap where it was not met; a line of medians."""
    colour, marker = style.model_colour(index), style.model_marker(index)
    line: list[tuple[float, float]] = []
    for cell in cells:
        x, middle = cell.clients * shift, cell.median_rounds()
        line.append((x, middle if middle is not None and middle < math.inf else math.nan))
        reached = [r.rounds for r in cell.reaches.values() if r.rounds is not None]
        missed = len(reached) < len(cell.reaches)
        for ys, size, fill in (
            (reached, 3.4, colour),
            ([_above(cap, index)] if missed else [], 4.2, "none"),
        ):
            axes.plot(
                [x] * len(ys),
                ys,
                linestyle="none",
                marker=marker,
                markersize=size,
                markerfacecolor=fill,
                markeredgecolor=colour,
                markeredgewidth=0.9 if fill == "none" else 0,
                zorder=4,
            )
        if missed and reached:
            axes.annotate(
                f"{len(reached)}/{len(cell.reaches)}",
                (x, _above(cap, index)),
                xytext=(-4, -0.3),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=6,
                color=colour,
            )
    axes.plot([x for x, _ in line], [y for _, y in line], color=colour, zorder=3)


def _chance(axes: Axes, grid: Grid, dataset: str) -> None:
    levels = {t.chance for t in grid.trials if t.dataset == dataset and t.chance > 0}
    for level in levels:
        axes.axhline(level, color=style.MUTED, linestyle=(0, (4, 3)), linewidth=0.8, zorder=1)


def _model_legend(
    figure: Figure, grid: Grid, *, chance: bool = False, censored: bool = False
) -> None:
    names = labels(grid)
    handles = [
        Line2D([], [], color=style.model_colour(i), marker=style.model_marker(i), label=name)
        for i, name in enumerate(names)
    ]
    if chance:
        dashed = {"color": style.MUTED, "linestyle": (0, (4, 3)), "linewidth": 0.8}
        handles.append(Line2D([], [], label="chance", **dashed))  # type: ignore[arg-type]
    if censored:
        handles.append(
            Line2D(
                [],
                [],
                color=style.MUTED,
                linestyle="none",
                marker="o",
                markerfacecolor="none",
                label="not within the cap",
            )
        )
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = 2 if longest > 14 else min(len(handles), 4)
    figure.legend(handles=handles, loc="outside upper left", ncols=1 if longest > 28 else columns)


def _marks(grid: Grid) -> str:
    """What the markers mean, which depends on the number of seeds."""
    if grid.most_seeds >= numbers.SEEDS_FOR_INTERVAL:
        return "Means over seeds with 95 % intervals; points where there are fewer seeds."
    if grid.most_seeds > 1:
        return f"Every point is one of {grid.most_seeds} seeds; lines join means."
    return "One seed, so one point per trial and no interval."
