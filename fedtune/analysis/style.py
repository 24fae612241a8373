"""How every figure looks: sizes for a paper, colours for all eyes, light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fedtune.analysis.fonts import BASE
from fedtune.tracking.partition_figure import BLUE

#: Inches: one column of a two-column page, and both.
COLUMN, PAGE = 3.35, 7.0

INK, MUTED, RULE = "#1b1b1f", "#6d6d75", "#dcdce1"

#: Beside what can be scrolled sideways. No figure has this colour.
_SHADE = ("#00000040", "#ffffff40")

#: Colours of Okabe and Ito that colour-blind readers tell apart, and lighter ones for dark pages.
_MODELS = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#4b4b8f")
_MODELS_DARK = ("#5cb8ef", "#ff9352", "#3fd3a2", "#f0a6cf", "#d9bb4a", "#a9a9f0")
#: How much a client has of something: this colour, more or less opaque.
SHARES = BLUE
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

#: One scale over K: the part of viridis that is read on white, and the part that is read on black.
_K_LIGHT, _K_DARK = (0.0, 0.82), (0.28, 1.0)

_SETTINGS: Any = {  # matplotlib's type names every setting there is
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a $ in a name is a $
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.transparent": True,
    "axes.formatter.useoffset": False,
    "svg.fonttype": "path",
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.04,
}


def settings(families: Sequence[str] = (BASE,)) -> Any:
    """A context in which figures are drawn in this style, with these fonts.

    Other fonts than matplotlib's own may not be TrueType, which is what PDF calls 42.
    """
    fonts = {"font.family": list(families), "pdf.fonttype": 42 if tuple(families) == (BASE,) else 3}
    return matplotlib.rc_context(_SETTINGS | fonts)


def model_look(index: int) -> dict[str, Any]:
    """Colour, marker and line of a model: forty models look different."""
    again = index // len(_MODELS)
    return {
        "color": _MODELS[index % len(_MODELS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": ("-", (0, (5, 1.5)), (0, (1, 1.2)))[again % 3],
    }


def x_colours(xs: Sequence[float]) -> dict[float, str]:
    """A colour for each K, or other value, evenly along the scale in their order."""
    return dict(zip(xs, _scale(len(xs), *_K_LIGHT), strict=True))


def _scale(count: int, low: float, high: float) -> list[str]:
    steps = [low + (high - low) * i / max(count - 1, 1) for i in range(count)]
    return [to_hex(colormaps["viridis"](step)) for step in steps]


def variables(count: int) -> dict[str, tuple[str, str]]:
    """The colours as CSS variables for a page: name, colour on light, colour on dark; so many of
    the scale over K.
    """
    named = {
        "ink": (INK, "#ececf1"),
        "muted": (MUTED, "#a2a2ad"),
        "rule": (RULE, "#3a3a44"),
        "shade": _SHADE,
    }
    named |= {f"m{i}": pair for i, pair in enumerate(zip(_MODELS, _MODELS_DARK, strict=True))}
    pairs = zip(_scale(count, *_K_LIGHT), _scale(count, *_K_DARK), strict=True)
    return named | {f"k{i}": pair for i, pair in enumerate(pairs)}


def save_svg(figure: Figure, name: str) -> str:
    """The figure as SVG, the same for the same data. ``name`` keeps ids apart on one page."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def save_pdf(figure: Figure) -> bytes:
    """The figure as PDF, the same for the same data."""
    data = io.BytesIO()
    figure.savefig(data, format="pdf", metadata={"CreationDate": None})
    return data.getvalue()


def for_page(svg: str, name: str, title: str, count: int) -> str:
    """An SVG to stand in a page: colours follow the page's variables, ids are its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for variable, (light, _) in variables(count).items():
        svg = svg.replace(light, f"var(--{variable})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
