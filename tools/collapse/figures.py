"""The six figures of the page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

from fedtune.analysis import panels, style
from tools.collapse.rules import POINT, Cell, Drift
from tools.collapse.seen import Seen, Trials
from tools.step_law import CLIENTS

#: What a model is called in a figure.
NAMES = {"mini-bert": "BERT", "mini-distilbert": "DistilBERT", "mini-albert": "ALBERT"}

_DASHED: Any = {"color": style.MUTED, "linestyle": (0, (4, 3)), "linewidth": 0.8}

#: The steps that the paper's text implies for a budget, as a part of those that the model needs
#: (docs/results/mini-study: the regimes side by side), least and most.
PAPER = {
    "DistilBERT, IMDB": {1: (1.0, 2.0), 32: (0.03, 0.06)},
    "BERT and ALBERT, IMDB": {1: (8.0, 16.0), 32: (0.26, 0.5)},
    "DistilBERT, Yelp": {1: (4.0, 8.0), 32: (0.13, 0.25)},
}


def one_curve(trials: Trials, dataset: str, rate: float) -> Figure | None:
    """Figure 1: accuracy and loss against the sum of rates, all K over one another."""
    plain = trials.where(dataset=dataset, rate=rate, head="own", head_init="shared", batch_size=8)
    models = [model for model in NAMES if any(s.model == model for s in plain)]
    if not models:
        return None
    made = panels.figure(2, len(models), wide=True)
    places = made.subplots(2, len(models), squeeze=False, sharex=True, sharey="row")
    present = [k for k in CLIENTS if any(s.clients == k for s in plain)]
    colours = style.x_colours(present)
    looked: tuple[tuple[str, Callable[[Any], float]], ...] = (
        ("test accuracy", lambda point: point.accuracy),
        ("test loss", lambda point: point.loss),
    )
    for column, model in enumerate(models):
        for row, (label, value) in enumerate(looked):
            axes = places[row][column]
            for clients in present:
                here = [s for s in plain if (s.model, s.clients) == (model, clients)]
                _mean_curve(axes, here, value, colours[clients])
            _plain_log(axes)
            axes.set_ylabel(label if column == 0 else "")
        panels.title(places[0][column], NAMES[model])
        places[1][column].set_xlabel("sum of the rates of all sequential steps")
    panels.finish(made, [Line2D([], [], color=colours[k], label=f"K = {k}") for k in present])
    return made


def _plain_log(axes: Axes) -> None:
    """A logarithmic x with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _mean_curve(
    axes: Axes, here: Sequence[Seen], value: Callable[[Any], float], colour: str
) -> None:
    """The mean over seeds, where all of them were seen."""
    shared = set.intersection(*({p.steps for p in s.points} for s in here)) if here else set()
    steps = sorted(shared)
    means = [statistics.fmean(value(s.at(step)) for s in here) for step in steps]
    axes.plot([here[0].rate * step for step in steps], means, color=colour, linewidth=1.0)


def against_prediction(found: Sequence[Cell]) -> Figure | None:
    """Figure 2: rounds as observed against rounds by steps alone; open: beyond the cap."""
    if not found:
        return None
    made = panels.figure(1, 1, wide=False)
    made.set_figheight(2.9)
    axes = made.subplots()
    models = [model for model in NAMES if any(cell.model == model for cell in found)]
    for index, model in enumerate(models):
        look = style.model_look(index)
        for cell in (cell for cell in found if cell.model == model):
            seen = cell.observed if cell.reached else cell.cap * 1.25
            shift = 1.03 ** (index - (len(models) - 1) / 2)
            face = look["color"] if cell.reached else "none"
            axes.plot(
                [cell.predicted * shift], [seen], marker=look["marker"], color=look["color"],
                markerfacecolor=face, markersize=4, linestyle="", alpha=0.8,
            )  # fmt: skip
    cap = max(cell.cap for cell in found)
    most = max(cell.predicted for cell in found) * 1.3
    axes.plot([0.8, most], [0.8, most], **_DASHED)
    axes.axhline(cap, color=style.MUTED, linewidth=0.6)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_ylim(0.8, cap * 1.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("rounds to target by steps alone")
    axes.set_ylabel("rounds to target, observed")
    handles = [
        Line2D([], [], linestyle="", **_marker(style.model_look(i)), label=NAMES[model])
        for i, model in enumerate(models)
    ]
    hollow: dict[str, Any] = {"marker": "o", "color": style.MUTED, "markerfacecolor": "none"}
    handles.append(Line2D([], [], linestyle="", label=f"not within {cap}", **hollow))
    panels.finish(made, handles)
    return made


def _marker(look: Mapping[str, Any]) -> dict[str, Any]:
    return {"marker": look["marker"], "color": look["color"]}


def phases(found: Sequence[Cell]) -> Figure | None:
    """Figure 3: which K gets to the target at which rate: as predicted, and as observed."""
    models = [model for model in NAMES if any(cell.model == model for cell in found)]
    if not models:
        return None
    made = panels.figure(2, len(models), wide=True)
    places = made.subplots(2, len(models), squeeze=False, sharex=True, sharey=True)
    rates = sorted({cell.rate for cell in found}, reverse=True)
    present = sorted({cell.clients for cell in found})
    for column, model in enumerate(models):
        for row, kind in enumerate(("by steps alone", "observed")):
            axes = places[row][column]
            _phase(axes, [c for c in found if c.model == model], rates, present, kind)
            panels.title(axes, f"{NAMES[model]}, {kind}")
            axes.set_ylabel("learning rate" if column == 0 else "")
        places[1][column].set_xlabel("clients")
    panels.finish(made, [])
    return made


def _phase(
    axes: Axes, found: Sequence[Cell], rates: Sequence[float], present: Sequence[int], kind: str
) -> None:
    by_place = {(cell.rate, cell.clients): cell for cell in found}
    shown = np.full((len(rates), len(present)), np.nan)
    for row, rate in enumerate(rates):
        for column, clients in enumerate(present):
            cell = by_place.get((rate, clients))
            if cell is None:
                continue
            rounds = cell.predicted if kind == "by steps alone" else cell.observed
            text = f"{rounds:.0f}" if rounds <= cell.cap else f"> {cell.cap}"
            shown[row, column] = math.log2(min(rounds, 2 * cell.cap))
            dark = rounds > cell.cap / 2
            colour = "white" if dark else style.INK
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    axes.imshow(shown, cmap="viridis_r", vmin=0, vmax=5, aspect="auto", alpha=0.85)
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(FixedLocator(range(len(present))))
    axes.xaxis.set_major_formatter(FixedFormatter([str(clients) for clients in present]))
    axes.yaxis.set_major_locator(FixedLocator(range(len(rates))))
    axes.yaxis.set_major_formatter(FixedFormatter([f"{rate:.3g}" for rate in rates]))


def steps_or_drift(found: Sequence[Drift]) -> Figure | None:
    """Figure 4: FedAvg minus one client with the batch of all, at equal steps, in points."""
    if not found:
        return None
    made = panels.figure(1, 1, wide=False)
    axes = made.subplots()
    kinds = sorted({(drift.model, drift.clients) for drift in found})
    places = sorted({drift.steps for drift in found})
    for index, (model, clients) in enumerate(kinds):
        look = style.model_look(index)
        here = [d for d in found if (d.model, d.clients) == (model, clients)]
        xs = [places.index(d.steps) + 0.12 * (index - (len(kinds) - 1) / 2) for d in here]
        middles = [100 * d.accuracy.mean for d in here]
        halves = [100 * d.accuracy.half_width() for d in here]
        axes.errorbar(
            xs, middles, yerr=halves, linestyle="", marker=look["marker"], color=look["color"],
            markersize=4, linewidth=1, label=f"{NAMES[model]}, K = {clients}",
        )  # fmt: skip
    axes.axhspan(-100 * POINT, 100 * POINT, color=style.MUTED, alpha=0.15, linewidth=0)
    axes.axhline(0, color=style.MUTED, linewidth=0.6)
    axes.xaxis.set_major_locator(FixedLocator(range(len(places))))
    axes.xaxis.set_major_formatter(FixedFormatter([str(steps) for steps in places]))
    axes.set_xlabel("sequential steps")
    axes.set_ylabel("FedAvg minus large batch,\npoints of accuracy")
    handles = [
        Line2D([], [], linestyle="", **_marker(style.model_look(i)), label=f"{NAMES[m]}, K = {k}")
        for i, (m, k) in enumerate(kinds)
    ]
    panels.finish(made, handles)
    return made


def noise(trials: Trials, dataset: str) -> Figure | None:
    """Figure 5: what a trial is behind the one with most clients at the same sum of rates, against
    the learning rate for each text of a step.
    """
    plain = trials.where(dataset=dataset, head="own", head_init="shared", batch_size=8)
    points: dict[str, list[tuple[float, float]]] = {}
    for key in {(s.model, s.rate, s.seed) for s in plain}:
        here = [s for s in plain if (s.model, s.rate, s.seed) == key]
        most = max(here, key=lambda s: s.clients)
        for seen in here:
            gaps = [
                other.accuracy - point.accuracy
                for point in seen.points
                if (other := most.at(point.steps)) is not None and seen is not most
            ]
            if gaps:
                place = seen.rate / (seen.batch_size * seen.clients)
                points.setdefault(seen.model, []).append((place, 100 * statistics.fmean(gaps)))
    if not points:
        return None
    made = panels.figure(1, 1, wide=False)
    axes = made.subplots()
    models = [model for model in NAMES if model in points]
    for index, model in enumerate(models):
        look = style.model_look(index)
        places = sorted({place for place, _ in points[model]})
        for place in places:
            values = [value for x, value in points[model] if x == place]
            axes.plot(
                [place] * len(values), values, linestyle="", marker=look["marker"],
                color=look["color"], markersize=3, alpha=0.5,
            )  # fmt: skip
        means = [statistics.fmean(v for x, v in points[model] if x == p) for p in places]
        axes.plot(places, means, color=look["color"], linewidth=1)
    axes.axhline(0, color=style.MUTED, linewidth=0.6)
    _plain_log(axes)
    axes.set_xlabel("learning rate for each text of a step")
    axes.set_ylabel("points behind most clients")
    panels.finish(
        made, [Line2D([], [], **_marker(style.model_look(i)), label=NAMES[m])
               for i, m in enumerate(models)],
    )  # fmt: skip
    return made


def retention(trials: Trials, needs: Mapping[tuple[str, str, float], float]) -> Figure | None:
    """Figure 6: the part of what one client learned that is kept at the budget, against the sum of
    rates that there was over what the model needs; bands: where the paper's trials were.
    """
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seen in trials.where(head="own", head_init="shared", batch_size=8):
        alone, need = trials.baseline(seen), needs.get((seen.model, seen.dataset, seen.rate))
        if alone is None or need is None or alone.level - seen.chance < 0.02:
            continue
        budget = seen.rate * seen.budget * seen.steps_per_round
        kept = (seen.ends[seen.budget].accuracy - seen.chance) / (alone.level - seen.chance)
        points.setdefault((seen.model, seen.dataset), []).append((budget / need, kept))
    if not points:
        return None
    made = panels.figure(1, 1, wide=True)
    made.set_figheight(2.8)
    axes = made.subplots()
    for index, (name, by_clients) in enumerate(PAPER.items()):
        low, high = by_clients[32]
        at = 1.06 + 0.07 * index
        axes.plot([low, high], [at, at], color=style.INK, linewidth=3, alpha=0.5)
        axes.annotate(
            f"paper: {name}, K = 32", (high, at), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=6.5, color=style.MUTED,
        )  # fmt: skip
    handles = []
    for index, ((model, dataset), found) in enumerate(sorted(points.items())):
        look = style.model_look(index)
        xs, ys = zip(*found, strict=True)
        axes.plot(
            xs, ys, linestyle="", marker=look["marker"], color=look["color"], markersize=3,
            alpha=0.5,
        )  # fmt: skip
        label = f"{NAMES[model]}, {dataset}"
        handles.append(Line2D([], [], linestyle="", **_marker(look), label=label))
    axes.axhline(0, **_DASHED)
    axes.axvline(1, **_DASHED)
    _plain_log(axes)
    axes.set_xlabel("sum of rates at the budget over what the target takes")
    axes.set_ylabel("retention")
    panels.finish(made, handles)
    return made
