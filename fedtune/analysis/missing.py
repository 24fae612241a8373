"""What MLflow lacks of the trials that a sweep spans."""

from __future__ import annotations

import itertools
from collections import Counter

from fedtune.analysis.axis import NOWHERE
from fedtune.analysis.cell import Series, series_of
from fedtune.analysis.expected import Place
from fedtune.analysis.grid import Grid
from fedtune.analysis.tracked import TrackedTrial


def missing(grid: Grid) -> list[str]:
    """A line for every trial that the grid spans and that MLflow has not, or not to its end."""
    lines = [
        f"{trial.name}: {trial.state}" + _reason(trial) for trial in grid.trials if not trial.ended
    ]
    have = {_place(grid, trial) for trial in grid.trials}
    spanned = grid.expected.places or _spanned(grid)
    absent = [place for place in spanned if place not in have]
    begun = {(place.model, place.dataset) for place in have}
    lines += [_told(grid, p) for p in absent if (p.model, p.dataset) in begun]
    unbegun = Counter((p.model, p.dataset) for p in absent)
    lines += [
        f"{model} on {dataset}: none of {count} trials has begun"
        for (model, dataset), count in unbegun.items()
        if (model, dataset) not in begun
    ]
    return lines


def _spanned(grid: Grid) -> list[Place]:
    """Every combination of what the grid has, and of what is planned where that is told.

    A baseline that bears another name than its series is never without its siblings.
    """
    names = grid.series
    begun = {(series.model, series.dataset) for series in names}
    spread = {*grid.expected.datasets, *(series.dataset for series in names)}
    pairs = itertools.product(grid.models, [d for d in grid.datasets if d in spread])
    names += [Series(*pair) for pair in pairs if pair not in begun]
    own = {series_of(trial) for trial in grid.trials if trial.is_baseline}
    most = max(grid.clients, default=1)
    places = []
    for series, x in itertools.product(names, grid.xs):
        alone = grid.axis.is_clients and x == 1
        if not alone or series in own or series not in grid.by_series:
            clients = int(x) if grid.axis.is_clients else most
            places += [Place(*series, x, seed, clients, alone) for seed in grid.seeds]
    return places


def _place(grid: Grid, trial: TrackedTrial) -> Place:
    series, x = series_of(trial), grid.axis.of(trial.settings)
    return Place(*series, x, trial.seed, trial.clients, trial.is_baseline)


def _told(grid: Grid, place: Place) -> str:
    label = Series(place.model, place.dataset, place.variant).label
    known = grid.axis.is_clients or place.x == NOWHERE
    at = "" if known else f" {grid.axis.told(place.x)}"
    name = f"K{place.clients:03d} {label} {place.dataset} s{place.seed}{at}"
    return f"{name}: not begun"


def _reason(trial: TrackedTrial) -> str:
    if trial.state == "waiting":
        return ", since its baseline has failed"
    if trial.state == "failed" and trial.records:
        return f" after round {trial.records[-1]['round']}"
    return ""
