"""The checks of claims about DistilBERT beside BERT and ALBERT: C2, C3, C6, C7, C8."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedtune.analysis import claims, numbers
from fedtune.analysis.checks_scaling import Checked
from fedtune.analysis.evidence import (
    Evidence,
    absent,
    retention_error,
    show,
    stretch_at_chance,
)
from fedtune.analysis.grid import TITLES, Cell
from fedtune.analysis.tracked import TrackedTrial
from fedtune.analysis.verdicts import Part, Verdict, all_of, decide, decide_truths
from fedtune.trial.stopping import clearly_above_chance

OTHERS = ("bert", "albert")


def steeper(evidence: Evidence) -> Checked:
    """C2: retention past 4 clients, on the paper's three data sets."""
    parts: list[Part] = []
    for place in ("ag-news", "imdb", "yelp"):
        dataset = evidence.dataset(place)
        own = _past_four(evidence.cells(evidence.model("distilbert"), dataset))
        for role in OTHERS:
            other = _past_four(evidence.cells(evidence.model(role), dataset))
            parts.append(_lower(own, other, role, place))
    return all_of(part.verdict for part in parts), parts


def _past_four(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.clients > claims.STEEP_BEYOND]


def _lower(own: Sequence[Cell], other: Sequence[Cell], role: str, place: str) -> Part:
    what = f"{TITLES[place]}: DistilBERT's mean retention over K > {claims.STEEP_BEYOND} is below "
    what += f"{TITLES[role]}'s"
    pairs = [(a, b) for a in own for b in other if a.clients == b.clients]
    if not pairs:
        return Part(what, "not run", f"no pair of trials with K > {claims.STEEP_BEYOND}")
    seeds = set.intersection(*(a.retentions.keys() & b.retentions.keys() for a, b in pairs))
    mine = {s: numbers.mean(a.retentions[s] for a, _ in pairs) for s in sorted(seeds)}
    theirs = {s: numbers.mean(b.retentions[s] for _, b in pairs) for s in sorted(seeds)}
    errors = [retention_error(c.trials[s]) for pair in pairs for c in pair for s in seeds]
    noise = math.sqrt(sum(e * e for e in errors) / max(len(seeds), 1)) / len(pairs)
    ks = ", ".join(str(a.clients) for a, _ in pairs)
    return Part(
        what,
        decide({seed: theirs[seed] - mine[seed] for seed in mine}, noise),
        f"{show(mine)} against {show(theirs)} (K = {ks})",
        "difference over 0",
        {str(seed): theirs[seed] - mine[seed] for seed in mine},
    )


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
        truths: dict[int, bool | None] = {
            seed: any(_at_chance(cell.trials[seed]) for cell in federated) for seed in seeds
        }
        lowest = min(federated, key=lambda cell: numbers.mean(cell.accuracies.values()))
        trial = next(iter(lowest.trials.values()))
        limit = trial.chance + claims.CHANCE_ERRORS * numbers.binomial_se(
            trial.chance, trial.num_test
        )
        parts.append(
            Part(
                f"{trial.model} on {trial.dataset}: some K at chance at the budget",
                _as_far_as(federated, decide_truths(truths)),
                f"lowest at K = {lowest.clients}: {show(lowest.accuracies)}",
                f"at most {limit:.3f} (chance {trial.chance:.3f})",
                {str(seed): truth for seed, truth in truths.items()},
            )
        )
    return all_of(part.verdict for part in parts), parts


def _as_far_as(cells: Sequence[Cell], verdict: Verdict) -> Verdict:
    """What was not seen may still come at a larger K, where the sweep ends before the paper's."""
    ends_early = max(cell.clients for cell in cells) < claims.FAILS_AT
    return "not run" if ends_early and verdict != "holds" else verdict


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
    seeds = sorted(here.keys() & there.keys())
    if evidence.grid.clients[-1] < claims.FAILS_AT:  # what fails on neither may yet fail
        seeds = [seed for seed in seeds if min(here[seed], there[seed]) < math.inf]
    truths: dict[int, bool | None] = {seed: here[seed] < there[seed] for seed in seeds}
    shown = "; ".join(f"seed {s}: {_k(here[s])} against {_k(there[s])}" for s in seeds)
    earlier = Part(
        "that K is smaller on IMDB than on Yelp",
        decide_truths(truths),
        shown or "there is no such K on either as far as this sweep goes",
        "smaller",
        {str(seed): truth for seed, truth in truths.items()},
    )
    parts = [part, earlier]
    return all_of(p.verdict for p in parts), parts


def _fails(evidence: Evidence, place: str, between: tuple[int, int]) -> Part:
    model, dataset = evidence.model("distilbert"), evidence.dataset(place)
    cells = {cell.clients: cell for cell in evidence.cells(model, dataset)}
    if model is None or not cells:
        return absent("distilbert", place)
    shown = ", ".join(f"K = {k}: {c.median_text()}" for k, c in cells.items() if c.reaches)
    if evidence.is_original(model):
        below, at = (cells[k].reaches if k in cells else {} for k in between)
        what = f"{model} on {dataset}: reaches the target at {between[0]}, not at {between[1]}"
        truths: dict[int, bool | None] = {
            seed: below[seed].rounds is not None and at[seed].rounds is None
            for seed in sorted(below.keys() & at.keys())
        }
    else:
        what = f"{model} on {dataset}: some K ≤ 32 at which it fails and the others reach"
        first = _first_failures(evidence, place)
        truths = {seed: k < math.inf for seed, k in first.items()}
        if max(cells) < claims.FAILS_AT and not all(truths.values()):
            return Part(
                what, "not run", f"no such K up to {max(cells)}, the largest here ({shown})"
            )
    return Part(
        what,
        decide_truths(truths),
        f"medians {shown}" if truths else "BERT, ALBERT or some K is missing",
        "",
        {str(seed): truth for seed, truth in truths.items()},
    )


def _first_failures(evidence: Evidence, place: str) -> dict[int, float]:
    """By seed, the smallest K at which DistilBERT alone misses its target; inf without one."""
    dataset = evidence.dataset(place)
    rows = [evidence.cells(evidence.model(role), dataset) for role in ("distilbert", *OTHERS)]
    if not all(rows):
        return {}
    by_clients = [{c.clients: c.reaches for c in cells if 1 < c.clients <= 32} for cells in rows]
    shared = sorted(set.intersection(*(set(found) for found in by_clients)))
    first: dict[int, float] = {}
    for clients in reversed(shared):
        own, *others = (found[clients] for found in by_clients)
        for seed in own:
            if not all(seed in other for other in others):
                continue
            alone = own[seed].rounds is None and all(o[seed].rounds is not None for o in others)
            first[seed] = clients if alone else first.get(seed, math.inf)
    return first


def _k(clients: float) -> str:
    return "none" if clients == math.inf else f"K = {clients:g}"


def plateaus(evidence: Evidence) -> Checked:
    """C8: how long DistilBERT stays at chance at the largest K."""
    parts = []
    for place in ("imdb", "ag-news"):
        cells = evidence.cells(evidence.model("distilbert"), evidence.dataset(place))
        federated = [cell for cell in cells if cell.clients > 1]
        if not federated:
            parts.append(absent("distilbert", place))
            continue
        cell = federated[-1]
        ended = {seed: trial for seed, trial in sorted(cell.trials.items()) if trial.ended}
        stretches = {seed: stretch_at_chance(trial) for seed, trial in ended.items()}
        whole = place == "imdb"
        truths: dict[int, bool | None] = {
            seed: share == 1 if whole else claims.PART_OF_RUN <= share < 1 and escapes
            for seed, (share, escapes) in stretches.items()
        }
        shown = ", ".join(f"{share:.0%}" for share, _ in stretches.values())
        parts.append(
            Part(
                f"{cell.series.label} on {cell.series.dataset}, K = {cell.clients}: longest "
                "stretch at chance",
                _as_far_as(federated, decide_truths(truths)),
                f"{shown} of the rounds" if shown else "no trial has ended",
                "the whole run"
                if whole
                else f"{claims.PART_OF_RUN:.0%} to below 100 %, then above",
                {str(seed): share for seed, (share, _) in stretches.items()},
            )
        )
    return all_of(part.verdict for part in parts), parts
