"""Uncertainty: of an accuracy on a test set, and of a mean or a share over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

#: Fewer seeds than this are shown as points; an interval from them would mean little.
SEEDS_FOR_INTERVAL = 5

#: Two-sided 95 % of the normal distribution.
NORMAL_95 = 1.96

#: Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def binomial_se(accuracy: float, num_examples: int) -> float:
    """The standard error of an accuracy that was measured on ``num_examples``."""
    return math.sqrt(max(accuracy * (1 - accuracy), 0.0) / num_examples)


def mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def spread(values: Sequence[float]) -> float | None:
    """The standard deviation over seeds; None for fewer than two."""
    return statistics.stdev(values) if len(values) > 1 else None


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean of at least two values, by Student's t."""
    df = len(values) - 1
    t = _T_95[df - 1] if df <= len(_T_95) else NORMAL_95
    half = t * statistics.stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def wilson(successes: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z, share = NORMAL_95, successes / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def median(values: Iterable[float]) -> float:
    """The median, where values may be infinite (a target that was not met)."""
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low if low == high else (low + high) / 2


def slope_weights(xs: Sequence[float]) -> list[float]:
    """What each value counts in their least-squares slope over ``xs`` (two different ones)."""
    middle = mean(xs)
    square = sum((x - middle) ** 2 for x in xs)
    return [(x - middle) / square for x in xs]
