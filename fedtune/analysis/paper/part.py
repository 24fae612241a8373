"""What the paper adds to a report: a section of its page, a table, a file, a line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedtune.analysis.grid import Grid
from fedtune.analysis.page import Section
from fedtune.analysis.paper.claims import Claim
from fedtune.analysis.paper.judging import as_data, judge
from fedtune.analysis.paper.regime import regime
from fedtune.analysis.paper.shape import caveats, has_papers_shape
from fedtune.analysis.paper.targets import rounds_by_target, verdicts_by_target
from fedtune.analysis.paper.verdicts import RULE, VERDICTS
from fedtune.analysis.table import Table
from fedtune.analysis.templates import render

#: The file in a report's folder.
FILE = "claims.json"

#: A verdict is told by its word and by a sign, not by a colour alone.
SIGNS = {
    "holds": "✓",
    "does not hold": "✗",
    "inconclusive": "?",
    "not testable": "∅",
    "not applicable": "–",
    "not run": "○",
}


@dataclass(frozen=True)
class PaperPart:
    """``sections``, ``tables`` and ``lines`` (for a terminal) are empty where a sweep asks
    something else; ``files`` has the content of each file by its name.
    """

    sections: Sequence[Section]
    tables: Sequence[Table]
    lines: Sequence[str]
    files: Mapping[str, str]


def part_of(sweep: str, grid: Grid, settings_age: str) -> PaperPart:
    """Judge the paper's claims on a grid, if it has the paper's shape.

    ``settings_age`` says whether the settings are older than the results.
    """
    if not has_papers_shape(grid):
        return PaperPart((), (), (), {FILE: _as_json(sweep, [])})
    claims = judge(grid)
    counts = _count(claims)
    html = render(
        "paper/claims.html.j2",
        judged=[claim for claim in claims if not _is_open(claim)],
        unjudged=[claim for claim in claims if _is_open(claim)],
        counts=counts,
        signs=SIGNS,
        rule=RULE,
        caveats=caveats(grid),
        settings_age=settings_age,
    )
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return PaperPart(
        (Section("claims", "Claims", html),),
        (regime(grid), verdicts_by_target(grid, claims), rounds_by_target(grid)),
        (f"The paper's claims: {told}",),
        {FILE: _as_json(sweep, claims)},
    )


def _is_open(claim: Claim) -> bool:
    return claim.verdict in ("not applicable", "not run")


def _count(claims: Sequence[Claim]) -> Mapping[str, int]:
    """How many claims have each verdict, in the order of the verdicts."""
    count = Counter(claim.verdict for claim in claims)
    return {verdict: count[verdict] for verdict in VERDICTS if count[verdict]}


def _as_json(sweep: str, claims: list[Claim]) -> str:
    data = as_data(sweep, claims)
    if not claims:
        data["note"] = "the sweep does not have the paper's shape, so no claim is judged"
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
