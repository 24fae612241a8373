"""K clients against one, over all models and data sets together."""

from __future__ import annotations

import math

from fedtune.analysis.grid import Grid
from fedtune.analysis.inference import Estimate, holm
from fedtune.analysis.quantities import ACCURACY, IN_THE_END, Quantity
from fedtune.analysis.samples import Sample, by_dataset, difference, paired
from fedtune.analysis.table import Table, Value

#: Two accuracies that differ by less are the same: a point, fixed beforehand.
SAME = 0.01


def pooled_table(grid: Grid) -> Table:
    """How much more accurate K clients are than one at the budget. Empty for a single model on a
    single data set, and where something else than K runs along x.
    """
    rows: list[list[Value]] = []
    for variant in grid.variants if grid.axis.is_clients else ():
        rows += _rows(grid, variant)
    several = len({row[0] for row in rows}) > 1
    return Table(
        "pooled",
        "K clients against one, over all models and data sets",
        "Percentage points of test accuracy at the budget that K clients have more than one, each "
        "model on each data set counting the same; paired by seed and by test text, 95 % interval "
        "over both. Models on one data set share seeds and texts and are averaged first. The "
        "p-value is two-sided and adjusted for the number of K (Holm). SE: the standard error from "
        "seeds, and what the texts add to it. The same: the p-value of a difference below "
        f"{100 * SAME:g} point in either direction. The last column takes one client's accuracy "
        "as the mean of its last three evaluations, which hangs less on a single round.",
        [
            *(["variant"] if several else []),
            *("K", "models × data sets", "trials above K = 1", "points above K = 1"),
            *("95 % low", "95 % high", "SE, seeds", "SE, texts", "p", "p, the same"),
            "points, K = 1 in the end",
        ],
        [row if several else row[1:] for row in rows],
    )


def _rows(grid: Grid, variant: str) -> list[list[Value]]:
    federated = [k for k in grid.clients if k > 1]
    found = {k: _more(grid, variant, k, ACCURACY) for k in federated}
    kept = {k: samples for k, samples in found.items() if sum(map(len, samples.values())) > 1}
    estimates = {k: estimate for k in kept if (estimate := by_dataset(kept[k])) is not None}
    p_values = [_two_sided(estimate) for estimate in estimates.values()]
    rows: list[list[Value]] = []
    for (k, estimate), p in zip(estimates.items(), holm(p_values), strict=True):
        samples = [sample for of_one in kept[k].values() for sample in of_one]
        margins = [value for sample in samples for value in sample.values.values()]
        low, high = (100 * bound for bound in estimate.interval())
        in_the_end = by_dataset(_more(grid, variant, k, IN_THE_END))
        known = math.isfinite(low)
        error = [f"{100 * math.sqrt(v):.2f}" for v in (estimate.by_seed, estimate.by_text)]
        rows.append(
            [
                variant or "fedavg",
                *(k, len(samples), f"{sum(m > 0 for m in margins)} of {len(margins)}"),
                f"{100 * estimate.mean:.2f}",
                *((f"{low:.2f}", f"{high:.2f}") if known else (None, None)),
                *(error if known else (None, None)),
                *((p, estimate.p_within(SAME)) if known else (None, None)),
                _shown(in_the_end),
            ]
        )
    return rows


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    low, high = (100 * bound for bound in estimate.interval())
    interval = f" [{low:.2f}, {high:.2f}]" if math.isfinite(low) else ""
    return f"{100 * estimate.mean:.2f}{interval}"


def _more(grid: Grid, variant: str, clients: int, alone: Quantity) -> dict[str, list[Sample]]:
    """What K clients have more than one, for every model, by data set: of the seeds that all models
    have there.
    """
    found: dict[str, list[Sample]] = {}
    for series in grid.series:
        if series.variant != variant:
            continue
        one = grid.alone(series, clients).sample(alone)
        more = difference(grid.cell(series, clients).sample(ACCURACY), one)
        if more.values:
            found.setdefault(series.dataset, []).append(more)
    shared = {dataset: paired(samples) for dataset, samples in found.items()}
    return {dataset: samples for dataset, samples in shared.items() if samples[0].values}


def _two_sided(estimate: Estimate) -> float:
    return min(1.0, 2 * min(estimate.p_above(0.0), estimate.p_below(0.0)))
