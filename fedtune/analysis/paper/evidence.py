"""The trials of a sweep by what they stand for in the paper, and what claims ask of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedtune.analysis import numbers
from fedtune.analysis.cell import Cell, Series
from fedtune.analysis.grid import Grid
from fedtune.analysis.paper import claims
from fedtune.analysis.paper.rounds import OWN, Aim, Rounds, median, met_its_own, rounds_to
from fedtune.analysis.paper.verdicts import NOT_RUN, Part, above, alike, all_of, below
from fedtune.analysis.quantities import Quantity
from fedtune.analysis.roles import TITLES, role_of
from fedtune.analysis.samples import Sample, combine, paired
from fedtune.analysis.tracked import TrackedTrial
from fedtune.models.short_names import NAMES as MODELS

#: The models that DistilBERT is held against.
OTHERS = ("bert", "albert")


@dataclass(frozen=True)
class Evidence:
    """The trials of one variant, by what they stand for in the paper; ``aim`` is their target."""

    grid: Grid
    aim: Aim = OWN
    variant: str = ""

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
        return self.grid.cells(Series(model, dataset, self.variant))

    def cell(self, model: str | None, dataset: str | None, clients: int) -> Cell | None:
        return next((c for c in self.cells(model, dataset) if c.clients == clients), None)

    def rounds(self, cell: Cell) -> dict[int, Rounds]:
        """Rounds to target by seed, where they are known.

        A trial that stopped once its accuracy stayed at its own target counts as having met it,
        although the baseline's level, and so the target here, may be a little higher.
        """
        found = {s: rounds_to(trial, self.aim.of(trial)) for s, trial in cell.trials.items()}
        known = {seed: rounds for seed, rounds in sorted(found.items()) if rounds is not None}
        return {
            seed: rounds.as_stopped
            if self.aim == OWN and met_its_own(cell.trials[seed])
            else rounds
            for seed, rounds in known.items()
        }

    def medians(self, cells: Sequence[Cell]) -> str:
        """For example ``medians K = 1: 1, K = 32: > 16``."""
        told = [(cell.clients, median(self.rounds(cell).values())) for cell in cells]
        return "medians " + ", ".join(f"K = {k}: {middle}" for k, middle in told if middle)

    def missing(self, known: Mapping[int, object] | Sequence[int], beyond: int = 0) -> list[int]:
        """The numbers of clients of the sweep, more than ``beyond``, that are not ``known``."""
        return [k for k in self.grid.clients if k > beyond and k not in known]


def absent(role: str, dataset: str | None = None) -> Part:
    """The part that stands for a model, or a model on a data set, that the sweep has not."""
    where = f" on {TITLES.get(dataset, dataset)}" if dataset else ""
    return Part(f"{TITLES[role]}{where}", NOT_RUN, "not in this sweep, or not begun")


def show(sample: Sample) -> str:
    """The mean over seeds, with its interval where there are several."""
    return sample.shown("{:.3f}".format) if sample.values else "–"


def unknown_for(clients: Sequence[int]) -> str:
    """What is added to the numbers of a comparison over K that has gaps."""
    return f"; unknown for K = {', '.join(map(str, clients))}" if clients else ""


# Declines with K


def gradual_decline(evidence: Evidence, cells: Sequence[Cell], quantity: Quantity) -> list[Part]:
    """Does a quantity fall with log2 K, and does no doubling of K lose too much of it?"""
    name, where = quantity.name, f"{cells[0].series.label} on {cells[0].series.dataset}"
    samples = {c.clients: sample for c in cells if (sample := c.sample(quantity)).values}
    if len(samples) < 2:
        reason = f"{name} is known for fewer than two numbers of clients"
        return [Part(f"{where}: {name}", NOT_RUN, reason)]
    missing = evidence.missing(samples)
    gap = unknown_for(missing)
    same_seeds = dict(zip(samples, paired(samples.values()), strict=True))
    weights = numbers.slope_weights([math.log2(clients) for clients in samples])
    slope = combine(list(zip(weights, same_seeds.values(), strict=True)))
    ends = "; ".join(f"K = {k}: {show(same_seeds[k])}" for k in (min(samples), max(samples)))
    least = claims.FALL
    told = f"{show(slope)} a doubling{alike(slope, least, f'±{least}')}" if slope.values else "–"
    return [
        Part(
            f"{where}: {name} falls with K",
            below(slope, -least).unless_missing(missing),
            f"slope {told}; {ends}{gap}",
            f"slope below -{least}",
            slope.values,
        ),
        _no_steep_doubling(where, name, same_seeds, missing),
    ]


def _no_steep_doubling(
    where: str, name: str, samples: Mapping[int, Sample], missing: Sequence[int]
) -> Part:
    """d doublings from one K to the next have to keep (1 − the largest loss)^d."""
    keeps = 1 - claims.DOUBLING_LOSS
    margins: dict[tuple[int, int], Sample] = {}
    for few, many in itertools.pairwise(sorted(samples)):
        least = keeps ** math.log2(many / few)
        margins[few, many] = combine([(1.0, samples[many]), (-least, samples[few])])
    known = {pair: margin for pair, margin in margins.items() if margin.values}
    what = f"{where}: no doubling loses more than {claims.DOUBLING_LOSS:.0%} of {name}"
    if not known:
        return Part(what, NOT_RUN, "no seed in common")
    few, many = min(known, key=lambda pair: known[pair].mean)
    before, after = samples[few], samples[many]
    lost = f"{100 * (1 - after.mean / before.mean):.0f} %" if before.mean > 0 else "not known"
    doublings = math.log2(many / few)
    return Part(
        what,
        all_of(above(margin, 0.0) for margin in known.values()).unless_missing(missing),
        f"largest loss {lost}, from K = {few} ({show(before)}) to {many} ({show(after)})"
        + (f", {doublings:.3g} doublings" if doublings != 1 else "")
        + unknown_for(missing),
        f"a doubling keeps at least {keeps:.2f}",
        known[few, many].values,
    )


# At chance


def near_chance(trial: TrackedTrial, accuracy: float) -> bool | None:
    """Is this no more above chance than a tenth of what the baseline is? The width of the band does
    not depend on the test set. None where no baseline is clearly above chance.
    """
    if trial.headroom is None:
        return None
    return accuracy <= trial.chance + claims.AT_CHANCE * trial.headroom


def stretch_at_chance(trial: TrackedTrial) -> tuple[float, bool] | None:
    """The longest stretch at chance as a share of the evaluated rounds; is the last one above?"""
    if trial.headroom is None:
        return None
    low = [near_chance(trial, value) for step, value in trial.curve.items() if step >= 1]
    longest = current = 0
    for at_chance in low:
        current = current + 1 if at_chance else 0
        longest = max(longest, current)
    return longest / max(len(low), 1), bool(low) and not low[-1]


def one_answer(cell: Cell) -> str:
    """How much of the test set gets the most frequent answer at the budget: all of it from a model
    that answers nothing else.
    """
    shares = cell.values(lambda trial: trial.at(trial.rule.budget, "test/top_class_share"))
    if not shares:
        return ""
    return f"; {numbers.mean(shares.values()):.0%} of the texts get the same answer"
