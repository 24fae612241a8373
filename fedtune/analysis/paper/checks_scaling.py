"""The checks of claims about every model, or about BERT and ALBERT: C1, C4, C5, C9, C10, C12."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fedtune.analysis import numbers
from fedtune.analysis.cell import Cell
from fedtune.analysis.inference import p_trend
from fedtune.analysis.paper import claims
from fedtune.analysis.paper.evidence import (
    OTHERS,
    Evidence,
    absent,
    gradual_decline,
    show,
    unknown_for,
)
from fedtune.analysis.paper.rounds import Rounds
from fedtune.analysis.paper.testable import Due, failure_is_due, loss_is_due, rise_is_due
from fedtune.analysis.paper.verdicts import (
    NOT_RUN,
    Answer,
    Checked,
    Part,
    above,
    alike,
    all_of,
    most_of,
    mostly,
    together,
)
from fedtune.analysis.quantities import AREA, RETENTION
from fedtune.analysis.samples import Sample, combine


def gradual(evidence: Evidence) -> Checked:
    """C1: retention of BERT and ALBERT, on every data set of the sweep."""
    parts: list[Part] = []
    for role in OTHERS:
        for dataset in evidence.grid.datasets:
            cells = evidence.cells(evidence.model(role), dataset)
            if cells:
                parts += gradual_decline(evidence, cells, RETENTION)
            else:
                parts.append(absent(role, dataset))
    return together(parts)


def gradual_on_yelp(evidence: Evidence) -> Checked:
    """C9: the area under BERT's curve on Yelp."""
    cells = evidence.cells(evidence.model("bert"), evidence.dataset("yelp"))
    if not cells:
        return together([absent("bert", "yelp")])
    return together(gradual_decline(evidence, cells, AREA))


def more_rounds(evidence: Evidence) -> Checked:
    """C4: rounds to target with more clients, for every model of the paper."""
    parts: list[Part] = []
    for role in (*OTHERS, "distilbert"):
        for dataset in evidence.grid.datasets:
            cells = evidence.cells(evidence.model(role), dataset)
            parts.append(_rounds_rise(evidence, cells) if cells else absent(role, dataset))
    return together(parts)


def _rounds_rise(evidence: Evidence, cells: Sequence[Cell]) -> Part:
    what = f"{cells[0].series.label} on {cells[0].series.dataset}: rounds to target rise with K"
    known = [cell for cell in cells if evidence.rounds(cell)]
    found = [evidence.rounds(cell) for cell in known]
    if len(found) < 3:
        few = "rounds to target are known for fewer than three numbers of clients"
        return Part(what, NOT_RUN, few)
    seeds = sorted(set.intersection(*(set(rounds) for rounds in found)))
    rows = {seed: [rounds[seed] for rounds in found] for seed in seeds}
    slope = _slope([cell.clients for cell in known], rows)
    due = rise_is_due(evidence, known)
    missing = evidence.missing([cell.clients for cell in known])
    answer = _trend(slope, rows, due.truth).unless_missing(missing)
    least = f"{2**claims.RISE - 1:.0%}"
    told = slope.shown(lambda value: f"{2**value:.2f}") if slope.values else "–"
    same = alike(slope, claims.RISE, f"±{least}") if due.truth and not _censored(rows) else ""
    return Part(
        what,
        answer,
        f"{evidence.medians(known)}; times {told} with each doubling{same}{due.why}"
        + unknown_for(missing),
        f"a rising trend, by more than {least} a doubling",
        {seed: [str(rounds) for rounds in row] for seed, row in rows.items()},
    )


def _slope(clients: Sequence[int], rows: Mapping[int, Sequence[Rounds]]) -> Sample:
    """By seed, how much log2 of the rounds, counted up to the cap, rises with a doubling of K."""
    weights = numbers.slope_weights([math.log2(k) for k in clients])
    slopes = {
        seed: sum(weight * rounds.log for weight, rounds in zip(weights, row, strict=True))
        for seed, row in rows.items()
    }
    rounding = [
        sum(weight**2 * rounds.rounding for weight, rounds in zip(weights, row, strict=True))
        for row in rows.values()
    ]
    return Sample(slopes, math.sqrt(sum(rounding)) / max(len(rows), 1))


def _trend(slope: Sample, rows: Mapping[int, Sequence[Rounds]], due: bool) -> Answer:
    """Rising where both the order shows it and the slope is beyond its margin. Not rising where
    the order is the other way round; or where a rise is due, by steps alone, and the slope is too
    small.
    """
    if len(rows) < 2:
        return Answer(otherwise="inconclusive" if rows else "not run")
    order = [[rounds.least for rounds in row] for row in rows.values()]
    rise = max(p_trend(order), slope.estimate.p_above(claims.RISE))
    fall = p_trend([row[::-1] for row in order])
    if not due:
        return Answer(rise, fall, "not testable")
    return Answer(
        rise,
        fall if _censored(rows) else min(1.0, 2 * min(fall, slope.estimate.p_below(claims.RISE))),
    )


def _censored(rows: Mapping[int, Sequence[Rounds]]) -> bool:
    """Is a target missed, by some K? It may take any number of rounds there, so that the slope of
    the rounds up to the cap is too small.
    """
    return not all(rounds.reached for row in rows.values() for rounds in row)


def mostly_reach(evidence: Evidence) -> Checked:
    """C5: which of BERT's and ALBERT's trials reach their target."""
    until, last = claims.REACHES_UNTIL, claims.FAILS_AT
    spanned = evidence.grid.clients
    # Without the larger K below 32 the share says nothing about "until 32 clients".
    few = [k for k in spanned if 1 < k <= until] if until in spanned else []
    pairs = [(role, dataset) for role in OTHERS for dataset in evidence.grid.datasets]
    rows = [evidence.cells(evidence.model(role), dataset) for role, dataset in pairs]
    dues = [failure_is_due(evidence, cells) for cells in rows if cells]
    testable = any(due.truth for due in dues)
    parts = [_most(evidence, rows, few), _some_not(evidence, rows, last)]
    if testable:
        return together(parts)
    # That all reach what none can miss is as little evidence as that none misses it.
    most, some = (part.answer for part in parts)
    if most.verdict != "not run":
        most = Answer(otherwise="not testable")
    if some.verdict != "not run":
        some = some.not_denied("not testable", seen=some.p_yes < some.p_no)
    whys = sorted({due.why for due in dues if due.why})
    told = whys[0] if len(whys) == 1 else "; by steps alone none is known to miss it"
    return together(
        [
            Part(part.what, answer, part.numbers + told, part.threshold, part.per_seed)
            for part, answer in zip(parts, (most, some), strict=True)
        ]
    )


def _most(evidence: Evidence, rows: Sequence[Sequence[Cell]], clients: Sequence[int]) -> Part:
    """In how many seeds do, for most models and data sets, more than half of these K reach?

    Models and data sets of one seed are no answers by themselves: what a model does on a data set
    it does in every seed, or in none.
    """
    truths: dict[int, list[bool | None]] = {}
    met: dict[int, list[bool]] = {}
    missing = len(clients) == 0
    for cells in rows:
        found = {cell.clients: evidence.rounds(cell) for cell in cells}
        for seed in evidence.grid.seeds if clients else ():
            seen = [found.get(k, {}).get(seed) for k in clients]
            reached = [each.reached if each is not None else None for each in seen]
            missing |= None in seen
            truths.setdefault(seed, []).append(_more_than_half(reached))
            met.setdefault(seed, []).extend(truth for truth in reached if truth is not None)
    return Part(
        f"most reach the target at 1 < K ≤ {claims.REACHES_UNTIL}",
        mostly([_more_than_half(found) for found in truths.values()]).where_open(missing),
        _counted(met),
        "more than half of these K, for most models and data sets, in most seeds",
        {seed: f"{sum(found)} of {len(found)}" for seed, found in sorted(met.items())},
    )


def _more_than_half(reached: Sequence[bool | None]) -> bool | None:
    yes, no = reached.count(True), reached.count(False)
    if 2 * yes > len(reached):
        return True
    return False if 2 * no >= len(reached) else None


def _some_not(evidence: Evidence, rows: Sequence[Sequence[Cell]], clients: int) -> Part:
    """Is there, in most seeds, one among these models and data sets that misses its target?"""
    met: dict[int, list[bool | None]] = {seed: [] for seed in evidence.grid.seeds}
    missing = False
    for cells in rows:
        cell = next((cell for cell in cells if cell.clients == clients), None)
        found = evidence.rounds(cell) if cell is not None else {}
        for seed, seen in met.items():
            missing |= seed not in found
            seen.append(found[seed].reached if seed in found else None)
    truths = {
        seed: True if False in seen else (None if None in seen or not seen else False)
        for seed, seen in met.items()
    }
    known = {seed: [truth for truth in seen if truth is not None] for seed, seen in met.items()}
    answer = mostly(truths.values()) if any(known.values()) else NOT_RUN
    return Part(
        f"some do not at K = {clients}",
        answer.where_open(missing),
        _counted(known),
        "at least one, in most seeds",
        {seed: f"{sum(found)} of {len(found)}" for seed, found in known.items() if found},
    )


def _counted(met: Mapping[int, Sequence[bool]]) -> str:
    seen = [truth for found in met.values() for truth in found]
    return f"{sum(seen)} of {len(seen)} trials reach it" if seen else "no such trial"


def scales_well(evidence: Evidence) -> Checked:
    """C10: retention of BERT and ALBERT at 32 clients."""
    by_role = [
        [_kept(evidence, role, dataset) for dataset in evidence.grid.datasets] for role in OTHERS
    ]
    answers = [most_of([part.answer for part in own]) for own in by_role]
    return all_of(answers), [part for own in by_role for part in own]


def _kept(evidence: Evidence, role: str, dataset: str) -> Part:
    cell = evidence.cell(evidence.model(role), dataset, claims.KEPT_AT)
    kept = cell.sample(RETENTION) if cell is not None else Sample({})
    due = loss_is_due(evidence, cell, claims.KEPT) if cell is not None else Due(False, "")
    answer = above(combine([(1.0, kept)]), claims.KEPT)
    if not due.truth:  # that nobody loses what nobody had to lose is no evidence
        answer = answer.opposite.not_denied("not testable", answer.p_no < answer.p_yes).opposite
    return Part(
        f"{evidence.model(role) or role} on {dataset}: retention at K = {claims.KEPT_AT}",
        answer,
        show(kept) + due.why,
        f"over {claims.KEPT}",
        kept.values,
    )


def sizes(evidence: Evidence) -> Checked:
    """C12: parameters and layers, as tracked."""
    parts = [_size(evidence, role, *size) for role, size in claims.SIZES.items()]
    answers = [part.answer for part in parts]
    applies = [answer for answer in answers if answer.otherwise != "not applicable"]
    if len(applies) < len(answers) and all(answer == NOT_RUN for answer in applies):
        return Answer(otherwise="not applicable"), parts
    return all_of(answers), parts


def _size(evidence: Evidence, role: str, millions: int, layers: int) -> Part:
    model = evidence.model(role)
    facts: Mapping[str, float] = next(
        (t.facts for t in evidence.grid.trials if t.model == model and "model/layers" in t.facts),
        {},
    )
    if model is None or "model/parameters" not in facts:
        return absent(role)
    has = facts["model/parameters"] / 1e6, int(facts["model/layers"])
    close = abs(has[0] / millions - 1) <= claims.SIZE_TOLERANCE and has[1] == layers
    read = Answer(p_yes=0.0) if close else Answer(p_no=0.0)  # a fact, without an error
    return Part(
        model,
        read if evidence.is_original(model) else Answer(otherwise="not applicable"),
        f"{has[0]:.3g} M parameters, {has[1]} layers",
        f"{millions} M, {layers} layers",
    )
