"""The checks of claims about how quickly DistilBERT learns beside BERT and ALBERT: C11, C13."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fedtune.analysis import numbers
from fedtune.analysis.cell import Cell
from fedtune.analysis.paper.checks_scaling import Checked
from fedtune.analysis.paper.evidence import (
    OTHERS,
    Evidence,
    absent,
    needs_more,
    no_fewer,
    rounds_at,
    unknown_for,
)
from fedtune.analysis.paper.verdicts import Part, all_of, both, decide_truths, unless_missing

ByClients = Mapping[int, Cell]


def more_rounds_for_the_same(evidence: Evidence) -> Checked:
    """C11: rounds to the lowest of the models' targets, on every data set of the sweep."""
    parts: list[Part] = []
    for dataset in evidence.grid.datasets:
        rows = {r: evidence.cells(evidence.model(r), dataset) for r in ("distilbert", *OTHERS)}
        if not all(rows.values()):
            parts += [absent(role, dataset) for role, cells in rows.items() if not cells]
            continue
        by_role = {role: {cell.clients: cell for cell in cells} for role, cells in rows.items()}
        levels = _common_accuracy(list(by_role.values()))
        own = by_role["distilbert"]
        parts += [_slower(evidence, own, by_role[role], levels) for role in OTHERS]
    return all_of(part.verdict for part in parts), parts


def _slower(
    evidence: Evidence, own: ByClients, other: ByClients, levels: Mapping[int, float]
) -> Part:
    mine, theirs = (next(iter(cells.values())).series for cells in (own, other))
    what = f"{mine.dataset}: {mine.label} needs more rounds than {theirs.label} to one accuracy"
    shared = [k for k in own if k in other]
    seeds = [
        seed
        for seed in levels
        if all(
            seed in cells[k].trials and cells[k].trials[seed].ended
            for cells in (own, other)
            for k in shared
        )
    ]
    if not seeds or not shared:
        return Part(what, "not run", "no seed with all trials of both to their end")
    truths: dict[int, bool | None] = {}
    for seed in seeds:
        alone = len(seeds) == 1
        pairs = [
            ((own[k].trials[seed], levels[seed]), (other[k].trials[seed], levels[seed]))
            for k in shared
        ]
        never_less = [no_fewer(slow, quick, alone) for slow, quick in pairs]
        strictly = any(needs_more(slow, quick, alone) for slow, quick in pairs)
        truths[seed] = both(*never_less, True if strictly else None)
    shown = "; ".join(
        f"K = {k}: {_median(own[k], levels, seeds)} against {_median(other[k], levels, seeds)}"
        for k in shared
    )
    missing = evidence.missing(shared)
    return Part(
        what,
        unless_missing(decide_truths(truths), missing),
        f"medians {shown}{unknown_for(missing)}",
        "accuracy " + ", ".join(f"{levels[seed]:.3f}" for seed in seeds),
        truths,
    )


def _common_accuracy(rows: Sequence[ByClients]) -> dict[int, float]:
    """By seed, the lowest of the targets that the models' baselines set."""
    targets: dict[int, list[float]] = {}
    for cells in rows:
        for seed, trial in (cells[1].trials if 1 in cells else {}).items():
            if trial.summary is not None and trial.summary.target_accuracy is not None:
                targets.setdefault(seed, []).append(trial.summary.target_accuracy)
    return {s: min(found) for s, found in sorted(targets.items()) if len(found) == len(rows)}


def _median(cell: Cell, levels: Mapping[int, float], seeds: Sequence[int]) -> str:
    middle = numbers.median(rounds_at(cell.trials[seed], levels[seed]) for seed in seeds)
    cap = max(trial.rule.last for trial in cell.trials.values())
    return f"> {cap}" if middle == math.inf else f"{middle:g}"


def slower_alone(evidence: Evidence) -> Checked:
    """C13: sequential steps to the own target at K = 1, on every data set of the sweep."""
    parts: list[Part] = []
    for dataset in evidence.grid.datasets:
        own = evidence.cell(evidence.model("distilbert"), dataset, 1)
        if own is None:
            parts.append(absent("distilbert", dataset))
            continue
        for role in OTHERS:
            other = evidence.cell(evidence.model(role), dataset, 1)
            parts.append(absent(role, dataset) if other is None else _more_steps(own, other))
    return all_of(part.verdict for part in parts), parts


def _more_steps(own: Cell, other: Cell) -> Part:
    seeds = sorted(own.reaches.keys() & other.reaches.keys())
    truths: dict[int, bool | None] = {}
    steps: dict[int, list[float]] = {}
    for seed in seeds:
        slow, quick = ((cell.trials[seed], cell.trials[seed].target) for cell in (own, other))
        truths[seed] = needs_more(slow, quick, len(seeds) == 1, lambda t: t.steps_per_round)
        steps[seed] = [rounds_at(t, goal) * t.steps_per_round for t, goal in (slow, quick)]
    shown = "; ".join(f"seed {s}: {a:,.0f} against {b:,.0f}" for s, (a, b) in steps.items())
    return Part(
        f"{own.series.dataset}: {own.series.label} takes more sequential steps to its target at "
        f"K = 1 than {other.series.label}",
        decide_truths(truths),
        shown or "no baseline with a target",
        "more",
        steps,
    )
