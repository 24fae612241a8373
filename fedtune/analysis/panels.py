"""Panels of a figure: how they are arranged, their axes of x, titles that fit, and the legend."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, NullLocator

from fedtune.analysis import style

#: More data sets than this stand in rows across the page, fewer below one another in a column.
COLUMN_OF = 3
#: Panels side by side across a page, at most.
ACROSS = 4

#: Inches that a panel is high: one that has no other below it may be higher.
_ROW, _ONLY_ROW = 1.3, 1.7
#: Inches for what is around all panels.
_AROUND = 0.3


def figure(rows: int, columns: int, *, wide: bool) -> Figure:
    """A figure for so many panels, as wide as a page or as a column."""
    height = (_ONLY_ROW if rows == 1 else _ROW) * rows + _AROUND
    width = style.PAGE if wide else style.COLUMN
    return Figure(figsize=(width, height), layout="constrained")


class Place(NamedTuple):
    """Panels side by side, and whether any other stands to their left or below them."""

    panels: list[Axes]
    leftmost: bool
    lowest: bool

    def label_outside(self, left: Sequence[str], below: str) -> None:
        """Name the axes where no neighbour does; numbers of y are each panel's own."""
        for axes, name in zip(self.panels, left, strict=True):
            axes.set_ylabel(name if self.leftmost or len(left) > 1 else "")
            axes.set_xlabel(below if self.lowest else "")
            axes.tick_params(labelbottom=self.lowest)


def by_dataset(count: int, each: int = 1) -> tuple[Figure, list[Place], bool]:
    """``each`` panels side by side for every data set; the last says whether it is page-wide."""
    wide = count > COLUMN_OF
    across = (3 if each == 1 else 2) if wide else 1
    rows = math.ceil(count / across)
    made = figure(rows, across * each, wide=wide)
    grid = made.subplots(rows, across * each, squeeze=False)
    places = []
    for index in range(rows * across):
        row, at = divmod(index, across)
        found = list(grid[row][at * each : (at + 1) * each])
        if index < count:
            places.append(Place(found, at == 0, index + across >= count))
        else:
            for axes in found:
                axes.remove()
    return made, places, wide


def title(axes: Axes, *lines: str) -> None:
    """The title of a panel, above its left edge."""
    axes.set_title("\n".join(lines), loc="center", x=0.0, horizontalalignment="left")


def x_axis(axes: Axes, places: Sequence[float], texts: Sequence[str]) -> None:
    """An axis of K, say: log2, a tick at each place, and its text where there is room."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(places)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(_roomy(places, texts))
    axes.set_xlim(min(places) / 1.35, max(places) * 1.35)


def _roomy(places: Sequence[float], texts: Sequence[str]) -> list[str]:
    """The texts, without those that would touch the one before or the last."""
    last = math.log2(places[-1])
    span = last - math.log2(places[0]) + 0.9
    told, end = [], -math.inf
    for text, at in zip(texts, map(math.log2, places), strict=True):
        need = span * (0.03 + 0.022 * len(text))
        free = at - end >= need and (at == last or last - at >= need)
        told.append(text if free or at == last else "")
        end = at if told[-1] else end
    return told


def shifts(places: Sequence[float], count: int) -> list[float]:
    """A factor on places for each of so many models, so that their markers stand side by side."""
    gaps = [math.log2(b / a) for a, b in itertools.pairwise(places)]
    step = min(0.14, 0.6 * min(gaps, default=1.0) / max(count - 1, 1))
    return [2 ** (step * (index - (count - 1) / 2)) for index in range(count)]


def finish(made: Figure, handles: Sequence[Line2D]) -> None:
    """Add the legend above the panels, where there is one, make room for it, and make every title
    fit its panel.
    """
    if handles:
        legend = _legend(made, handles)
        width, height = made.get_size_inches()
        rows = legend.get_window_extent().height / made.dpi
        made.set_size_inches(width, height + rows)
    made.draw_without_rendering()
    for axes in made.axes:
        panel = axes.get_window_extent()
        _fit(axes.title, axes.title.get_window_extent().width, panel.width)
        _fit(axes.yaxis.label, axes.yaxis.label.get_window_extent().height, 1.1 * panel.height)
    made.set_layout_engine("none")  # what is laid out stays, rather than again for every file


def _legend(made: Figure, handles: Sequence[Line2D]) -> Legend:
    """As many columns as fit; smaller letters where even one does not."""
    labels = [str(handle.get_label()) for handle in handles]
    room = made.get_size_inches()[0] * made.dpi
    for columns in range(min(len(handles), 8), 0, -1):
        # The labels come later, since matplotlib leaves one out that begins with an underscore.
        legend = made.legend(handles, ["."] * len(labels), loc="outside upper left", ncols=columns)
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(label)
        too_wide = legend.get_window_extent().width / room
        if too_wide <= 1:
            return legend
        if columns > 1:
            legend.remove()
    for text in legend.get_texts():
        text.set_fontsize(0.85 * float(text.get_fontsize()) / too_wide)
    return legend


def _fit(text: Text, length: float, room: float) -> None:
    """Smaller letters where a text is longer than its room."""
    if length > room:
        text.set_fontsize(float(text.get_fontsize()) * room / length)
