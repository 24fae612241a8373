"""Figures against K, or what else runs along x: accuracy at the budget, rounds to target, drift and
agreement of clients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from fedtune.analysis import numbers, panels, style
from fedtune.analysis.cell import Cell
from fedtune.analysis.drawing import (
    DASHED,
    DOTTED,
    Drawn,
    baselines,
    marker,
    marks,
    means,
    model_handles,
    series_of,
)
from fedtune.analysis.grid import Grid
from fedtune.analysis.levels import LEVEL, level, stopped_early
from fedtune.analysis.samples import Sample
from fedtune.analysis.tracked import TrackedTrial

_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
#: Chance is within the axis where it is at most this part of the axis below what is shown.
_NEAR = 0.5


def accuracy_at_budget(grid: Grid) -> Drawn | None:
    """Figure 1: test accuracy after the budget's rounds. None where no trial has got that far."""
    datasets = _datasets_with(grid, lambda cell: cell.sample(LEVEL).values)
    if not datasets:
        return None
    figure, places, wide = panels.by_dataset(len(datasets))
    chance = alone = False
    for place, dataset in zip(places, datasets, strict=True):
        (axes,) = place.panels
        for series, shift, look in series_of(grid, dataset):
            cells = [cell for cell in grid.cells(series) if cell.sample(LEVEL).values]
            samples = {cell.place: cell.sample(LEVEL) for cell in cells}
            early = {
                (cell.place, seed)
                for cell in cells
                for seed, trial in cell.trials.items()
                if stopped_early(trial)
            }
            means(axes, samples, shift, look, early)
        alone |= baselines(axes, grid, dataset)
        panels.x_axis(axes, grid.places, grid.texts)
        found = [cell for series, _, _ in series_of(grid, dataset) for cell in grid.cells(series)]
        trials = [t for cell in found for t in cell.trials.values() if level(t) is not None]
        chance |= _accuracy_axis(axes, trials)
        rounds = " or ".join(map(str, sorted({trial.rule.budget for trial in trials})))
        panels.title(axes, f"{dataset}, after {rounds} round{'s' * (rounds != '1')}")
        place.label_outside(["test accuracy"], grid.axis.label)
    handles = model_handles(grid) + [Line2D([], [], label="one client", **DOTTED)] * alone
    if chance:
        handles.append(Line2D([], [], label="chance", **DASHED))
    panels.finish(figure, handles)
    some_early = any(map(stopped_early, grid.trials))
    return Drawn(
        "accuracy-at-budget",
        f"Accuracy at the budget against {grid.axis.title}",
        "Test accuracy after the budget's rounds; the axis need not begin at chance. "
        + ("Open markers, dotted lines: last accuracy of trials that ended before. " * some_early)
        + marks(grid),
        figure,
        wide,
    )


def _accuracy_axis(axes: Axes, trials: Sequence[TrackedTrial]) -> bool:
    """An axis on which what is drawn differs; chance is a dashed line where it is near.

    Elsewhere a note at the lower edge says where it is. No axis is shorter than what 95 % of test
    sets leave open. Gives whether there is a line.
    """
    low, high = axes.dataLim.intervaly
    middle = (low + high) / 2
    num_test = min(trial.num_test for trial in trials)
    noise = numbers.NORMAL_95 * numbers.binomial_se(middle, num_test)
    half = max((high - low) / 2, noise, 1 / num_test)  # all right or all wrong has no noise
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    chances = sorted({trial.chance for trial in trials if trial.chance > 0})
    near = [chance for chance in chances if low - chance <= _NEAR * (high - low)]
    for chance in near:
        axes.axhline(chance, zorder=1, **DASHED)
    low, high = min([low, *near]), max([high, *near])
    pad = 0.08 * (high - low)
    noted = bool(chances) and not near
    axes.set_ylim(low - (2.5 if noted else 1) * pad, high + pad)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if noted:  # in the strip below what is drawn
        told = " or ".join(f"{chance:.3g}" for chance in chances)
        offset: Any = {"xytext": (3, 1.5), "textcoords": "offset points"}
        look: Any = {"fontsize": 6.5, "color": style.MUTED}
        axes.annotate(f"↓ chance {told}", (0, 0), xycoords="axes fraction", **offset, **look)
    return bool(near)


def rounds_to_target(grid: Grid) -> Drawn | None:
    """Figure 2: rounds to target; what did not reach it stands open at the cap."""
    datasets = _datasets_with(grid, lambda cell: cell.reaches)
    if not datasets:
        return None
    figure, places, wide = panels.by_dataset(len(datasets))
    missed = False
    for place, dataset in zip(places, datasets, strict=True):
        (axes,) = place.panels
        series = series_of(grid, dataset)
        cells = {s: [cell for cell in grid.cells(s) if cell.reaches] for s, _, _ in series}
        reaches = [r for row in cells.values() for cell in row for r in cell.reaches.values()]
        open_here = any(reach.rounds is None for reach in reaches)
        band = _Band(max(reach.cap for reach in reaches), len(series) if open_here else 0)
        for index, (which, shift, look) in enumerate(series):
            _medians(axes, cells[which], band, index, shift, look)
        _rounds_axis(axes, band)
        panels.title(axes, dataset)
        panels.x_axis(axes, grid.places, grid.texts)
        place.label_outside(["rounds to target"], grid.axis.label)
        missed |= open_here
    handles = model_handles(grid)
    if missed:
        hollow = {"marker": "o", "markerfacecolor": "none", "linestyle": "none"}
        handles.append(Line2D([], [], color=style.MUTED, label="not within the cap", **hollow))  # type: ignore[arg-type]
    panels.finish(figure, handles)
    return Drawn(
        "rounds-to-target",
        f"Rounds to target against {grid.axis.title}",
        "Rounds until the trial's own target, a fraction of its baseline's accuracy. Filled "
        "markers are trials, lines join medians. "
        + (
            "Open ones in the band above the cap stand for trials that had not reached it by "
            "then. These are never averaged: k/n says that k of n seeds did reach it, and a line "
            "ends where half or more did not."
        )
        * missed,
        figure,
        wide,
    )


def clients_apart(grid: Grid) -> Drawn | None:
    """Figure 6: how far clients move, and whether they move the same way."""
    kinds = ("clients/drift", "clients/agreement")
    have = _datasets_with(grid, lambda cell: cell.values(_mean_of("clients/drift")))
    if not have:
        return None
    figure, places, wide = panels.by_dataset(len(have), len(kinds))
    for place, dataset in zip(places, have, strict=True):
        for axes, metric in zip(place.panels, kinds, strict=True):
            for series, shift, look in series_of(grid, dataset):
                found = {c.place: c.values(_mean_of(metric)) for c in grid.cells(series)}
                means(axes, {k: Sample(v) for k, v in found.items() if v}, shift, look)
            panels.title(axes, dataset)
            panels.x_axis(axes, grid.places, grid.texts)
        place.panels[0].set_ylim(0, 1.08 * place.panels[0].dataLim.ymax or 1.0)
        place.panels[1].axhline(0, color=style.MUTED, linewidth=0.6)
        place.label_outside(["drift (L2 norm)", "agreement"], grid.axis.label)
    panels.finish(figure, model_handles(grid))
    return Drawn(
        "drift-and-agreement",
        f"Drift and agreement of clients against {grid.axis.title}",
        "Drift: how far a client's model moves in a round, on average. Agreement: the mean "
        "alignment of two clients' movements, 1 where all move alike, 0 where they have nothing "
        f"in common. Means over the rounds up to the budget, or to an earlier end. {marks(grid)}",
        figure,
        wide,
    )


def _mean_of(metric: str) -> Callable[[TrackedTrial], float | None]:
    return lambda trial: trial.mean_of(metric)


def _datasets_with(grid: Grid, what: Callable[[Cell], Mapping[int, object]]) -> list[str]:
    return [
        dataset
        for dataset in grid.datasets
        if any(what(c) for s in grid.series if s.dataset == dataset for c in grid.cells(s))
    ]


@dataclass(frozen=True)
class _Band:
    """The band above the cap for the trials that missed their target: a row for each model."""

    cap: int
    rows: int

    def row(self, index: float) -> float:
        """Where the trials of the model with this index stand."""
        return float(self.cap * 1.3 * min(1.38, 3.0 ** (1 / max(self.rows - 1, 1))) ** index)


def _rounds_axis(axes: Axes, band: _Band) -> None:
    """A log axis of rounds, and above the cap the band of what missed it."""
    cap, rows = band.cap, band.rows
    ticks: list[float] = [tick for tick in _TICKS if tick <= cap / (1.3 if rows else 1)]
    names = [str(tick) for tick in ticks]
    highest = cap * 1.2
    if rows:
        highest = 1.15 * band.row(rows - 0.5)
        ticks, names = [*ticks, band.row((rows - 1) / 2)], [*names, f"> {cap}"]
        axes.axhspan(cap * 1.12, highest, color=style.RULE, alpha=0.45, linewidth=0, zorder=0)
    axes.set_yscale("log")
    axes.set_ylim(0.85, highest)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels(names)
    for tick, line in zip(ticks, axes.get_ygridlines(), strict=False):
        line.set_visible(tick <= cap)


def _medians(
    axes: Axes, cells: list[Cell], band: _Band, index: int, shift: float, look: Mapping[str, Any]
) -> None:
    """Each seed's rounds to target, open above the cap where it was not met; a line of medians."""
    colour = look["color"]
    line: list[tuple[float, float]] = []
    for cell in cells:
        x, middle = cell.place * shift, cell.median_rounds()
        line.append((x, middle if middle is not None and middle < math.inf else math.nan))
        reached = [r.rounds for r in cell.reaches.values() if r.rounds is not None]
        missed = len(reached) < len(cell.reaches)
        for ys, hollow in ((reached, False), ([band.row(index)] if missed else [], True)):
            style_of = marker(look, 3.3, hollow)
            axes.plot([x] * len(ys), ys, linestyle="none", zorder=4, **style_of)
        if missed and reached:
            axes.annotate(
                f"{len(reached)}/{len(cell.reaches)}",
                (x, band.row(index)),
                xytext=(-4, -0.3),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=6,
                color=colour,
            )
    xs, ys = [x for x, _ in line], [y for _, y in line]
    axes.plot(xs, ys, color=colour, linestyle=look["linestyle"], zorder=3)
