"""What figures have in common: series of models, means with what is known of them, markers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fedtune.analysis import numbers, panels, style
from fedtune.analysis.grid import Grid, Series
from fedtune.analysis.samples import Sample

#: How chance is drawn.
DASHED: Any = {"color": style.MUTED, "linestyle": (0, (4, 3)), "linewidth": 0.8}


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


def series_of(grid: Grid, dataset: str) -> list[tuple[Series, float, dict[str, Any]]]:
    """The series of a data set, each with a factor on K that keeps its markers visible, and its
    look.
    """
    names = labels(grid)
    places = panels.shifts(grid.clients, len(names))
    return [
        (series, places[index], style.model_look(index))
        for index, name in enumerate(names)
        for series in grid.series
        if (series.dataset, series.label) == (dataset, name)
    ]


def means(
    axes: Axes,
    samples: Mapping[int, Sample],
    shift: float,
    look: Mapping[str, Any],
    early: Collection[tuple[int, int]] = (),
) -> None:
    """A line through the means over seeds, with every seed's point or with 95 % intervals.

    Where trials (K, seed) ended ``early`` their markers are open and the line is dotted.
    """
    bare = {"color": look["color"], "zorder": 3}
    middles = {clients: sample.mean for clients, sample in samples.items()}
    late = {k for k, _ in early}
    if late:
        axes.plot(
            [k * shift for k in middles],
            list(middles.values()),
            linestyle=(0, (1, 2)),
            linewidth=0.9,
            **bare,
        )
    whole = [mean if k not in late else math.nan for k, mean in middles.items()]
    axes.plot([k * shift for k in middles], whole, linestyle=look["linestyle"], **bare)
    for clients, sample in samples.items():
        bounds = sample.interval()
        if bounds is not None:
            axes.errorbar(
                [clients * shift],
                [sample.mean],
                [[sample.mean - bounds[0]], [bounds[1] - sample.mean]],
                color=look["color"],
                elinewidth=0.9,
                zorder=4,
                **marker(look, 3.5, clients in late),
            )
            continue
        for is_early in (False, True):
            seen = [
                v for seed, v in sample.values.items() if ((clients, seed) in early) == is_early
            ]
            axes.plot(
                [clients * shift] * len(seen),
                seen,
                linestyle="none",
                alpha=0.8 if len(sample.values) > 1 else 1.0,
                zorder=4,
                **marker(look, 3.2, is_early),
            )


def marker(look: Mapping[str, Any], size: float, hollow: bool) -> dict[str, Any]:
    return {
        "marker": look["marker"],
        "markersize": size + hollow,
        "markerfacecolor": "none" if hollow else look["color"],
        "markeredgecolor": look["color"],
        "markeredgewidth": 0.9 if hollow else 0,
    }


def model_handles(grid: Grid) -> list[Line2D]:
    return [
        Line2D([], [], label=name, **style.model_look(i)) for i, name in enumerate(labels(grid))
    ]


def marks(grid: Grid) -> str:
    """What the markers mean, which depends on the number of seeds."""
    if grid.most_seeds >= numbers.SEEDS_FOR_INTERVAL:
        return "Means over seeds with 95 % intervals; points where there are fewer seeds."
    if grid.most_seeds > 1:
        return f"Every point is one of {grid.most_seeds} seeds; lines join means."
    return "One seed, so one point per trial and no interval."
