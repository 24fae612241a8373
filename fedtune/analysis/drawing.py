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
from fedtune.analysis.cell import Series
from fedtune.analysis.grid import Grid
from fedtune.analysis.levels import LEVEL
from fedtune.analysis.samples import Sample

#: How chance is drawn, and one client where it has no place along x.
DASHED: Any = {"color": style.MUTED, "linestyle": (0, (4, 3)), "linewidth": 0.8}
DOTTED: Any = {"color": style.INK, "linestyle": (0, (1, 1.5)), "linewidth": 0.9}


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
    models, variants = grid.models, grid.variants
    known = {(series.model, series.variant): series.label for series in grid.series}
    order = sorted(known, key=lambda key: (models.index(key[0]), variants.index(key[1])))
    return list(dict.fromkeys(known[key] for key in order))


def series_of(grid: Grid, dataset: str) -> list[tuple[Series, float, dict[str, Any]]]:
    """The series of a data set, each with a factor on its places that keeps its markers visible,
    and its look.
    """
    names = labels(grid)
    places = panels.shifts(grid.places, len(names))
    return [
        (series, places[index], style.model_look(index))
        for index, name in enumerate(names)
        for series in grid.series
        if (series.dataset, series.label) == (dataset, name)
    ]


def means(
    axes: Axes,
    samples: Mapping[float, Sample],
    shift: float,
    look: Mapping[str, Any],
    early: Collection[tuple[float, int]] = (),
) -> None:
    """A line through the means over seeds, with every seed's point or with 95 % intervals.

    Samples are by their place along x. Where trials (place, seed) ended ``early`` their markers are
    open and the line is dotted.
    """
    bare = {"color": look["color"], "zorder": 3}
    middles = {place: sample.mean for place, sample in samples.items()}
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
    for place, sample in samples.items():
        bounds = sample.interval()
        if bounds is not None and len(sample.values) >= numbers.SEEDS_FOR_INTERVAL:
            axes.errorbar(
                [place * shift],
                [sample.mean],
                [[sample.mean - bounds[0]], [bounds[1] - sample.mean]],
                color=look["color"],
                elinewidth=0.9,
                zorder=4,
                **marker(look, 3.5, place in late),
            )
            continue
        for is_early in (False, True):
            seen = [v for seed, v in sample.values.items() if ((place, seed) in early) == is_early]
            axes.plot(
                [place * shift] * len(seen),
                seen,
                linestyle="none",
                alpha=0.8 if len(sample.values) > 1 else 1.0,
                zorder=4,
                **marker(look, 3.2, is_early),
            )


def baselines(axes: Axes, grid: Grid, dataset: str) -> bool:
    """A line for one client, where K does not run along x. Gives whether there is one."""
    if grid.axis.is_clients:
        return False
    lines: dict[tuple[float, ...], None] = {}
    for series in grid.series:
        if series.dataset == dataset:
            levels = [grid.alone(series, x).sample(LEVEL) for x in grid.xs]
            lines[tuple(s.mean if s.values else math.nan for s in levels)] = None
    for line in lines:
        ends = grid.places[0] / 1.35, grid.places[-1] * 1.35
        axes.plot([ends[0], *grid.places, ends[1]], [line[0], *line, line[-1]], zorder=2, **DOTTED)
    return bool(lines)


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
