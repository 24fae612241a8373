"""The quantities that claims are about, read from trials: declines, delays, stretches at chance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fedtune.analysis import numbers
from fedtune.analysis.cell import Cell, Series
from fedtune.analysis.grid import Grid
from fedtune.analysis.paper.verdicts import Part, Verdict, all_of, decide, unless_missing
from fedtune.analysis.quantities import Quantity
from fedtune.analysis.roles import TITLES, role_of
from fedtune.analysis.samples import Sample, combine, paired
from fedtune.analysis.tracked import TrackedTrial
from fedtune.models.short_names import NAMES as MODELS
from fedtune.trial.stopping import clearly_above_chance, first_round_at

#: The models that DistilBERT is held against.
OTHERS = ("bert", "albert")


@dataclass(frozen=True)
class Evidence:
    """The trials of one variant, by what they stand for in the paper."""

    grid: Grid

    def model(self, role: str) -> str | None:
        """The model that stands for one of the paper's: the original where there is one."""
        found = [model for model in self.grid.models if role_of(model) == role]
        return next((m for m in found if self.is_original(m)), found[0] if found else None)

    def dataset(self, role: str) -> str | None:
        return next((name for name in self.grid.datasets if role_of(name) == role), None)

    def is_original(self, model: str) -> bool:
        """Is this the paper's own model, rather than one that stands for it?"""
        asked = {trial.params["model"] for trial in self.grid.trials if trial.model == model}
        known = {name for name, entry in MODELS.items() if entry.hub_id}
        known |= {entry.hub_id for entry in MODELS.values() if entry.hub_id}
        return (asked or {model}) <= known

    def cells(self, model: str | None, dataset: str | None) -> list[Cell]:
        """The cells of a model on a data set by K; none where either is not in the sweep."""
        if model is None or dataset is None:
            return []
        variants = self.grid.variants
        return self.grid.cells(Series(model, dataset, variants[0])) if variants else []

    def cell(self, model: str | None, dataset: str | None, clients: int) -> Cell | None:
        return next((c for c in self.cells(model, dataset) if c.clients == clients), None)

    def missing(self, known: Mapping[int, object] | Sequence[int], beyond: int = 0) -> list[int]:
        """The numbers of clients of the sweep, more than ``beyond``, that are not ``known``."""
        return [k for k in self.grid.clients if k > beyond and k not in known]


def absent(role: str, dataset: str | None = None) -> Part:
    """The part that stands for a model, or a model on a data set, that the sweep has not."""
    where = f" on {TITLES.get(dataset, dataset)}" if dataset else ""
    return Part(f"{TITLES[role]}{where}", "not run", "not in this sweep, or not begun")


def show(sample: Sample) -> str:
    """The mean over seeds, with its interval or its range."""
    return sample.shown("{:.3f}".format) if sample.values else "–"


def unknown_for(clients: Sequence[int]) -> str:
    """What is added to the numbers of a comparison over K that has gaps."""
    return f"; unknown for K = {', '.join(map(str, clients))}" if clients else ""


# Declines with K


def gradual_decline(
    evidence: Evidence, cells: Sequence[Cell], quantity: Quantity, max_loss: float
) -> list[Part]:
    """Does a quantity fall with log2 K, and does no doubling of K lose more than ``max_loss``?"""
    name, where = quantity.name, f"{cells[0].series.label} on {cells[0].series.dataset}"
    samples = {c.clients: sample for c in cells if (sample := c.sample(quantity)).values}
    if len(samples) < 2:
        reason = f"{name} is known for fewer than two numbers of clients"
        return [Part(f"{where}: {name}", "not run", reason)]
    missing = evidence.missing(samples)
    fall, shown = _falls(samples)
    steepest, steep_verdict, steep_shown = _steepest_doubling(samples, max_loss)
    gap = unknown_for(missing)
    return [
        Part(
            f"{where}: {name} falls with K",
            unless_missing(decide(combine([(-1.0, fall)])), missing),
            shown + gap,
            "slope below 0",
            fall.values,
        ),
        Part(
            f"{where}: no doubling loses more than {max_loss:.0%} of {name}",
            unless_missing(steep_verdict, missing),
            f"largest loss {steep_shown}{gap}",
            f"a doubling keeps at least {1 - max_loss:.2f}",
            steepest.values,
        ),
    ]


def _falls(samples: Mapping[int, Sample]) -> tuple[Sample, str]:
    """The slope over log2 K by seed, and the numbers it rests on."""
    weights = numbers.slope_weights([math.log2(clients) for clients in samples])
    same_seeds = paired(samples.values())
    slope = combine(list(zip(weights, same_seeds, strict=True)))
    ends = zip((min(samples), max(samples)), (same_seeds[0], same_seeds[-1]), strict=True)
    shown = "; ".join(f"K = {clients}: {show(sample)}" for clients, sample in ends)
    mean = f"{slope.mean:+.3f} a doubling" if slope.values else "in no seed"
    return slope, f"{shown}; slope {mean}"


def _steepest_doubling(
    samples: Mapping[int, Sample], max_loss: float
) -> tuple[Sample, Verdict, str]:
    """The steepest step from one K to the next; d doublings have to keep (1 - max_loss)^d."""
    steps: list[tuple[Sample, Verdict, str]] = []
    for few, many in itertools.pairwise(sorted(samples)):
        before, after = paired((samples[few], samples[many]))
        doublings = math.log2(many / few)
        margin = combine([(1.0, after), (-((1 - max_loss) ** doublings), before)])
        known = before.values and before.mean > 0
        lost = f"{100 * (1 - after.mean / before.mean):.0f} %" if known else "not known"
        shown = f"{lost}, from K = {few} ({show(before)}) to {many} ({show(after)})"
        shown += f", {doublings:.3g} doublings" if doublings != 1 else ""
        steps.append((margin, decide(margin), shown))
    verdict = all_of(step[1] for step in steps)
    return min(
        (step for step in steps if step[1] == verdict),
        key=lambda step: step[0].mean if step[0].values else math.inf,
    )


# Rounds to an accuracy


def rounds_at(trial: TrackedTrial, accuracy: float) -> float:
    """The first round from 1 on with the stop rule's accuracy at least this; inf without one."""
    first = first_round_at(trial.records, accuracy, trial.rule.metric)
    return math.inf if first is None else first


def needs_more(
    slow: tuple[TrackedTrial, float],
    quick: tuple[TrackedTrial, float],
    alone: bool,
    unit: Callable[[TrackedTrial], float] = lambda trial: 1.0,
) -> bool | None:
    """Does one trial need more rounds (times ``unit``) to its accuracy than another to its own?

    None where they need equally many and, for a single seed (``alone``), where the noise of the
    test set could turn the order: where the rounds to the accuracy ± 1.96 standard errors overlap.
    """
    mine, theirs = (_rounds(trial, level, unit, alone) for trial, level in (slow, quick))
    if mine[0] > theirs[1]:
        return True
    return False if mine[1] < theirs[0] else None


def no_fewer(
    slow: tuple[TrackedTrial, float], quick: tuple[TrackedTrial, float], alone: bool
) -> bool | None:
    """Does one trial need at least as many rounds as another?

    For a single seed, fewer by no more than the noise of the test set decides nothing (None).
    """
    if needs_more(quick, slow, alone):
        return False
    return None if needs_more(quick, slow, False) else True


def _rounds(
    trial: TrackedTrial, level: float, unit: Callable[[TrackedTrial], float], alone: bool
) -> tuple[float, float]:
    noise = numbers.NORMAL_95 * numbers.binomial_se(level, trial.num_judged) if alone else 0.0
    low, high = (rounds_at(trial, level + sign * noise) * unit(trial) for sign in (-1, 1))
    return low, high


# Stretches at chance


def stretch_at_chance(trial: TrackedTrial) -> tuple[float, bool]:
    """The longest stretch at chance as a share of the evaluated rounds; is the last one above?"""
    above = [
        clearly_above_chance(accuracy, trial.chance, trial.num_test)
        for step, accuracy in trial.curve.items()
        if step >= 1
    ]
    longest = current = 0
    for is_above in above:
        current = 0 if is_above else current + 1
        longest = max(longest, current)
    return longest / max(len(above), 1), bool(above) and above[-1]
