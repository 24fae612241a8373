"""A quantity by seed, and how far to trust it: over seeds and over test examples.

Seeds and test examples are crossed, since every seed's model answers the same examples. The
variance of a mean over both is that of the seeds' means plus that of the examples' means, less the
residual, which is in both (Cornfield and Tukey 1956, Annals of Mathematical Statistics 27; Owen
2007, The pigeonhole bootstrap, Annals of Applied Statistics 1). What the examples add to the seeds'
part is never taken to be below zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedtune.analysis import numbers
from fedtune.analysis.inference import Estimate

Examples = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """A quantity by seed.

    ``noise`` is the standard error that a test set gives one seed's value. Where the predictions
    are known, ``examples`` tells more: a row for each seed, in the order of ``values``, and a
    column for each example of ``test_set``; a row's mean is the seed's value.
    """

    values: Mapping[int, float]
    noise: float = 0.0
    examples: Examples | None = None
    test_set: str = ""

    @property
    def mean(self) -> float:
        """The mean over seeds (at least one)."""
        return numbers.mean(self.values.values())

    @property
    def test_error(self) -> float:
        """The standard error that the test set gives the mean over seeds; seeds share it.

        From the predictions it is that of a paired comparison (for one seed, that behind McNemar's
        test), else it is as if every trial had been tested on examples of its own.
        """
        if self.examples is None:
            return self.noise
        return math.sqrt(_variance_of_mean(self.examples.mean(axis=0)))

    @property
    def estimate(self) -> Estimate:
        """The mean with what is known of its error, from the seeds and from the test examples.

        The same formula for any number of seeds: those that one has tell how much they differ.
        """
        seeds = len(self.values)
        known = (self.noise, *self.values.values())
        if seeds < 2 or not all(map(math.isfinite, known)):
            return Estimate(self.mean, 0.0, 0)
        spread = numbers.spread(list(self.values.values())) or 0.0
        return Estimate(self.mean, spread**2 / seeds, seeds - 1, self._added())

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean, over seeds and test examples; None for one seed."""
        estimate = self.estimate if self.values else None
        return estimate.interval() if estimate is not None and estimate.df > 0 else None

    def shown(self, form: Callable[[float], str]) -> str:
        """The mean with its interval; of one seed alone."""
        bounds = self.interval()
        if bounds is None:
            return form(self.mean)
        low, high = map(form, bounds)
        return f"{form(self.mean)} [{low}, {high}]" if low != high else low

    def only(self, seeds: Sequence[int]) -> Sample:
        """The sample of these seeds alone."""
        order = list(self.values)
        rows = None
        if self.examples is not None:
            rows = self.examples[[order.index(seed) for seed in seeds]]
        return Sample({s: self.values[s] for s in seeds}, self.noise, rows, self.test_set)

    def _added(self) -> float:
        """The variance of the mean that the test examples add to that of the seeds.

        Without predictions nobody knows which part of the noise the seeds share: then all of it.
        """
        if self.examples is None:
            return self.noise**2
        seeds, count = self.examples.shape
        by_example = self.examples.mean(axis=0)
        by_seed = self.examples.mean(axis=1, keepdims=True)
        residuals = self.examples - by_seed - by_example + by_seed.mean()
        residual = float(np.square(residuals).sum() / ((seeds - 1) * (count - 1)))
        return max(_variance_of_mean(by_example) - residual / self.examples.size, 0.0)


def _variance_of_mean(values: Examples) -> float:
    return float(values.var(ddof=1) / len(values))


def paired(samples: Iterable[Sample]) -> list[Sample]:
    """Each with only the seeds that they all have."""
    samples = list(samples)
    shared = sorted(set.intersection(*(set(sample.values) for sample in samples)))
    return [sample.only(shared) for sample in samples]


def combine(terms: Sequence[tuple[float, Sample]], plus: float = 0.0) -> Sample:
    """The sum of weighted quantities, and a constant, paired by seed.

    Examples are paired too, where every quantity has them and they are of one test set.
    """
    weights = [weight for weight, _ in terms]
    samples = paired(sample for _, sample in terms)
    pairs = list(zip(weights, samples, strict=True))
    values = {
        seed: plus + sum(weight * sample.values[seed] for weight, sample in pairs)
        for seed in samples[0].values
    }
    noise = math.hypot(*(weight * sample.noise for weight, sample in pairs if weight))
    test_sets = {sample.test_set for sample in samples}
    parts = [w * s.examples for w, s in pairs if s.examples is not None]
    if not values or len(parts) < len(pairs) or len(test_sets) > 1:
        return Sample(values, noise)
    return Sample(values, noise, plus + np.sum(parts, axis=0), test_sets.pop())


def mean_over(samples: Sequence[Sample]) -> Estimate | None:
    """The mean of quantities of several models and data sets, each counting the same.

    All trials with a seed share what it draws: initial weights, who has which examples, their
    order. So what a seed does to one model on one data set may be what it does to the others, and
    they are no observations of their own. The mean over all of them is taken seed by seed, and its
    error is that of these means: right whatever they have in common, and with no more degrees of
    freedom than there are seeds, less one. To that comes what the test texts add, text by text
    within a test set; different test sets share none.

    Of the seeds that all of them have; None without one.
    """
    own = paired(samples) if samples else []
    if not own or not own[0].values:
        return None
    terms = [(1 / len(own), sample) for sample in own]
    estimate = combine(terms).estimate
    if estimate.df == 0:
        return estimate
    by_test_set: dict[str, list[tuple[float, Sample]]] = {}
    for term in terms:
        by_test_set.setdefault(term[1].test_set, []).append(term)
    return replace(estimate, by_text=sum(combine(each)._added() for each in by_test_set.values()))


def difference(one: Sample, other: Sample) -> Sample:
    """How much more ``one`` is than ``other``, paired by seed and by test example."""
    return combine([(1.0, one), (-1.0, other)])
