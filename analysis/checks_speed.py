"""The checks of claims about how quickly DistilBERT learns beside BERT and ALBERT: C11, C13."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fedtune.analysis import numbers
from fedtune.analysis.checks_scaling import Checked
from fedtune.analysis.evidence import Evidence, absent, needs_more, rounds_at
from fedtune.analysis.grid import Cell
from fedtune.analysis.verdicts import Part, all_of, both, decide_truths

OTHERS = ("bert", "albert")


def more_rounds_for_the_same(evidence: Evidence) -> Checked:
    """C11: rounds to the lowest of the models' targets, on every data set of the sweep."""
    parts: list[Part] = []
    for dataset in evidence.grid.datasets:
        rows = {r: evidence.cells(evidence.model(r), dataset) for r in ("distilbert", *OTHERS)}
        if not all(rows.values()):
            parts += [absent(role, dataset) for role, cells in rows.items() if not cells]
            continue
        by_role = {role: {cell.clients: cell for cell in cells} for role, cells in rows.items()}
        parts += [_slower(by_role["distilbert"], by_role[r], by_role, dataset) for r in OTHERS]
    return all_of(part.verdict for part in parts), parts


def _slower(
    own: Mapping[int, Cell],
    other: Mapping[int, Cell],
    by_role: Mapping[str, Mapping[int, Cell]],
    dataset: str,
) -> Part:
    mine, theirs = (next(iter(cells.values())).series.label for cells in (own, other))
    what = f"{dataset}: {mine} needs more rounds than {theirs} to one accuracy"
    levels = _common_accuracy(by_role)
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
    truths = {}
    for seed in seeds:
        level, alone = levels[seed], len(seeds) == 1
        slow = [(own[k].trials[seed], level) for k in shared]
        quick = [(other[k].trials[seed], level) for k in shared]
        never_less = [
            False if needs_more(q, s, alone) else (None if needs_more(q, s, False) else True)
            for s, q in zip(slow, quick, strict=True)
        ]
        strictly = any(needs_more(s, q, alone) for s, q in zip(slow, quick, strict=True))
        truths[seed] = both(*never_less, True if strictly else None)
    shown = "; ".join(
        f"K = {k}: {_median(own[k], levels, seeds)} against {_median(other[k], levels, seeds)}"
        for k in shared
    )
    return Part(
        what,
        decide_truths(truths),
        f"medians {shown}",
        "accuracy " + ", ".join(f"{levels[seed]:.3f}" for seed in seeds),
        {str(seed): truth for seed, truth in truths.items()},
    )


def _common_accuracy(by_role: Mapping[str, Mapping[int, Cell]]) -> dict[int, float]:
    """By seed, the lowest of the targets that the models' baselines set."""
    targets: dict[int, list[float]] = {}
    for cells in by_role.values():
        for seed, trial in (cells[1].trials if 1 in cells else {}).items():
            if trial.summary is not None and trial.summary.target_accuracy is not None:
                targets.setdefault(seed, []).append(trial.summary.target_accuracy)
    return {s: min(found) for s, found in sorted(targets.items()) if len(found) == len(by_role)}


def _median(cell: Cell, levels: Mapping[int, float], seeds: Sequence[int]) -> str:
    middle = numbers.median(rounds_at(cell.trials[seed], levels[seed]) for seed in seeds)
    cap = max(trial.rule.last for trial in cell.trials.values())
    return f"> {cap}" if middle == math.inf else f"{middle:g}"


def slower_alone(evidence: Evidence) -> Checked:
    """C13: sequential steps to the own target at K = 1, on every data set of the sweep."""
    parts: list[Part] = []
    for dataset in evidence.grid.datasets:
        cells = {r: evidence.cell(evidence.model(r), dataset, 1) for r in ("distilbert", *OTHERS)}
        own = cells["distilbert"]
        for role in OTHERS:
            other = cells[role]
            if own is None or other is None:
                parts.append(absent(role if own else "distilbert", dataset))
                continue
            parts.append(_more_steps(own, other))
    return all_of(part.verdict for part in parts), parts


def _more_steps(own: Cell, other: Cell) -> Part:
    seeds = sorted(own.reaches.keys() & other.reaches.keys())
    truths: dict[int, bool | None] = {}
    steps: dict[str, list[float]] = {}
    for seed in seeds:
        slow, quick = ((cell.trials[seed], cell.trials[seed].target) for cell in (own, other))
        truths[seed] = needs_more(slow, quick, len(seeds) == 1, lambda t: t.steps_per_round)
        steps[str(seed)] = [rounds_at(t, goal) * t.steps_per_round for t, goal in (slow, quick)]
    shown = "; ".join(f"seed {s}: {a:,.0f} against {b:,.0f}" for s, (a, b) in steps.items())
    return Part(
        f"{own.series.dataset}: {own.series.label} takes more sequential steps to its target at "
        f"K = 1 than {other.series.label}",
        decide_truths(truths),
        shown or "no baseline with a target",
        "more",
        steps,
    )
