"""What the verdicts, and the rounds they rest on, would be at other targets."""

from __future__ import annotations

from collections.abc import Sequence

from fedtune.analysis.grid import Grid
from fedtune.analysis.paper.claims import Claim
from fedtune.analysis.paper.evidence import Evidence
from fedtune.analysis.paper.judging import ON_TARGETS, judge
from fedtune.analysis.paper.rounds import Aim, median
from fedtune.analysis.table import Table, Value

_FRACTIONS = (0.8, 0.9, 0.95)
#: Fractions of the baseline's accuracy, and of its part above chance.
AIMS = tuple(Aim(fraction, above) for above in (False, True) for fraction in _FRACTIONS)
_NAMES = [aim.label for aim in AIMS]
_NOTE = (
    "Targets are these parts of the baseline's accuracy or, above chance, of what it is above "
    "chance. Trials stop at their own target, so at a higher one some are not known to reach it "
)


def verdicts_by_target(grid: Grid, claims: Sequence[Claim]) -> Table:
    """The verdict of every claim that rests on a target, at each of them."""
    rows: list[list[Value]] = []
    judged = [judge(grid, aim, ON_TARGETS) for aim in AIMS]
    at_own = [claim for claim in claims if claim.statement.number in ON_TARGETS]
    for own, *others in zip(at_own, *judged, strict=True):
        number = own.statement.number + (f" ({own.variant})" if own.variant else "")
        rows.append([number, own.verdict, *(other.verdict for other in others)])
    return Table(
        "verdicts-by-target",
        "The verdicts at other targets",
        _NOTE + "(inconclusive).",
        ["claim", "as above", *_NAMES],
        rows,
    )


def rounds_by_target(grid: Grid) -> Table:
    """The median of rounds to each target, for every model, data set and K."""
    rows: list[list[Value]] = []
    found = [Evidence(grid, aim) for aim in AIMS]
    for cell in grid.every_cell():
        medians = [median(evidence.rounds(cell).values()) for evidence in found]
        if any(medians):
            rows.append([cell.series.label, cell.series.dataset, cell.clients, *medians])
    return Table(
        "rounds-by-target",
        "Rounds to other targets",
        "Medians over seeds, from where the accuracy stays there (isotonic regression). "
        + _NOTE
        + "(> the rounds that they ran).",
        ["model", "data set", "K", *_NAMES],
        rows,
    )
