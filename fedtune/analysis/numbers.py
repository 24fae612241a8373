"""Plain numbers: the error of an accuracy, a mean and its interval over seeds, a median."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from scipy import special

#: Fewer seeds than this are drawn as points: their intervals would hide everything else.
SEEDS_FOR_INTERVAL = 5

#: Two-sided 95 % of the normal distribution.
NORMAL_95 = 1.96


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
    t = -float(special.stdtrit(len(values) - 1, 0.025))
    half = t * statistics.stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


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
