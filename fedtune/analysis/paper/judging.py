"""Every claim judged on a sweep, and the same as plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from fedtune.analysis.grid import Grid
from fedtune.analysis.paper import checks_distilbert as distilbert
from fedtune.analysis.paper import checks_scaling as scaling
from fedtune.analysis.paper import checks_speed as speed
from fedtune.analysis.paper import claims as thresholds
from fedtune.analysis.paper.claims import STATEMENTS, Claim
from fedtune.analysis.paper.evidence import Evidence
from fedtune.analysis.paper.rounds import OWN, Aim
from fedtune.analysis.paper.verdicts import RULE, Checked, settled, told

CHECKS: Mapping[str, Callable[[Evidence], Checked]] = {
    "C1": scaling.gradual,
    "C2": distilbert.steeper,
    "C3": distilbert.falls_to_chance,
    "C4": scaling.more_rounds,
    "C5": scaling.mostly_reach,
    "C6": distilbert.fails_on_yelp,
    "C7": distilbert.fails_on_imdb,
    "C8": distilbert.plateaus,
    "C9": scaling.gradual_on_yelp,
    "C10": scaling.scales_well,
    "C11": speed.more_rounds_for_the_same,
    "C12": scaling.sizes,
    "C13": speed.slower_alone,
}


#: The claims that rest on a target.
ON_TARGETS = ("C4", "C5", "C6", "C7", "C11", "C13")


def judge(grid: Grid, aim: Aim = OWN, only: Collection[str] = tuple(CHECKS)) -> list[Claim]:
    """The paper's claims, in its order, once for each variant of the sweep."""
    claims = []
    for variant in _judged(grid):
        evidence = Evidence(grid.of_variant(variant), aim, variant)
        for statement in STATEMENTS:
            if statement.number not in only:
                continue
            answer, parts = CHECKS[statement.number](evidence)
            parts = settled(parts)
            claims.append(Claim(statement, answer.verdict, told(parts), tuple(parts), variant))
    return claims


def _judged(grid: Grid) -> list[str]:
    """The variants that have federated trials, begun or planned; all where none has.

    Baselines that several of them share are no variant by themselves.
    """
    have = {trial.variant for trial in grid.trials if not trial.is_baseline}
    have |= {place.variant for place in grid.expected.places if not place.is_baseline}
    return [variant for variant in grid.variants if variant in have] or grid.variants


def as_data(sweep: str, claims: list[Claim]) -> dict[str, Any]:
    """What ``claims.json`` holds: strict JSON, in which an infinite number is null."""
    return {
        "sweep": sweep,
        "paper": "Hilmkil et al. 2021, arXiv 2102.00875",
        "rule": RULE,
        "thresholds": {
            name.lower(): value
            for name, value in sorted(vars(thresholds).items())
            if name.isupper() and name != "STATEMENTS"
        },
        "claims": [
            {
                "id": claim.statement.number,
                "claim": claim.statement.text,
                "source": claim.statement.source,
                "check": claim.statement.check,
                "verdict": claim.verdict,
                "reason": claim.reason,
                "parts": [
                    {
                        "what": part.what,
                        "verdict": part.verdict,
                        "numbers": part.numbers,
                        "threshold": part.threshold,
                        "p_holds": part.answer.p_yes,
                        "p_does_not_hold": part.answer.p_no,
                        "per_seed": _finite(dict(part.per_seed)),
                    }
                    for part in claim.parts
                ],
            }
            | ({"variant": claim.variant} if claim.variant else {})
            for claim in claims
        ],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
