"""The checks of claims about DistilBERT beside BERT and ALBERT: C2, C3, C6, C7, C8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fedtune.analysis import numbers
from fedtune.analysis.paper import claims
from fedtune.analysis.paper.checks_scaling import Checked
from fedtune.analysis.paper.evidence import (
    OTHERS,
    Evidence,
    absent,
    show,
    stretch_at_chance,
    unknown_for,
)
from fedtune.analysis.paper.verdicts import (
    Part,
    Verdict,
    all_of,
    decide,
    decide_truths,
    unless_missing,
    where_open,
)
from fedtune.analysis.quantities import ACCURACY, RETENTION
from fedtune.analysis.roles import TITLES
from fedtune.analysis.samples import Sample, combine, difference
from fedtune.analysis.tracked import Reach, TrackedTrial
from fedtune.trial.stopping import CHANCE_ERRORS, clearly_above_chance


def steeper(evidence: Evidence) -> Checked:
    """C2: retention past 4 clients, on the paper's three data sets."""
    places = ("ag-news", "imdb", "yelp")
    parts = [_lower(evidence, role, place) for place in places for role in OTHERS]
    return all_of(part.verdict for part in parts), parts


def _lower(evidence: Evidence, role: str, place: str) -> Part:
    beyond = claims.STEEP_BEYOND
    what = (
        f"{TITLES[place]}: DistilBERT's mean retention over K > {beyond} is below {TITLES[role]}'s"
    )
    rows = [_retentions(evidence, name, place) for name in ("distilbert", role)]
    shared = [k for k in rows[0] if k in rows[1]]
    if not shared:
        return Part(what, "not run", f"no pair of trials with K > {beyond}")
    means = [combine([(1 / len(shared), row[k]) for k in shared]) for row in rows]
    margin = difference(means[1], means[0])
    mine, theirs = (mean.only(list(margin.values)) for mean in means)
    missing = evidence.missing(shared, beyond)
    return Part(
        what,
        unless_missing(decide(margin), missing),
        f"{show(mine)} against {show(theirs)} (K = {', '.join(map(str, shared))})"
        + unknown_for(missing),
        "difference over 0",
        margin.values,
    )


def _retentions(evidence: Evidence, role: str, place: str) -> dict[int, Sample]:
    cells = evidence.cells(evidence.model(role), evidence.dataset(place))
    found = {cell.clients: cell.sample(RETENTION) for cell in cells}
    return {k: s for k, s in found.items() if k > claims.STEEP_BEYOND and s.values}


def falls_to_chance(evidence: Evidence) -> Checked:
    """C3: DistilBERT at the budget, on IMDB and Yelp."""
    parts = []
    for place in ("imdb", "yelp"):
        cells = evidence.cells(evidence.model("distilbert"), evidence.dataset(place))
        federated = [cell for cell in cells if cell.clients > 1 and cell.accuracies]
        if not federated:
            parts.append(absent("distilbert", place))
            continue
        seeds = sorted(set.intersection(*(set(cell.accuracies) for cell in federated)))
        truths = {seed: _any_falls([cell.trials[seed] for cell in federated]) for seed in seeds}
        lowest = min(federated, key=lambda cell: numbers.mean(cell.accuracies.values()))
        trial = next(iter(lowest.trials.values()))
        limit = trial.chance + CHANCE_ERRORS * numbers.binomial_se(trial.chance, trial.num_test)
        verdict, known = decide_truths(truths), [cell.clients for cell in federated]
        parts.append(
            Part(
                f"{trial.model} on {trial.dataset}: some K at chance at the budget",
                _unless_yet_to_come(evidence, known, verdict),
                f"lowest at K = {lowest.clients}: {show(lowest.sample(ACCURACY))}",
                f"at most {limit:.3f} (chance {trial.chance:.3f})",
                truths,
            )
        )
    return all_of(part.verdict for part in parts), parts


def _unless_yet_to_come(evidence: Evidence, known: Sequence[int], verdict: Verdict) -> Verdict:
    """What was not seen may still come: at a K that is missing, or beyond the largest one here,
    where that is not the paper's.
    """
    complete = max(known) >= claims.FAILS_AT and not evidence.missing(known, 1)
    return verdict if complete or verdict == "holds" else "not run"


def _any_falls(trials: Sequence[TrackedTrial]) -> bool | None:
    """Is one of them at chance at the budget? None unless K = 1 is known to be above it."""
    baseline = trials[0].baseline
    if baseline is None or not baseline.above_chance:
        return None
    return any(_at_chance(trial) for trial in trials)


def _at_chance(trial: TrackedTrial) -> bool:
    accuracy = trial.accuracy
    return accuracy is not None and not clearly_above_chance(accuracy, trial.chance, trial.num_test)


def fails_on_yelp(evidence: Evidence) -> Checked:
    """C6: where DistilBERT stops reaching its target on Yelp."""
    part = _fails(evidence, "yelp", claims.YELP_BETWEEN)
    return part.verdict, [part]


def fails_on_imdb(evidence: Evidence) -> Checked:
    """C7: where DistilBERT stops reaching its target on IMDB: at a smaller K than on Yelp."""
    part = _fails(evidence, "imdb", claims.IMDB_BETWEEN)
    model = evidence.model("distilbert")
    if model is None or evidence.is_original(model):
        return part.verdict, [part]
    here, there = _first_failures(evidence, "imdb"), _first_failures(evidence, "yelp")
    truths = {seed: here[seed].before(there[seed]) for seed in sorted(here.keys() & there.keys())}
    shown = "; ".join(f"seed {s}: {here[s]} against {there[s]}" for s in truths)
    earlier = Part(
        "that K is smaller on IMDB than on Yelp",
        where_open(decide_truths(truths), None in truths.values()),
        shown or "one of the two is missing",
        "smaller",
        truths,
    )
    parts = [part, earlier]
    return all_of(p.verdict for p in parts), parts


def _fails(evidence: Evidence, place: str, between: tuple[int, int]) -> Part:
    model, dataset = evidence.model("distilbert"), evidence.dataset(place)
    cells = {cell.clients: cell for cell in evidence.cells(model, dataset)}
    if model is None or not cells:
        return absent("distilbert", place)
    shown = ", ".join(f"K = {k}: {c.median_text()}" for k, c in cells.items() if c.reaches)
    truths: dict[int, bool | None]
    if evidence.is_original(model):
        below, at = (cells[k].reaches if k in cells else {} for k in between)
        what = f"{model} on {dataset}: reaches the target at {between[0]}, not at {between[1]}"
        truths = {
            seed: below[seed].rounds is not None and at[seed].rounds is None
            for seed in sorted(below.keys() & at.keys())
        }
    else:
        what = f"{model} on {dataset}: some K ≤ 32 at which it fails and the others reach"
        truths = {seed: k.exists for seed, k in _first_failures(evidence, place).items()}
    return Part(
        what,
        where_open(decide_truths(truths), None in truths.values()),
        f"medians {shown}" if truths else "not known for any seed",
        "",
        truths,
    )


class _First(NamedTuple):
    """The smallest K at which DistilBERT alone misses its target (inf: none).

    It was seen at ``seen``; trials that are missing could still bring it down to ``lowest``.
    """

    seen: float
    lowest: float

    @property
    def exists(self) -> bool | None:
        if self.seen < math.inf:
            return True
        return None if self.lowest < math.inf else False

    def before(self, other: _First) -> bool | None:
        if self.seen < other.lowest:
            return True
        return False if self.lowest >= other.seen else None

    def __str__(self) -> str:
        if self.exists is None:
            return "not known"
        return f"K = {self.seen:g}" if self.exists else "none"


def _first_failures(evidence: Evidence, place: str) -> dict[int, _First]:
    """By seed, the smallest K up to 32 at which DistilBERT misses its target, and no other does."""
    dataset = evidence.dataset(place)
    rows = [
        {cell.clients: cell.reaches for cell in evidence.cells(evidence.model(role), dataset)}
        for role in ("distilbert", *OTHERS)
    ]
    clients = [k for k in evidence.missing((), 1) if k <= claims.FAILS_AT]
    if claims.FAILS_AT not in clients:  # what is not seen as far as this goes may come there
        clients.append(claims.FAILS_AT)
    first = {}
    for seed in sorted({seed for reaches in rows[0].values() for seed in reaches}):
        alone = {k: _misses_alone([row.get(k, {}).get(seed) for row in rows]) for k in clients}
        seen = min((k for k, truth in alone.items() if truth), default=math.inf)
        may = min((k for k, truth in alone.items() if truth is not False), default=math.inf)
        first[seed] = _First(seen, may)
    return first


def _misses_alone(reaches: Sequence[Reach | None]) -> bool | None:
    """Is the first target missed, and every other one met? None stands for what is not known."""
    own, *others = reaches
    if own is not None and own.rounds is not None:
        return False
    if any(other is not None and other.rounds is None for other in others):
        return False
    return None if None in reaches else True


def plateaus(evidence: Evidence) -> Checked:
    """C8: how long DistilBERT stays at chance at the largest K."""
    parts = [_plateau(evidence, place) for place in ("imdb", "ag-news")]
    return all_of(part.verdict for part in parts), parts


def _plateau(evidence: Evidence, place: str) -> Part:
    model, dataset = evidence.model("distilbert"), evidence.dataset(place)
    largest = max(evidence.grid.clients, default=1)
    cell = evidence.cell(model, dataset, largest) if largest > 1 else None
    if cell is None:
        return absent("distilbert", place)
    ended = {seed: trial for seed, trial in sorted(cell.trials.items()) if trial.ended}
    stretches = {seed: stretch_at_chance(trial) for seed, trial in ended.items()}
    whole = place == "imdb"
    truths: dict[int, bool | None] = {
        seed: share == 1 if whole else claims.PART_OF_RUN <= share < 1 and escapes
        for seed, (share, escapes) in stretches.items()
    }
    shown = ", ".join(f"{share:.0%}" for share, _ in stretches.values())
    verdict = decide_truths(truths)
    if largest < claims.FAILS_AT and verdict != "holds":  # it may come at the paper's largest K
        verdict = "not run"
    return Part(
        f"{cell.series.label} on {cell.series.dataset}, K = {largest}: longest stretch at chance",
        verdict,
        f"{shown} of the rounds" if shown else "no trial has ended",
        "the whole run" if whole else f"{claims.PART_OF_RUN:.0%} to below 100 %, then above",
        {seed: share for seed, (share, _) in stretches.items()},
    )
