"""The checks of claims about DistilBERT beside BERT and ALBERT: C2, C3, C6, C7, C8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fedtune.analysis.paper import claims
from fedtune.analysis.paper.evidence import (
    OTHERS,
    Evidence,
    absent,
    one_answer,
    show,
    stretch_at_chance,
    unknown_for,
)
from fedtune.analysis.paper.rounds import Rounds
from fedtune.analysis.paper.testable import chance_is_due, failure_is_due
from fedtune.analysis.paper.verdicts import (
    NOT_RUN,
    Checked,
    Part,
    above,
    alike,
    any_of,
    below,
    mostly,
    together,
)
from fedtune.analysis.quantities import ACCURACY, RETENTION
from fedtune.analysis.roles import TITLES
from fedtune.analysis.samples import Sample, combine, difference


def steeper(evidence: Evidence) -> Checked:
    """C2: retention past 4 clients, on the paper's three data sets."""
    places = ("ag-news", "imdb", "yelp")
    return together([_lower(evidence, role, place) for place in places for role in OTHERS])


def _lower(evidence: Evidence, role: str, place: str) -> Part:
    beyond, margin = claims.STEEP_BEYOND, claims.STEEPER_BY
    what = (
        f"{TITLES[place]}: DistilBERT's mean retention over K > {beyond} is below {TITLES[role]}'s"
    )
    rows = [_retentions(evidence, name, place) for name in ("distilbert", role)]
    shared = [k for k in rows[0] if k in rows[1]]
    if not shared:
        return Part(what, NOT_RUN, f"no pair of trials with K > {beyond}")
    means = [combine([(1 / len(shared), row[k]) for k in shared]) for row in rows]
    less = difference(means[1], means[0])
    missing = evidence.missing(shared, beyond)
    if not less.values:
        return Part(what, NOT_RUN, "no seed in common")
    mine, theirs = (mean.only(list(less.values)).mean for mean in means)
    return Part(
        what,
        above(less, margin).unless_missing(missing),
        f"{show(less)} less: {mine:.3f} against {theirs:.3f} (K = {', '.join(map(str, shared))})"
        + alike(less, margin, f"±{margin:.2f}")
        + unknown_for(missing),
        f"more than {margin:.2f} less",
        less.values,
    )


def _retentions(evidence: Evidence, role: str, place: str) -> dict[int, Sample]:
    cells = evidence.cells(evidence.model(role), evidence.dataset(place))
    found = {cell.clients: cell.sample(RETENTION) for cell in cells}
    return {k: s for k, s in found.items() if k > claims.STEEP_BEYOND and s.values}


def falls_to_chance(evidence: Evidence) -> Checked:
    """C3: DistilBERT at the budget, on IMDB and Yelp."""
    return together([_falls_to_chance(evidence, place) for place in ("imdb", "yelp")])


def _falls_to_chance(evidence: Evidence, place: str) -> Part:
    cells = evidence.cells(evidence.model("distilbert"), evidence.dataset(place))
    kept = {c.clients: c.sample(RETENTION) for c in cells if c.clients > 1}
    kept = {clients: sample for clients, sample in kept.items() if sample.values}
    if not kept:
        return absent("distilbert", place)
    answer = any_of(below(sample, claims.AT_CHANCE) for sample in kept.values())
    due = chance_is_due(evidence, cells, lambda trial: trial.rule.budget)
    lowest = min(kept, key=lambda clients: kept[clients].mean)
    if not _seen_to_the_end(evidence, list(kept)):
        answer = answer.not_denied("not run")
    elif not due.truth:
        answer = answer.not_denied("not testable", kept[lowest].mean <= claims.AT_CHANCE)
    cell = next(cell for cell in cells if cell.clients == lowest)
    chance = next(iter(cell.trials.values())).chance
    accuracy = cell.sample(ACCURACY)
    told = f"accuracy {accuracy.mean:.3f}" if accuracy.values else "diverged"
    return Part(
        f"{cell.series.label} on {cell.series.dataset}: some K at chance at the budget",
        answer,
        f"lowest retention at K = {lowest}: {show(kept[lowest])} ({told}, chance {chance:.3f})"
        f"{one_answer(cell)}{due.why}",
        f"retention of at most {claims.AT_CHANCE:.2f}",
        kept[lowest].values,
    )


def _seen_to_the_end(evidence: Evidence, known: Sequence[int]) -> bool:
    """What was not seen may still come: at a K that is missing, or beyond the largest one here,
    where that is not the paper's.
    """
    return max(known) >= claims.FAILS_AT and not evidence.missing(known, 1)


def fails_on_yelp(evidence: Evidence) -> Checked:
    """C6: where DistilBERT stops reaching its target on Yelp."""
    return together([_fails(evidence, "yelp", claims.YELP_BETWEEN)])


def fails_on_imdb(evidence: Evidence) -> Checked:
    """C7: where DistilBERT stops reaching its target on IMDB: at a smaller K than on Yelp."""
    part = _fails(evidence, "imdb", claims.IMDB_BETWEEN)
    model = evidence.model("distilbert")
    if model is None or evidence.is_original(model):
        return together([part])
    here, there = _first_failures(evidence, "imdb"), _first_failures(evidence, "yelp")
    truths = {seed: here[seed].before(there[seed]) for seed in sorted(here.keys() & there.keys())}
    shown = "; ".join(f"seed {s}: {here[s]} against {there[s]}" for s in truths)
    unfinished = any(_unfinished(evidence, place) for place in ("imdb", "yelp"))
    answer = mostly(truths.values()).where_open(None in truths.values() and unfinished)
    cells = evidence.cells(model, evidence.dataset("imdb"))
    if truths and not failure_is_due(evidence, cells).truth:
        answer = answer.not_denied("not testable", any(truths.values()))
    earlier = Part(
        "that K is smaller on IMDB than on Yelp",
        answer,
        shown or "one of the two is missing",
        "smaller",
        truths,
    )
    return together([part, earlier])


def _fails(evidence: Evidence, place: str, between: tuple[int, int]) -> Part:
    model, dataset = evidence.model("distilbert"), evidence.dataset(place)
    cells = {cell.clients: cell for cell in evidence.cells(model, dataset)}
    if model is None or not cells:
        return absent("distilbert", place)
    truths: dict[int, bool | None]
    if evidence.is_original(model):
        few, many = (evidence.rounds(cells[k]) if k in cells else {} for k in between)
        what = f"{model} on {dataset}: reaches the target at {between[0]}, not at {between[1]}"
        truths = {
            seed: both(few[seed].reached, misses(many[seed].reached))
            for seed in sorted(few.keys() & many.keys())
        }
    else:
        what = f"{model} on {dataset}: some K ≤ 32 at which it fails and the others reach"
        truths = {seed: k.exists for seed, k in _first_failures(evidence, place).items()}
    answer = mostly(truths.values()).where_open(
        None in truths.values() and _unfinished(evidence, place)
    )
    due = failure_is_due(evidence, list(cells.values()))
    if truths and not due.truth:
        answer = answer.not_denied("not testable", any(truths.values()))
    told = f"{evidence.medians(list(cells.values()))}{due.why}"
    return Part(what, answer, told if truths else "not known for any seed", "", truths)


def _unfinished(evidence: Evidence, place: str) -> bool:
    """Is a trial missing, of any of the models, up to the paper's largest K?"""
    dataset, wanted = evidence.dataset(place), [k for k in evidence.grid.clients if k > 1]
    if claims.FAILS_AT not in wanted:
        return True
    for role in ("distilbert", *OTHERS):
        cells = {cell.clients: cell for cell in evidence.cells(evidence.model(role), dataset)}
        found = [cells[k].trials.values() if k in cells else [] for k in wanted]
        if any(len(trials) < len(evidence.grid.seeds) for trials in found):
            return True
        if not all(trial.ended for trials in found for trial in trials):
            return True
    return False


def misses(reached: bool | None) -> bool | None:
    return None if reached is None else not reached


def both(one: bool | None, other: bool | None) -> bool | None:
    """Both of them, where either may be undecided."""
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


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
        {
            cell.clients: evidence.rounds(cell)
            for cell in evidence.cells(evidence.model(role), dataset)
        }
        for role in ("distilbert", *OTHERS)
    ]
    clients = [k for k in evidence.missing((), 1) if k <= claims.FAILS_AT]
    if claims.FAILS_AT not in clients:  # what is not seen as far as this goes may come there
        clients.append(claims.FAILS_AT)
    first = {}
    for seed in sorted({seed for found in rows[0].values() for seed in found}):
        alone = {k: _misses_alone([row.get(k, {}).get(seed) for row in rows]) for k in clients}
        seen = min((k for k, truth in alone.items() if truth), default=math.inf)
        may = min((k for k, truth in alone.items() if truth is not False), default=math.inf)
        first[seed] = _First(seen, may)
    return first


def _misses_alone(rounds: Sequence[Rounds | None]) -> bool | None:
    """Is the first target missed, and every other one met? None stands for what is not known."""
    own, *others = [each.reached if each is not None else None for each in rounds]
    if own or False in others:
        return False
    return None if own is None or None in others else True


def plateaus(evidence: Evidence) -> Checked:
    """C8: how long DistilBERT stays at chance at the largest K."""
    return together([_plateau(evidence, place) for place in ("imdb", "ag-news")])


def _plateau(evidence: Evidence, place: str) -> Part:
    model, dataset = evidence.model("distilbert"), evidence.dataset(place)
    largest = max(evidence.grid.clients, default=1)
    cell = evidence.cell(model, dataset, largest) if largest > 1 else None
    if cell is None:
        return absent("distilbert", place)
    ended = {seed: trial for seed, trial in sorted(cell.trials.items()) if trial.ended}
    known = {seed: stretch_at_chance(trial) for seed, trial in ended.items()}
    stretches = {seed: found for seed, found in known.items() if found is not None}
    whole = place == "imdb"
    truths: dict[int, bool | None] = {
        seed: share == 1 if whole else claims.PART_OF_RUN <= share < 1 and escapes
        for seed, (share, escapes) in stretches.items()
    }
    answer = mostly(truths.values())
    share_of_run = 1.0 if whole else claims.PART_OF_RUN
    due = chance_is_due(evidence, [cell], lambda trial: share_of_run * trial.rule.last)
    if largest < claims.FAILS_AT:  # it may come at the paper's largest K
        answer = answer.not_denied("not run")
    elif truths and not due.truth:
        answer = answer.not_denied("not testable", any(truths.values()))
    shown = ", ".join(f"{share:.0%}" for share, _ in stretches.values())
    return Part(
        f"{cell.series.label} on {cell.series.dataset}, K = {largest}: longest stretch at chance",
        answer,
        f"{shown} of the rounds{one_answer(cell)}{due.why}" if shown else "no trial has ended",
        "the whole run" if whole else f"{claims.PART_OF_RUN:.0%} to below 100 %, then above",
        {seed: share for seed, (share, _) in stretches.items()},
    )
