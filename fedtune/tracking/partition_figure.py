"""What each client has, as a picture: clients × classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

#: Blue of Okabe and Ito, which colour-blind readers tell from the others.
BLUE = "#0072b2"

#: More classes than these have numbers in place of names, and longer names are cut.
_MOST_NAMES, _LONGEST_NAME = 12, 16


def partition_figure(content: Mapping[str, Any], title: str) -> Figure:
    """The content of a ``partition.json``: a column for each client, a row for each class."""
    shares = np.asarray([client["labels"] for client in content["clients"]])
    num_clients, num_classes = shares.shape
    width = min(max(4.0, 1.6 + 0.16 * num_clients), 12.0)
    height = min(max(2.0, 1.0 + 0.22 * num_classes), 8.0)
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    squares(axes, shares, BLUE, content["label_names"])
    axes.set_title(f"{title} (≤ {shares.max():,} examples)", fontsize=9, loc="left")
    axes.set_xlabel("client")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def squares(
    axes: Axes, shares: NDArray[np.int64], colour: str, class_names: Sequence[str] = ()
) -> None:
    """A square for each client and class of ``shares`` (K, C), more opaque the more examples it
    stands for.
    """
    num_clients, num_classes = shares.shape
    at = [(k, c) for k in range(num_clients) for c in range(num_classes) if shares[k, c]]
    most = shares.max()
    patches = [Rectangle((k - 0.47, c - 0.45), 0.94, 0.9) for k, c in at]
    colours = [(*to_rgb(colour), 0.08 + 0.92 * float(shares[k, c] / most)) for k, c in at]
    axes.add_collection(PatchCollection(patches, facecolors=colours, edgecolors="none"))
    axes.set_xlim(-0.7, num_clients - 0.3)
    axes.set_ylim(num_classes - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(class_names) == num_classes <= _MOST_NAMES:
        axes.set_yticks(range(num_classes), [_cut(name) for name in class_names])
    else:
        axes.yaxis.set_major_locator(MaxNLocator(min(num_classes, 8), integer=True))
        axes.set_ylabel("class")
    axes.grid(visible=False)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
