"""K clients against one, over all models and data sets together."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fedtune.analysis.grid import Grid
from fedtune.analysis.inference import Estimate, holm
from fedtune.analysis.quantities import ACCURACY, IN_THE_END, Quantity
from fedtune.analysis.samples import Sample, difference, mean_over, paired
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
        "model on each data set counting the same, of the seeds that all of them have; paired by "
        "seed and by test text. All trials with a seed may have its luck in common, so the mean is "
        "taken seed by seed first: the 95 % interval is over these means (degrees of freedom: "
        "seeds less one) and over test texts. The p-value is two-sided and adjusted for the number "
        "of K (Holm). SE: the standard error from seeds, and what the texts add to it. The same: "
        f"the p-value of a difference below {100 * SAME:g} point in either direction. The last "
        "columns take one client's accuracy as the mean of its last three evaluations, which hangs "
        "less on a single round.",
        [
            *(["variant"] if several else []),
            *("K", "models × data sets", "trials above K = 1", "points above K = 1"),
            *("95 % low", "95 % high", "SE, seeds", "SE, texts", "p", "p, the same"),
            *("points, K = 1 in the end", "p, K = 1 in the end"),
        ],
        [row if several else row[1:] for row in rows],
    )


def _rows(grid: Grid, variant: str) -> list[list[Value]]:
    federated = [k for k in grid.clients if k > 1]
    found = {k: _more(grid, variant, k, ACCURACY) for k in federated}
    kept = {k: samples for k, samples in found.items() if len(samples) > 1}
    estimates = {k: estimate for k in kept if (estimate := mean_over(kept[k])) is not None}
    in_the_end = {k: mean_over(_more(grid, variant, k, IN_THE_END)) for k in estimates}
    adjusted, of_the_end = _adjusted(estimates), _adjusted(in_the_end)
    rows: list[list[Value]] = []
    for k, estimate in estimates.items():
        margins = [value for sample in kept[k] for value in sample.values.values()]
        low, high = (100 * bound for bound in estimate.interval())
        known = math.isfinite(low)
        error = [f"{100 * math.sqrt(v):.2f}" for v in (estimate.by_seed, estimate.by_text)]
        rows.append(
            [
                variant or "fedavg",
                *(k, len(kept[k]), f"{sum(m > 0 for m in margins)} of {len(margins)}"),
                f"{100 * estimate.mean:.2f}",
                *((f"{low:.2f}", f"{high:.2f}") if known else (None, None)),
                *(error if known else (None, None)),
                *((adjusted[k], estimate.p_within(SAME)) if known else (None, None)),
                *(_shown(in_the_end[k]), of_the_end.get(k)),
            ]
        )
    return rows


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    low, high = (100 * bound for bound in estimate.interval())
    interval = f" [{low:.2f}, {high:.2f}]" if math.isfinite(low) else ""
    return f"{100 * estimate.mean:.2f}{interval}"


def _more(grid: Grid, variant: str, clients: int, alone: Quantity) -> list[Sample]:
    """What K clients have more than one, for every model on every data set: of the seeds that all
    of them have.
    """
    found = []
    for series in grid.series:
        if series.variant == variant:
            one = grid.alone(series, clients).sample(alone)
            more = difference(grid.cell(series, clients).sample(ACCURACY), one)
            found += [more] if more.values else []
    return paired(found) if found else []


def _adjusted(estimates: Mapping[int, Estimate | None]) -> dict[int, float]:
    """Two-sided p-values of the K at which several seeds have ended, adjusted for their number."""
    found = {k: each for k, each in estimates.items() if each is not None and each.df > 0}
    p_values = [2 * min(each.p_above(0.0), each.p_below(0.0)) for each in found.values()]
    return dict(zip(found, holm(p_values), strict=True))
