"""The claims of a grid, by their numbers."""

from __future__ import annotations

from fedtune.analysis.grid import Grid
from fedtune.analysis.paper.claims import Claim
from fedtune.analysis.paper.judging import judge


def judged(grid: Grid) -> dict[str, Claim]:
    return {claim.statement.number: claim for claim in judge(grid)}


def verdicts(grid: Grid) -> dict[str, str]:
    return {number: claim.verdict for number, claim in judged(grid).items()}
