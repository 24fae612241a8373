"""The checks of claims about every model, or about BERT and ALBERT: C1, C4, C5, C9, C10, C12."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from fedtune.analysis import claims, numbers
from fedtune.analysis.evidence import (
    Evidence,
    absent,
    area,
    area_error,
    gradual_decline,
    needs_more,
    retention_error,
    show,
)
from fedtune.analysis.grid import TITLES, Cell
from fedtune.analysis.tracked import TrackedTrial
from fedtune.analysis.verdicts import (
    Part,
    Verdict,
    all_of,
    both,
    decide,
    decide_truths,
    most_of,
    unless_missing,
)

Checked = tuple[Verdict, Sequence[Part]]


def gradual(evidence: Evidence) -> Checked:
    """C1: retention of BERT and ALBERT."""
    parts: list[Part] = []
    for role in ("bert", "albert"):
        found = False
        for dataset in evidence.grid.datasets:
            cells = evidence.cells(evidence.model(role), dataset)
            if cells:
                found = True
                parts += gradual_decline(
                    evidence,
                    cells,
                    "retention",
                    lambda trial: trial.retention,
                    retention_error,
                    claims.DOUBLING_LOSS,
                )
        if not found:
            parts.append(absent(role))
    return all_of(part.verdict for part in parts), parts


def gradual_on_yelp(evidence: Evidence) -> Checked:
    """C9: the area under BERT's curve on Yelp."""
    cells = evidence.cells(evidence.model("bert"), evidence.dataset("yelp"))
    if not cells:
        return "not run", [absent("bert", "yelp")]
    parts = gradual_decline(
        evidence, cells, "area under the curve", area, area_error, claims.DOUBLING_LOSS
    )
    return all_of(part.verdict for part in parts), parts


def more_rounds(evidence: Evidence) -> Checked:
    """C4: rounds to target with more clients, for every model of the paper in the sweep."""
    parts: list[Part] = []
    for role in ("bert", "albert", "distilbert"):
        model = evidence.model(role)
        rows = [evidence.cells(model, dataset) for dataset in evidence.grid.datasets]
        if not any(rows):
            parts.append(absent(role))
        parts += [_rounds_rise(cells, evidence.grid.clients) for cells in rows if cells]
    return all_of(part.verdict for part in parts), parts


def _rounds_rise(cells: Sequence[Cell], clients: Sequence[int]) -> Part:
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
    missing = [k for k in clients if k not in {cell.clients for cell in known}]
    shown += f"; unknown for K = {', '.join(map(str, missing))}" if missing else ""
    return Part(
        what,
        unless_missing(decide_truths(truths), missing),
        f"medians {shown}",
        "never falls, and rises from the smallest to the largest K",
        {str(seed): [str(cell.reaches[seed]) for cell in known] for seed in seeds},
    )


def _rises(trials: Sequence[TrackedTrial], alone: bool) -> bool | None:
    """Do the rounds to target of one seed's trials, ordered by K, never fall, and rise in all?"""
    aimed = [(trial, trial.target) for trial in trials]
    never_falls: list[bool | None] = []
    for few, many in itertools.pairwise(aimed):
        if needs_more(few, many, alone):
            never_falls.append(False)
        else:  # with one seed, a fall that the test set's noise could have made decides nothing
            never_falls.append(None if needs_more(few, many, False) else True)
    rise = needs_more(aimed[-1], aimed[0], alone)
    if rise is None and not alone:
        rise = False  # equally many are no rise
    return both(*never_falls, rise)


def mostly_reach(evidence: Evidence) -> Checked:
    """C5: which of BERT's and ALBERT's trials reach their target."""
    models = {role: evidence.model(role) for role in ("bert", "albert")}
    missing = [absent(role) for role, model in models.items() if model is None]
    below: dict[int, list[bool]] = {}
    at_last: dict[int, list[bool]] = {}
    cells = [
        cell
        for model in models.values()
        for dataset in evidence.grid.datasets
        for cell in evidence.cells(model, dataset)
    ]
    for cell in cells:
        for seed, reach in cell.reaches.items():
            if 1 < cell.clients <= claims.REACHES_UNTIL:
                below.setdefault(seed, []).append(reach.rounds is not None)
            elif cell.clients == claims.FAILS_AT:
                at_last.setdefault(seed, []).append(reach.rounds is not None)
    # Without the larger K below 32 the share says nothing about "until 32 clients".
    complete = any(cell.clients == claims.REACHES_UNTIL for cell in cells)
    below = below if complete else {}
    parts = [
        Part(
            f"most reach the target at 1 < K ≤ {claims.REACHES_UNTIL}",
            decide_truths({seed: 2 * sum(met) > len(met) for seed, met in below.items()}),
            _counts(below) or f"not all K up to {claims.REACHES_UNTIL}",
            "more than half",
            {str(seed): f"{sum(met)} of {len(met)}" for seed, met in sorted(below.items())},
        ),
        Part(
            f"some do not at K = {claims.FAILS_AT}",
            decide_truths({seed: not all(met) for seed, met in at_last.items()}),
            _counts(at_last) or f"no trial with K = {claims.FAILS_AT}",
            "at least one",
            {str(seed): f"{sum(met)} of {len(met)}" for seed, met in sorted(at_last.items())},
        ),
        *missing,
    ]
    return all_of(part.verdict for part in parts), parts


def _counts(met: Mapping[int, Sequence[bool]]) -> str:
    seen = [truth for truths in met.values() for truth in truths]
    return f"{sum(seen)} of {len(seen)} trials reach it" if seen else ""


def scales_well(evidence: Evidence) -> Checked:
    """C10: retention of BERT and ALBERT at 32 clients."""
    parts: list[Part] = []
    by_model: list[Verdict] = []
    for role in ("bert", "albert"):
        model = evidence.model(role)
        own = [
            _kept(cell)
            for dataset in evidence.grid.datasets
            if (cell := evidence.cell(model, dataset, claims.KEPT_AT)) is not None
        ]
        if not own:
            reason = "not in this sweep" if model is None else f"no trial with K = {claims.KEPT_AT}"
            own = [Part(TITLES[role], "not run", reason)]
        by_model.append(most_of([part.verdict for part in own]))
        parts += own
    return all_of(by_model), parts


def _kept(cell: Cell) -> Part:
    kept = cell.retentions
    errors = [retention_error(cell.trials[seed]) for seed in kept]
    return Part(
        f"{cell.series.label} on {cell.series.dataset}: retention at K = {cell.clients}",
        decide({s: value - claims.KEPT for s, value in kept.items()}, numbers.mean(errors or [0])),
        show(kept),
        f"over {claims.KEPT}",
        {str(seed): value for seed, value in kept.items()},
    )


def sizes(evidence: Evidence) -> Checked:
    """C12: parameters and layers, as tracked."""
    parts = []
    for role, (millions, layers) in claims.SIZES.items():
        model = evidence.model(role)
        trials = [t for t in evidence.grid.trials if t.model == model and "model/layers" in t.facts]
        if not trials or "model/parameters" not in trials[0].facts:
            parts.append(absent(role))
            continue
        has = trials[0].facts["model/parameters"] / 1e6, int(trials[0].facts["model/layers"])
        close = abs(has[0] / millions - 1) <= claims.SIZE_TOLERANCE and has[1] == layers
        verdict: Verdict = "holds" if close else "does not hold"
        if not evidence.is_original(str(model)):
            verdict = "not applicable"
        parts.append(
            Part(
                str(model),
                verdict,
                f"{has[0]:.3g} M parameters, {has[1]} layers",
                f"{millions} M, {layers} layers",
            )
        )
    verdicts = [part.verdict for part in parts]
    if "not applicable" in verdicts and not {"holds", "does not hold"} & set(verdicts):
        return "not applicable", parts
    return all_of(verdicts), parts
