"""Figures of whole runs: accuracy against rounds, sequential steps and bytes communicated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from fedtune.analysis import numbers, panels, style, words
from fedtune.analysis.cell import Cell, Series
from fedtune.analysis.drawing import DASHED, Drawn, labels
from fedtune.analysis.grid import Grid
from fedtune.analysis.tracked import TrackedTrial
from fedtune.units import size


@dataclass(frozen=True)
class _Along:
    """What runs along x: the points (x, accuracy) of a trial by the rounds that had gone by, which
    may be parts of one.
    """

    of: Callable[[TrackedTrial], Mapping[float, tuple[float, float]]]
    label: str
    log: bool = False
    bytes: bool = False


def accuracy_per_round(grid: Grid) -> Drawn | None:
    """Figure 3: test accuracy per round, a panel for each model and data set."""
    return _small_multiples(
        grid,
        _Along(_by_round, "round"),
        "accuracy-per-round",
        "Accuracy per round",
        "Test accuracy after every round. Dotted: the target. Dashed: chance. ",
    )


def accuracy_per_step(grid: Grid) -> Drawn | None:
    """Figure 4: the same against sequential steps (H1: do the curves fall onto one another?)."""
    return _small_multiples(
        grid,
        _Along(lambda trial: trial.curve_by_step, "sequential steps", log=True),
        "accuracy-per-step",
        "Accuracy against sequential steps",
        "The same runs against the steps of the largest client, one after another. If K cost "
        "nothing but steps per round, the curves of all K would lie on one another. ",
    )


def accuracy_per_byte(grid: Grid) -> Drawn | None:
    """Figure 5: the same against bytes communicated, for K > 1."""
    trials = tuple(trial for trial in grid.trials if not trial.is_baseline)
    federated = Grid(trials, originals=grid.originals)
    return _small_multiples(
        grid,
        _Along(_by_bytes, "bytes communicated", log=True, bytes=True),
        "accuracy-per-byte",
        "Accuracy against bytes communicated",
        "The same runs against all that clients and server have sent, up and down. K = 1 sends "
        "nothing and is left out; its target is the dotted line. ",
        drawn=federated,
    )


def _by_round(trial: TrackedTrial) -> dict[float, tuple[float, float]]:
    return {number: (number, accuracy) for number, accuracy in trial.curve.items()}


def _by_bytes(trial: TrackedTrial) -> dict[float, tuple[float, float]]:
    """Without what had sent nothing yet, and 0 has no logarithm."""
    sent = {number: trial.at(number, "comm/bytes") for number in trial.curve}
    return {number: (x, trial.curve[number]) for number, x in sent.items() if x}


def _small_multiples(
    grid: Grid, axis: _Along, name: str, title: str, caption: str, drawn: Grid | None = None
) -> Drawn | None:
    """Models side by side, data sets below one another, a colour for each K, or other x."""
    drawn = drawn or grid
    if not any(trial.curve for trial in drawn.trials):
        return None
    models = [label for label in labels(grid) if any(s.label == label for s in drawn.series)]
    datasets = [name for name in grid.datasets if any(s.dataset == name for s in drawn.series)]
    rows = math.ceil(len(models) / panels.ACROSS)
    across = math.ceil(len(models) / rows)
    wide, stacked = across > 1, _on_two_lines(models, datasets, across)
    figure = panels.figure(rows * len(datasets), across, wide=wide)
    found = figure.subplots(
        rows * len(datasets), across, squeeze=False, sharex=_shared(drawn, axis), sharey="row"
    )
    colours = style.x_colours(grid.xs)
    for at, dataset in enumerate(datasets):
        row = found[at * rows : (at + 1) * rows]
        places = list(itertools.chain(*row))
        for axes, label in zip(places, models, strict=False):
            series = [s for s in drawn.series if (s.label, s.dataset) == (label, dataset)]
            _panel(axes, grid, drawn, series, axis, colours)
            panels.title(axes, *([label, dataset] if stacked else [f"{label}, {dataset}"]))
        for axes in places[len(models) :]:
            axes.remove()
    for axes in figure.axes:  # after all that share an axis are drawn
        _x_axis(axes, axis)
    for row in found:
        row[0].set_ylabel("test accuracy")
    for column in found.T:
        lowest = next(axes for axes in reversed(column) if axes in figure.axes)
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel(axis.label)
    cells = [cell for series in drawn.series for cell in drawn.cells(series)]
    shown = [x for x in grid.xs if x in {cell.x for cell in cells}]
    handles = [Line2D([], [], color=colours[x], label=grid.axis.told(x)) for x in shown]
    if not grid.axis.is_clients and any(trial.is_baseline for trial in drawn.trials):
        handles.append(Line2D([], [], color=style.MUTED, label="one client"))
    panels.finish(figure, handles)
    return Drawn(name, title, caption + _bands(grid), figure, wide)


def _shared(drawn: Grid, axis: _Along) -> Literal["all", "row"]:
    """Panels share x, except that data sets with other numbers of rounds have an axis each."""
    lasts = {trial.rule.last for trial in drawn.trials if not trial.is_baseline}
    return "all" if axis.log or len(lasts) < 2 else "row"


def _on_two_lines(models: list[str], datasets: list[str], across: int) -> bool:
    """Are model and data set together wider than a panel, for some panel?"""
    room = {1: 44, 2: 44, 3: 29}.get(across, 22)
    return max(map(words.width, models)) + 2 + max(map(words.width, datasets)) > room


def _panel(
    axes: Axes,
    grid: Grid,
    drawn: Grid,
    found: list[Series],
    axis: _Along,
    colours: Mapping[float, str],
) -> None:
    """The curves of a model on a data set."""
    for series in found:
        _levels(axes, grid, series)
        for cell in drawn.cells(series):
            _curve(axes, cell, axis, colours[cell.x])
        if not grid.axis.is_clients:
            alone = {cell.x: cell for x in grid.xs if (cell := drawn.alone(series, x)).trials}
            for cell in alone.values() if grid.axis.of_baselines else [*alone.values()][:1]:
                _curve(axes, cell, axis, style.MUTED)
    if not found:
        axes.text(0.5, 0.5, "not begun", transform=axes.transAxes, ha="center")


def _curve(axes: Axes, cell: Cell, axis: _Along, colour: str) -> None:
    """The mean over seeds as far as all of them go; beneath it every seed, or an interval."""
    found = [points for trial in cell.trials.values() if (points := axis.of(trial))]
    if not found:
        return
    shared = sorted(set.intersection(*map(set, found)))
    xs = [found[0][place][0] for place in shared]
    seen = [[points[place][1] for points in found] for place in shared]
    means = [numbers.mean(values) for values in seen]
    marker = "." if len(xs) == 1 else ""
    axes.plot(xs, means, color=colour, linewidth=1.1, marker=marker, zorder=3)
    if len(found) >= numbers.SEEDS_FOR_INTERVAL:
        bounds = [numbers.interval(values) for values in seen]
        low, high = [b[0] for b in bounds], [b[1] for b in bounds]
        axes.fill_between(xs, low, high, color=colour, alpha=0.2, linewidth=0)
    # Seeds by themselves: from the start where they are few, else only beyond the shared rounds.
    first = shared[-1] if shared and len(found) >= numbers.SEEDS_FOR_INTERVAL else 0
    for points in found if len(found) > 1 else ():
        own = [points[place] for place in sorted(points) if place >= first]
        line = [x for x, _ in own], [y for _, y in own]
        axes.plot(*line, color=colour, linewidth=0.5, alpha=0.45, zorder=2)


def _levels(axes: Axes, grid: Grid, series: Series) -> None:
    trials = [t for cell in grid.cells(series) for t in cell.trials.values() if t.curve]
    if not trials:
        return
    if trials[0].chance > 0:
        axes.axhline(trials[0].chance, **DASHED)
    targets = [trial.target for trial in trials if trial.reach is not None]
    if targets:
        axes.axhline(numbers.mean(targets), color=style.INK, linestyle=(0, (1, 2)), linewidth=0.8)


def _x_axis(axes: Axes, axis: _Along) -> None:
    """Ticks for what has been drawn: plain numbers, more of them where the span is short."""
    if not axis.log:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlim(left=0)
        return
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 40 * low else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    show = size if axis.bytes else lambda value: f"{value:,.0f}"
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))


def _bands(grid: Grid) -> str:
    if grid.most_seeds >= numbers.SEEDS_FOR_INTERVAL:
        return "Means with 95 % intervals over seeds as far as all go; thin beyond that: each."
    if grid.most_seeds > 1:
        return "Thin: every seed. Thick: their mean, as far as all seeds go."
    return "One seed."
