"""Figures client by client: what each of them has, and how the server's model serves each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fedtune.analysis import panels, style
from fedtune.analysis.cell import Cell, Series
from fedtune.analysis.drawing import Drawn, labels
from fedtune.analysis.grid import Grid
from fedtune.analysis.tracked import TrackedTrial
from fedtune.federated.client_accuracy import client_accuracies
from fedtune.tracking.partition_figure import squares


def classes_of_clients(grid: Grid) -> Drawn | None:
    """Figure 7: the training examples of each client by class. None where nobody differs, or that
    is not tracked.
    """
    found = _partitions(grid)
    if not found:
        return None
    figure, places, wide = panels.by_dataset(len(found))
    for place, (name, trial) in zip(places, found.items(), strict=True):
        (axes,) = place.panels
        assert trial.shares is not None
        squares(axes, trial.shares, style.SHARES, trial.class_names)
        panels.title(axes, f"{name}, K = {trial.clients} (≤ {trial.shares.max():,})")
        axes.set_xlabel("client" if place.lowest else "")
    panels.finish(figure, [])
    return Drawn(
        "clients-by-class",
        "What each client has",
        "Training examples of each class (rows) that each client has (columns), in the first seed "
        "and at the largest K. The darker, the more; the most that stands in one square is in "
        "brackets.",
        figure,
        wide,
    )


def _partitions(grid: Grid) -> dict[str, TrackedTrial]:
    """The trial that shows a way in which clients differ, by data set and that way."""
    datasets = {name: index for index, name in enumerate(grid.datasets)}
    order = sorted(grid.trials, key=lambda t: (datasets[t.dataset], t.spread, -t.clients, t.seed))
    found: dict[str, TrackedTrial] = {}
    for trial in order:
        if trial.shares is not None:
            found.setdefault(f"{trial.dataset.removesuffix(_spread(trial))}{_spread(trial)}", trial)
    return found


def _spread(trial: TrackedTrial) -> str:
    return f", {trial.spread}"


def accuracy_by_client(grid: Grid) -> Drawn | None:
    """Figure 8: the accuracy at the budget for each client. None where that is not known: of
    clients that are judged on their own test examples, it is not tracked whose they are.
    """
    found = {
        name: cells
        for name, trial in _partitions(grid).items()
        if (cells := _cells_like(grid, trial))
    }
    if not found:
        return None
    figure, places, wide = panels.by_dataset(len(found))
    names = labels(grid)
    seen: set[str] = set()
    for place, (name, cells) in zip(places, found.items(), strict=True):
        (axes,) = place.panels
        for cell in cells:
            look = style.model_look(names.index(cell.series.label))
            seen.add(cell.series.label)
            ys = np.mean([_accuracies(trial) for trial in _known(cell)], axis=0)
            marker = look["marker"] if len(ys) <= 16 else ""
            line = {"color": look["color"], "linestyle": look["linestyle"], "marker": marker}
            axes.plot(range(1, len(ys) + 1), ys, markersize=3, **line)
        panels.title(axes, f"{name}, K = {cells[0].clients}")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylabel("accuracy" if place.leftmost else "")
        axes.set_xlabel("clients, the worst served first" if place.lowest else "")
    handles = [
        Line2D([], [], label=name, **style.model_look(i))
        for i, name in enumerate(names)
        if name in seen
    ]
    panels.finish(figure, handles)
    return Drawn(
        "accuracy-by-client",
        "Accuracy by client at the budget",
        "How well the server's model serves each client, at the largest K: its test accuracy on "
        "each class, weighted by the client's shares of the classes. Clients stand in the order "
        "of their accuracy; means over seeds of the worst served, the second worst, and so on.",
        figure,
        wide,
    )


def _cells_like(grid: Grid, trial: TrackedTrial) -> list[Cell]:
    """The cells with clients that differ as this trial's do, as far as they can be drawn."""
    cells = [cell for series in _like(grid, trial) for cell in grid.cells(series)]
    return [
        cell
        for cell in cells
        if cell.clients == trial.clients
        and (known := _known(cell))
        and known[0].spread == trial.spread
    ]


def _like(grid: Grid, trial: TrackedTrial) -> list[Series]:
    return [series for series in grid.series if series.dataset == trial.dataset]


def _known(cell: Cell) -> Sequence[TrackedTrial]:
    trials = cell.trials.values()
    known = (t for t in trials if t.shares is not None and t.tested is not None)
    return [trial for trial in known if not trial.own_tests]


def _accuracies(trial: TrackedTrial) -> np.ndarray:
    """The accuracy for each client, the lowest first."""
    assert trial.shares is not None
    assert trial.tested is not None
    right, labels_of_test = trial.tested.correct, trial.tested.labels
    return np.sort(client_accuracies(trial.shares, labels_of_test, right))
