"""The checks of claims about how quickly DistilBERT learns beside BERT and ALBERT: C11, C13."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fedtune.analysis import numbers
from fedtune.analysis.cell import Cell
from fedtune.analysis.paper import claims
from fedtune.analysis.paper.evidence import OTHERS, Evidence, absent, unknown_for
from fedtune.analysis.paper.rounds import median, rounds_to
from fedtune.analysis.paper.testable import steps_of_one
from fedtune.analysis.paper.verdicts import (
    NOT_RUN,
    Answer,
    Checked,
    Part,
    above,
    alike,
    below,
    together,
)
from fedtune.analysis.passage import steps_to
from fedtune.analysis.samples import Sample

ByClients = Mapping[int, Cell]

_MARGIN = math.log2(claims.SLOWER)


def more_rounds_for_the_same(evidence: Evidence) -> Checked:
    """C11: rounds to the lowest of the models' targets, on every data set of the sweep."""
    parts: list[Part] = []
    for dataset in evidence.grid.datasets:
        rows = {r: evidence.cells(evidence.model(r), dataset) for r in ("distilbert", *OTHERS)}
        if not all(rows.values()):
            parts += [absent(role, dataset) for role, cells in rows.items() if not cells]
            continue
        by_role = {role: {cell.clients: cell for cell in cells} for role, cells in rows.items()}
        levels = _common_accuracy(evidence, list(by_role.values()))
        own = by_role["distilbert"]
        parts += [_slower(evidence, own, by_role[role], levels) for role in OTHERS]
    return together(parts)


def _slower(
    evidence: Evidence, own: ByClients, other: ByClients, levels: Mapping[int, float]
) -> Part:
    """How many times the rounds of another model, as the mean of log2 over K, by seed."""
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
        return Part(what, NOT_RUN, "no seed with all trials of both to their end")

    times = _ratio([(own[k], other[k]) for k in shared], levels, seeds)
    answer = above(times, _MARGIN)
    missed = [_missed(cells, shared, levels, seeds) for cells in (own, other)]
    if missed[0]:  # it may take any number of rounds, so that the ratio up to the cap is too small
        answer = replace(answer, p_no=1.0)
    # Where even the largest K may get there in its first round, equally many rounds say nothing.
    largest = own[shared[-1]].trials[seeds[0]]
    needs = steps_of_one(evidence.grid, mine, lambda trial: levels.get(trial.seed))
    testable = needs is not None and needs.rounds(largest.steps_per_round).after >= 2
    if not testable:
        answer = answer.not_denied("not testable")
    missing = evidence.missing(shared)
    shown = "; ".join(
        f"K = {k}: {_median(own[k], levels, seeds)} against {_median(other[k], levels, seeds)}"
        for k in shared
    )
    same = alike(times, _MARGIN, f"a factor {claims.SLOWER}")
    return Part(
        what,
        answer.unless_missing(missing),
        f"{times.shown(lambda value: f'{2**value:.2f}')} times as many"
        + same * (testable and not any(missed))
        + f"; medians {shown}{unknown_for(missing)}",
        f"{claims.SLOWER} times, to " + ", ".join(f"{levels[seed]:.3f}" for seed in seeds),
        times.values,
    )


def _ratio(
    pairs: Sequence[tuple[Cell, Cell]], levels: Mapping[int, float], seeds: Sequence[int]
) -> Sample:
    """By seed, the mean of log2 of the rounds of one cell over those of another."""
    ratios: dict[int, float] = {}
    rounding = 0.0
    for seed in seeds:
        found = [[rounds_to(c.trials[seed], levels[seed]) for c in pair] for pair in pairs]
        known = [(one, other) for one, other in found if one is not None and other is not None]
        ratios[seed] = numbers.mean(one.log - other.log for one, other in known)
        rounding += sum(one.rounding + other.rounding for one, other in known) / len(known) ** 2
    return Sample(ratios, math.sqrt(rounding) / len(seeds))


def _missed(
    cells: ByClients, clients: Sequence[int], levels: Mapping[int, float], seeds: Sequence[int]
) -> bool:
    """Is the accuracy not reached by some of these trials?"""
    found = [rounds_to(cells[k].trials[seed], levels[seed]) for k in clients for seed in seeds]
    return not all(each is not None and each.reached for each in found)


def _common_accuracy(evidence: Evidence, rows: Sequence[ByClients]) -> dict[int, float]:
    """By seed, the lowest of the targets that the models' baselines set."""
    targets: dict[int, list[float]] = {}
    for cells in rows:
        for seed, trial in (cells[1].trials if 1 in cells else {}).items():
            target = evidence.aim.of(trial)
            if target is not None:
                targets.setdefault(seed, []).append(target)
    return {s: min(found) for s, found in sorted(targets.items()) if len(found) == len(rows)}


def _median(cell: Cell, levels: Mapping[int, float], seeds: Sequence[int]) -> str:
    found = [rounds_to(cell.trials[seed], levels[seed]) for seed in seeds]
    return median(each for each in found if each is not None)


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
            if other is None:
                parts.append(absent(role, dataset))
            else:
                parts.append(_more_steps(evidence, own, other))
    return together(parts)


def _more_steps(evidence: Evidence, own: Cell, other: Cell) -> Part:
    """Evaluations leave open when, between two of them, the target is met: both ends are judged."""
    slow, quick = (
        {s: steps_to(t, goal) for s, t in cell.trials.items() if (goal := evidence.aim.of(t))}
        for cell in (own, other)
    )
    seeds = sorted(slow.keys() & quick.keys())
    least = Sample({s: _log(slow[s].after) - _log(quick[s].by) for s in seeds})
    most = Sample({s: _log(slow[s].by) - _log(quick[s].after) for s in seeds})
    answer = NOT_RUN
    if seeds:
        resolved = any(least.values[s] > 0 or most.values[s] < 0 for s in seeds)
        open_still = Answer().otherwise if resolved else "not testable"
        answer = Answer(above(least, _MARGIN).p_yes, below(most, _MARGIN).p_yes, open_still)
    told = "; ".join(
        f"seed {s}: {slow[s].after:,} to {slow[s].by:,} against {quick[s].after:,} to "
        f"{quick[s].by:,}"
        for s in seeds
    )
    return Part(
        f"{own.series.dataset}: {own.series.label} takes more sequential steps to its target at "
        f"K = 1 than {other.series.label}",
        answer,
        told or "no baseline with a target",
        f"{claims.SLOWER} times as many",
        {s: [list(slow[s]), list(quick[s])] for s in seeds},
    )


def _log(steps: float) -> float:
    return math.log2(steps) if steps else -math.inf
