"""The quantities that claims are about, read from trials: declines, delays, stretches at chance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fedtune.analysis import numbers
from fedtune.analysis.grid import TITLES, Cell, Grid, Series, role_of
from fedtune.analysis.tracked import TrackedTrial
from fedtune.analysis.verdicts import Part, Verdict, all_of, decide, unless_missing
from fedtune.models.zoo import NAMES as MODELS
from fedtune.trial.stopping import clearly_above_chance, first_round_at

Quantity = Callable[[TrackedTrial], float | None]


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
        return asked <= known | {entry.hub_id for entry in MODELS.values() if entry.hub_id}

    def cells(self, model: str | None, dataset: str | None) -> list[Cell]:
        """The cells of a model on a data set by K; none where either is not in the sweep."""
        if model is None or dataset is None:
            return []
        variants = self.grid.variants
        return self.grid.cells(Series(model, dataset, variants[0])) if variants else []

    def cell(self, model: str | None, dataset: str | None, clients: int) -> Cell | None:
        return next((c for c in self.cells(model, dataset) if c.clients == clients), None)


def absent(role: str, dataset: str | None = None) -> Part:
    """The part that stands for a model, or a model on a data set, that the sweep has not."""
    where = f" on {TITLES.get(dataset, dataset)}" if dataset else ""
    return Part(f"{TITLES[role]}{where}", "not run", "not in this sweep")


def show(values: Mapping[int, float]) -> str:
    """The mean over seeds, with its interval or its range."""
    seen = list(values.values())
    if not seen:
        return "–"
    if len(seen) >= numbers.SEEDS_FOR_INTERVAL:
        low, high = numbers.interval(seen)
        return f"{numbers.mean(seen):.3f} [{low:.3f}, {high:.3f}]"
    if len(seen) > 1:
        return f"{numbers.mean(seen):.3f} ({min(seen):.3f} to {max(seen):.3f})"
    return f"{seen[0]:.3f}"


# Declines with K


def retention_error(trial: TrackedTrial) -> float:
    """The standard error that the test set gives the retention."""
    base, accuracy = trial.baseline_test_accuracy, trial.accuracy
    assert base is not None
    assert accuracy is not None
    return numbers.binomial_se(accuracy, trial.num_test) / (base - trial.chance)


def area(trial: TrackedTrial) -> float | None:
    """The mean accuracy over the rounds 0 to the budget (trapezoids); None before the budget."""
    budget = trial.rule.budget
    points = [(step, value) for step, value in trial.curve.items() if step <= budget]
    if not points or points[0][0] != 0 or points[-1][0] != budget:
        return None
    pairs = itertools.pairwise(points)
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs) / budget


def area_error(trial: TrackedTrial) -> float:
    """The standard error that the test set gives the area; all rounds share one test set."""
    return numbers.binomial_se(area(trial) or 0.0, trial.num_test)


@dataclass(frozen=True)
class _Decline:
    """A quantity by K and seed, with the standard error that the test set gives it at each K."""

    where: str
    name: str
    values: Mapping[int, Mapping[int, float]]
    errors: Mapping[int, float]
    missing: Sequence[int]

    def part(
        self, what: str, verdict: Verdict, shown: str, threshold: str, by_seed: Mapping[int, float]
    ) -> Part:
        if self.missing:
            shown += f"; unknown for K = {', '.join(map(str, self.missing))}"
        told = {str(seed): value for seed, value in sorted(by_seed.items())}
        verdict = unless_missing(verdict, self.missing)
        return Part(f"{self.where}: {what}", verdict, shown, threshold, told)


def gradual_decline(
    evidence: Evidence,
    cells: Sequence[Cell],
    name: str,
    of: Quantity,
    error: Callable[[TrackedTrial], float],
    max_loss: float,
) -> list[Part]:
    """Does a quantity fall with log2 K, and does no doubling of K lose more than ``max_loss``?"""
    where = f"{cells[0].series.label} on {cells[0].series.dataset}"
    values = {cell.clients: found for cell in cells if (found := cell.values(of))}
    if len(values) < 2:
        reason = f"{name} is known for fewer than two numbers of clients"
        return [Part(f"{where}: {name}", "not run", reason)]
    errors = {
        cell.clients: numbers.mean(error(cell.trials[seed]) for seed in values[cell.clients])
        for cell in cells
        if cell.clients in values
    }
    missing = [clients for clients in evidence.grid.clients if clients not in values]
    decline = _Decline(where, name, values, errors, missing)
    return [_falls(decline), _no_steep_doubling(decline, max_loss)]


def _falls(decline: _Decline) -> Part:
    values = decline.values
    seeds = sorted(set.intersection(*(set(found) for found in values.values())))
    slopes = {
        seed: numbers.slope({math.log2(k): found[seed] for k, found in values.items()})
        for seed in seeds
    }
    noise = numbers.slope_noise({math.log2(k): se for k, se in decline.errors.items()})
    verdict = decide({seed: -value for seed, value in slopes.items()}, noise)
    shown = "; ".join(f"K = {k}: {show(values[k])}" for k in (min(values), max(values)))
    mean = f"{numbers.mean(slopes.values()):+.3f} a doubling" if slopes else "in no seed"
    shown += f"; slope {mean}"
    return decline.part(f"{decline.name} falls with K", verdict, shown, "slope below 0", slopes)


def _no_steep_doubling(decline: _Decline, max_loss: float) -> Part:
    """The steepest step from one K to the next; d doublings have to keep (1 - max_loss)^d."""
    values, errors = decline.values, decline.errors
    steps: list[tuple[float, Verdict, str, dict[int, float]]] = []
    for few, many in itertools.pairwise(sorted(values)):
        doublings = math.log2(many / few)
        keeps = (1 - max_loss) ** doublings
        margins = {
            seed: values[many][seed] - keeps * values[few][seed]
            for seed in values[few].keys() & values[many].keys()
        }
        verdict = decide(margins, math.hypot(errors[many], keeps * errors[few]))
        before, after = (numbers.mean(values[k].values()) for k in (few, many))
        lost = f"{100 * (1 - after / before):.0f} %" if before > 0 else "not known"
        shown = f"{lost}, from K = {few} ({show(values[few])}) to {many} ({show(values[many])})"
        shown += f", {doublings:.3g} doublings" if doublings != 1 else ""
        margin = numbers.mean(margins.values()) if margins else math.inf
        steps.append((margin, verdict, shown, margins))
    verdict = all_of(step[1] for step in steps)
    steepest = min((step for step in steps if step[1] == verdict), key=lambda step: step[0])
    return decline.part(
        f"no doubling loses more than a third of {decline.name}",
        verdict,
        f"largest loss {steepest[2]}",
        f"a doubling keeps at least {1 - max_loss:.2f}",
        steepest[3],
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


def _rounds(
    trial: TrackedTrial, level: float, unit: Callable[[TrackedTrial], float], alone: bool
) -> tuple[float, float]:
    noise = numbers.NORMAL_95 * numbers.binomial_se(level, trial.num_test) if alone else 0.0
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
