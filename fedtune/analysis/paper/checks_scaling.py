"""The checks of claims about every model, or about BERT and ALBERT: C1, C4, C5, C9, C10, C12."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from fedtune.analysis import numbers
from fedtune.analysis.cell import Cell
from fedtune.analysis.paper import claims
from fedtune.analysis.paper.evidence import (
    OTHERS,
    Evidence,
    absent,
    gradual_decline,
    needs_more,
    no_fewer,
    show,
    unknown_for,
)
from fedtune.analysis.paper.verdicts import (
    Part,
    Verdict,
    all_of,
    both,
    decide,
    decide_truths,
    most_of,
    unless_missing,
    where_open,
)
from fedtune.analysis.quantities import AREA, RETENTION
from fedtune.analysis.samples import Sample, combine
from fedtune.analysis.tracked import TrackedTrial

Checked = tuple[Verdict, Sequence[Part]]


def gradual(evidence: Evidence) -> Checked:
    """C1: retention of BERT and ALBERT, on every data set of the sweep."""
    parts: list[Part] = []
    for role in OTHERS:
        for dataset in evidence.grid.datasets:
            cells = evidence.cells(evidence.model(role), dataset)
            if cells:
                parts += gradual_decline(evidence, cells, RETENTION, claims.DOUBLING_LOSS)
            else:
                parts.append(absent(role, dataset))
    return all_of(part.verdict for part in parts), parts


def gradual_on_yelp(evidence: Evidence) -> Checked:
    """C9: the area under BERT's curve on Yelp."""
    cells = evidence.cells(evidence.model("bert"), evidence.dataset("yelp"))
    if not cells:
        return "not run", [absent("bert", "yelp")]
    parts = gradual_decline(evidence, cells, AREA, claims.DOUBLING_LOSS)
    return all_of(part.verdict for part in parts), parts


def more_rounds(evidence: Evidence) -> Checked:
    """C4: rounds to target with more clients, for every model of the paper."""
    parts: list[Part] = []
    for role in (*OTHERS, "distilbert"):
        for dataset in evidence.grid.datasets:
            cells = evidence.cells(evidence.model(role), dataset)
            parts.append(_rounds_rise(evidence, cells) if cells else absent(role, dataset))
    return all_of(part.verdict for part in parts), parts


def _rounds_rise(evidence: Evidence, cells: Sequence[Cell]) -> Part:
    what = f"{cells[0].series.label} on {cells[0].series.dataset}: rounds to target rise with K"
    known = [cell for cell in cells if cell.reaches]
    if len(known) < 2:
        return Part(
            what, "not run", "rounds to target are known for fewer than two numbers of clients"
        )
    seeds = sorted(set.intersection(*(set(cell.reaches) for cell in known)))
    truths = {
        seed: _rises([cell.trials[seed] for cell in known], len(seeds) == 1) for seed in seeds
    }
    shown = ", ".join(f"K = {cell.clients}: {cell.median_text()}" for cell in known)
    missing = evidence.missing([cell.clients for cell in known])
    return Part(
        what,
        unless_missing(decide_truths(truths), missing),
        f"medians {shown}{unknown_for(missing)}",
        "never falls, and rises from the smallest to the largest K",
        {seed: [str(cell.reaches[seed]) for cell in known] for seed in seeds},
    )


def _rises(trials: Sequence[TrackedTrial], alone: bool) -> bool | None:
    """Do the rounds to target of one seed's trials, ordered by K, never fall, and rise in all?"""
    aimed = [(trial, trial.target) for trial in trials]
    never_falls = [no_fewer(many, few, alone) for few, many in itertools.pairwise(aimed)]
    rise = needs_more(aimed[-1], aimed[0], alone)
    if rise is None and not alone:
        rise = False  # equally many are no rise
    return both(*never_falls, rise)


def mostly_reach(evidence: Evidence) -> Checked:
    """C5: which of BERT's and ALBERT's trials reach their target."""
    until, last = claims.REACHES_UNTIL, claims.FAILS_AT
    spanned = evidence.grid.clients
    # Without the larger K below 32 the share says nothing about "until 32 clients".
    few = [k for k in spanned if 1 < k <= until] if until in spanned else []
    parts = [
        _met(evidence, few, f"most reach the target at 1 < K ≤ {until}", "more than half", _most),
        _met(
            evidence,
            [last] if last in spanned else [],
            f"some do not at K = {last}",
            "at least one",
            _some_not,
        ),
    ]
    return all_of(part.verdict for part in parts), parts


def _most(met: Sequence[bool], still_open: int) -> bool | None:
    count = len(met) + still_open
    if 2 * sum(met) > count:
        return True
    return False if 2 * (sum(met) + still_open) <= count else None


def _some_not(met: Sequence[bool], still_open: int) -> bool | None:
    if not all(met):
        return True
    return None if still_open else False


def _met(
    evidence: Evidence,
    clients: Sequence[int],
    what: str,
    threshold: str,
    answer: Callable[[Sequence[bool], int], bool | None],
) -> Part:
    """A part on which of the trials with these K reach: by seed, with how many are still open."""
    wanted = [
        (evidence.model(role), dataset, k)
        for role in OTHERS
        for dataset in evidence.grid.datasets
        for k in clients
    ]
    cells = [cell for place in wanted if (cell := evidence.cell(*place)) is not None]
    met: dict[int, list[bool]] = {}
    settled: dict[int, int] = {}
    for cell in cells:
        for seed, trial in cell.trials.items():
            if trial.reach is not None:
                met.setdefault(seed, []).append(trial.reach.rounds is not None)
            settled[seed] = settled.get(seed, 0) + (trial.ended or trial.reach is not None)
    truths = {seed: answer(found, len(wanted) - settled[seed]) for seed, found in met.items()}
    seen = [truth for found in met.values() for truth in found]
    missing = sum(len(wanted) - settled[seed] for seed in met)
    shown = f"{sum(seen)} of {len(seen)} trials reach it" if seen else "no such trial"
    return Part(
        what,
        where_open(decide_truths(truths), missing > 0),
        shown + (f"; {missing} not known" if missing else ""),
        threshold,
        {seed: f"{sum(found)} of {len(found)}" for seed, found in sorted(met.items())},
    )


def scales_well(evidence: Evidence) -> Checked:
    """C10: retention of BERT and ALBERT at 32 clients, and what memory that takes."""
    parts: list[Part] = []
    verdicts: list[Verdict] = []
    places = [(role, dataset) for role in OTHERS for dataset in evidence.grid.datasets]
    for role in OTHERS:
        own = [_kept(evidence, role, dataset) for dataset in evidence.grid.datasets]
        verdicts.append(most_of([part.verdict for part in own]))
        parts += own
    memory = [part for place in places if (part := _memory(evidence, *place)) is not None]
    verdicts += [part.verdict for part in memory]
    if not memory:
        told = "not tracked here, and so no part of the verdict"
        memory = [Part("peak memory does not grow with K", "not run", told)]
    return all_of(verdicts), parts + memory


def _kept(evidence: Evidence, role: str, dataset: str) -> Part:
    cell = evidence.cell(evidence.model(role), dataset, claims.KEPT_AT)
    kept = cell.sample(RETENTION) if cell is not None else Sample({})
    return Part(
        f"{evidence.model(role) or role} on {dataset}: retention at K = {claims.KEPT_AT}",
        decide(combine([(1.0, kept)], -claims.KEPT)),
        show(kept),
        f"over {claims.KEPT}",
        kept.values,
    )


def _memory(evidence: Evidence, role: str, dataset: str) -> Part | None:
    """Peak memory at 32 clients over that at K = 1, paired by seed; None where it is not known."""
    cells = [evidence.cell(evidence.model(role), dataset, k) for k in (1, claims.KEPT_AT)]
    one, many = (cell.values(_peak) if cell is not None else {} for cell in cells)
    growth = {seed: many[seed] / one[seed] - 1 for seed in sorted(one.keys() & many.keys())}
    if not growth:
        return None
    middle = [numbers.mean(peaks[seed] for seed in growth) for peaks in (one, many)]
    return Part(
        f"{evidence.model(role)} on {dataset}: peak memory does not grow with K",
        decide(combine([(-1.0, Sample(growth))], claims.MEMORY_GROWTH)),
        f"{middle[0]:,.0f} MB at K = 1, {middle[1]:,.0f} MB at K = {claims.KEPT_AT}",
        f"at most {claims.MEMORY_GROWTH:.0%} more",
        growth,
    )


def _peak(trial: TrackedTrial) -> float | None:
    return trial.peak_memory_mb


def sizes(evidence: Evidence) -> Checked:
    """C12: parameters and layers, as tracked."""
    parts = [_size(evidence, role, *size) for role, size in claims.SIZES.items()]
    verdicts = [part.verdict for part in parts]
    if "not applicable" in verdicts and not {"holds", "does not hold"} & set(verdicts):
        return "not applicable", parts
    return all_of(verdicts), parts


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
    verdict: Verdict = "holds" if close else "does not hold"
    if not evidence.is_original(model):
        verdict = "not applicable"
    return Part(
        model,
        verdict,
        f"{has[0]:.3g} M parameters, {has[1]} layers",
        f"{millions} M, {layers} layers",
    )
