"""The statistics of a report: estimates with their errors, tests, and several tests together.

Every test is one-sided at 2.5 %, which is 5 % for two sides. A p-value answers one question: how
likely is what was seen, or more of it, if the statement is false?
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

#: A statement is believed where its p-value is at most this: 5 % for both directions together.
ONE_SIDED = 0.025

#: Draws of the permutation test; the smallest p-value that it can give is one over them.
_PERMUTATIONS = 9_999


@dataclass(frozen=True)
class Estimate:
    """A mean whose error has a part that few seeds tell and a part that many test texts tell.

    ``by_seed`` is the variance of the mean over seeds, known with ``df`` degrees of freedom (0: one
    seed, so that nothing is known); ``by_text`` is what the test texts, which seeds share, add.
    """

    mean: float
    by_seed: float
    df: float
    by_text: float = 0.0

    def half_width(self, one_sided: float = ONE_SIDED) -> float:
        """How far the interval reaches to either side; infinite for one seed.

        ``(t·v + z·w) / √(v + w)`` for the variances v (by seed) and w (by text), with t of
        Student's distribution and z of the normal one: the quantiles weighted by what each part
        contributes (Cochran and Cox 1957, Experimental Designs). With w = 0 it is Student's.
        """
        if self.df <= 0:
            return math.inf
        t, z = -special.stdtrit(self.df, one_sided), -special.ndtri(one_sided)
        error = math.sqrt(self.by_seed + self.by_text)
        return float(t * self.by_seed + z * self.by_text) / error if error else 0.0

    def interval(self, one_sided: float = ONE_SIDED) -> tuple[float, float]:
        """The 95 % interval of the mean, or another one."""
        half = self.half_width(one_sided)
        return self.mean - half, self.mean + half

    def p_above(self, threshold: float) -> float:
        """The p-value of "the mean is above ``threshold``": the level whose interval ends there."""
        distance = self.mean - threshold
        if self.df <= 0 or not math.isfinite(distance):
            return 1.0
        if distance < 0:
            return 1.0 - self.p_below(threshold)
        if self.by_seed + self.by_text == 0:
            return 0.0 if distance > 0 else 0.5
        least = 1e-12
        if self.half_width(least) <= distance:
            return least
        return float(optimize.brentq(lambda p: self.half_width(p) - distance, least, 0.5))

    def p_below(self, threshold: float) -> float:
        """The p-value of "the mean is below ``threshold``"."""
        return Estimate(-self.mean, self.by_seed, self.df, self.by_text).p_above(-threshold)

    def p_within(self, margin: float) -> float:
        """The p-value of "the mean is nearer to 0 than ``margin``" (two one-sided tests, TOST:
        Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15).
        """
        return max(self.p_above(-margin), self.p_below(margin))


def at_least(count: int, p_values: Sequence[float]) -> float:
    """The p-value of "``count`` of these statements or more are true".

    ``(n − count + 1) · p₍count₎`` (Benjamini and Heller 2008, Biometrics 64). For all n of them it
    is the largest p-value, the intersection–union test; for one of them it is Bonferroni's.
    """
    return min(1.0, (len(p_values) - count + 1) * sorted(p_values)[count - 1])


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, adjusted so that one of them all is wrong with the probability of a single test
    (Holm 1979, Scandinavian Journal of Statistics 6).
    """
    adjusted, so_far = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = so_far
    return adjusted


def p_most(times: int, count: int) -> float:
    """The p-value of "more often than not", where that was so ``times`` times out of ``count``.

    The sign test, with half the weight on what was seen (mid-p: Lancaster 1961, Journal of the
    American Statistical Association 56). Fewer than five answers decide nothing; with more, the
    error in both directions together is between 2 and 8 %, as whole numbers have it.
    """
    coin = stats.binom(count, 0.5)
    return float(coin.sf(times) + coin.pmf(times) / 2)


def p_trend(rows: Sequence[Sequence[float]]) -> float:
    """The p-value of "along each row the values rise": a row for each seed, in the order that is
    expected. Values may be infinite, and equal.

    The sum over rows of the ranks times their places (Page 1963, Journal of the American
    Statistical Association 58), against the same rows in random order; ties count as they are.
    """
    ranks = stats.rankdata(np.asarray(rows, dtype=np.float64), axis=1)
    places = np.arange(ranks.shape[1])
    seen = (ranks @ places).sum()
    many = np.repeat(ranks[None], _PERMUTATIONS, axis=0)
    shuffled = np.random.default_rng(0).permuted(many, axis=2)
    as_high = ((shuffled @ places).sum(axis=1) >= seen - 1e-9).sum()
    return float((1 + as_high) / (1 + _PERMUTATIONS))
