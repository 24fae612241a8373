"""The report as one HTML page that needs nothing beside it: no network, no script, no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fedtune.analysis import style
from fedtune.analysis.figures import Drawn
from fedtune.analysis.paper.claims import Claim
from fedtune.analysis.paper.verdicts import RULE, VERDICTS
from fedtune.analysis.tables import Table

#: A verdict is told by its word and by a sign, not by a colour alone.
SIGNS = {
    "holds": "✓",
    "does not hold": "✗",
    "inconclusive": "?",
    "not applicable": "–",
    "not run": "○",
}


@dataclass(frozen=True)
class Content:
    """Everything that the page shows, in its order."""

    sweep: str
    progress: str
    sentences: Sequence[str]
    cost: Table
    caveats: Sequence[str]
    missing: Sequence[str]
    claims: Sequence[Claim]
    settings_age: str
    figures: Sequence[tuple[Drawn, str]]  # with their SVG
    tables: Sequence[Table]
    settings: Sequence[tuple[str, str]]
    history: Sequence[tuple[str, str]]
    clients: Sequence[int]


def render(content: Content) -> str:
    """The page. Texts are escaped; figures are the SVG that :mod:`style` made."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = [
        (drawn, Markup(style.for_page(svg, drawn.name, drawn.title, content.clients)))
        for drawn, svg in content.figures
    ]
    return environment.get_template("page.html.j2").render(
        content=content,
        figures=figures,
        css=Markup((folder / "page.css").read_text(encoding="utf-8")),
        colours=style.variables(content.clients),
        signs=SIGNS,
        counts=count_verdicts(content.claims),
        rule=RULE,
    )


def count_verdicts(claims: Sequence[Claim]) -> Mapping[str, int]:
    """How many claims have each verdict, in the order of the verdicts."""
    count = Counter(claim.verdict for claim in claims)
    return {verdict: count[verdict] for verdict in VERDICTS if count[verdict]}
