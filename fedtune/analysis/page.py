"""The report as one HTML page that needs nothing beside it: no network, no script, no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fedtune.analysis import style
from fedtune.analysis.drawing import Drawn
from fedtune.analysis.table import Table
from fedtune.analysis.templates import FOLDER, render

#: What a page says of its maker, by which a later report knows an earlier one.
GENERATOR = "fedtune report"
#: These figures stand beside the first table; the others have a section of their own.
FIRST = (1, 2, 3)


@dataclass(frozen=True)
class Numbered:
    """A figure with its number and, as SVG, its picture."""

    number: int
    drawn: Drawn
    svg: str


@dataclass(frozen=True)
class Section:
    """A part of the page that another module has made: where it is, its title, its HTML."""

    anchor: str
    title: str
    html: Markup


@dataclass(frozen=True)
class Content:
    """Everything that the page shows, in its order.

    ``joined`` says how clients are joined, where that is the same everywhere. ``short`` has, for
    names in tables that are long, what stands for them; ``absent`` the numbers of figures for which
    there is no data.
    """

    sweep: str
    progress: str
    sentences: Sequence[str]
    cost: Table
    figures: Sequence[Numbered]
    absent: Sequence[int]
    caveats: Sequence[str]
    missing: Sequence[str]
    sections: Sequence[Section]
    tables: Sequence[Table]
    history: Sequence[tuple[str, str]]
    settings: Sequence[tuple[str, str]]
    short: Mapping[str, str]
    joined: str
    num_colours: int


def page(content: Content) -> str:
    """The page. Texts are escaped; figures are the SVG that :mod:`style` made."""
    shown = [figure.number for figure in content.figures]
    further = [number for number in shown if number not in FIRST]
    anchors = [("cost", "Cost"), ("figures", "Figures")]
    anchors += [(section.anchor, section.title) for section in content.sections]
    anchors += [("tables", "Tables"), ("settings", "Settings")]
    svg = {
        figure.number: Markup(
            style.for_page(figure.svg, figure.drawn.name, figure.drawn.title, content.num_colours)
        )
        for figure in content.figures
    }
    return render(
        "page.html.j2",
        content=content,
        anchors=anchors,
        svg=svg,
        first=FIRST,
        further=further,
        css=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        colours=style.variables(content.num_colours),
        generator=GENERATOR,
    )
