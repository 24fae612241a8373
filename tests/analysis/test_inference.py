"""How often the tests of a report say something that is not so, and what they give by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fedtune.analysis.inference import (
    ONE_SIDED,
    Estimate,
    at_least,
    holm,
    p_most,
    p_trend,
)
from fedtune.analysis.samples import Sample

SEEDS = (2, 3, 4, 5, 10)

#: Of a difference between two trials as they were seen in the study with miniatures: how far a seed
#: moves it (1.0 to 1.4 points were seen), and the variance over test texts, shared by all seeds and
#: each seed's own.
SEED_SD, SHARED, OWN = 0.012, 0.0716, 0.1168


def draws(
    rng: np.random.Generator, seeds: int, texts: int, count: int, seed_sd: float = SEED_SD
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means over texts (count, seeds), and what a crossed design says the texts add to the seeds.

    The texts themselves are many, so the part that they add is drawn with its own error.
    """
    effects = rng.normal(0, seed_sd, (count, seeds))
    shared = rng.normal(0, math.sqrt(SHARED / texts), (count, 1))
    means = effects + shared + rng.normal(0, math.sqrt(OWN / texts), (count, seeds))
    of_texts = (seeds * SHARED + OWN) * rng.chisquare(texts - 1, count) / (texts - 1)
    df = (texts - 1) * (seeds - 1)
    rest = OWN * rng.chisquare(df, count) / df
    return means, np.maximum((of_texts - rest) / (seeds * texts), 0), rest


def estimates(
    rng: np.random.Generator, seeds: int, texts: int, count: int, seed_sd: float = SEED_SD
) -> list[Estimate]:
    means, added, _ = draws(rng, seeds, texts, count, seed_sd)
    rows = zip(means, means.var(axis=1, ddof=1) / seeds, added, strict=True)
    return [Estimate(row.mean(), v, seeds - 1, w) for row, v, w in rows]


def wrong(found: list[Estimate]) -> float:
    """How often an interval leaves out the truth, which is 0."""
    return float(np.mean([abs(each.mean) > each.half_width() for each in found]))


@pytest.mark.parametrize("texts", [1000, 7600])
@pytest.mark.parametrize("seeds", SEEDS)
def test_a_difference_that_is_none_is_found_in_five_percent(seeds: int, texts: int) -> None:
    rng = np.random.default_rng(seeds * texts)

    assert 0.03 <= wrong(estimates(rng, seeds, texts, 8_000)) <= 0.07


def test_of_many_comparisons_in_a_claim_one_is_wrong_in_five_percent() -> None:
    """Six slopes that are all 0, as in a claim about two models on three data sets: without an
    adjustment one of them is below 0 in one study of eight.
    """
    rng = np.random.default_rng(0)
    rows = [estimates(rng, 5, 1000, 1_500) for _ in range(6)]
    p_values = np.array([[each.p_above(0.0) for each in row] for row in rows]).T

    plain = np.mean(p_values.min(axis=1) <= ONE_SIDED)
    adjusted = np.mean([min(holm(list(row))) <= ONE_SIDED for row in p_values])

    assert plain > 0.1
    assert adjusted <= 0.035


def test_by_examples_the_same_error_as_by_their_summary() -> None:
    """The whole way, from right and wrong answers: of few texts, for time's sake."""
    rng = np.random.default_rng(1)
    seeds, texts, count = 3, 300, 1_500
    wrongly = 0
    for _ in range(count):
        rows = (
            rng.normal(0, 0.02, (seeds, 1))
            + rng.normal(0, math.sqrt(SHARED), (1, texts))
            + rng.normal(0, math.sqrt(OWN), (seeds, texts))
        )
        sample = Sample(dict(enumerate(rows.mean(axis=1))), 0.1, rows, "one")
        low, high = sample.estimate.interval()
        wrongly += not low <= 0 <= high

    assert 0.02 <= wrongly / count <= 0.07


@pytest.mark.parametrize("count", range(1, 21))
def test_a_coin_is_called_by_its_side_in_eight_percent_at_most(count: int) -> None:
    said = [k for k in range(count + 1) if p_most(k, count) <= ONE_SIDED]

    assert 2 * stats.binom(count, 0.5).pmf(said).sum() <= 0.08
    assert bool(said) == (count >= 5), "fewer than five answers decide nothing"


def test_a_trend_where_order_is_random_is_found_in_no_more_than_its_level() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(1, 4, (150, 3, 6)).astype(float)
    rows[rng.random(rows.shape) < 0.1] = math.inf

    found = np.mean([p_trend(each) <= ONE_SIDED for each in rows])

    assert found <= 0.045


@pytest.mark.parametrize(
    ("rows", "p"),
    [
        ([[1, 1, 1, 1, 1, 2]] * 3, 1 / 216),
        ([[1, 1, 1, 1, 1, 1]] * 3, 1.0),
        ([[1, 1, 2, 5, math.inf, math.inf]] * 3, 0.0001),
        ([[6, 5, 4, 3, 2, 1]] * 3, 1.0),
        ([[1, 2, 3]], 1 / 6),
    ],
)
def test_trends_by_hand(rows: list[list[float]], p: float) -> None:
    assert p_trend(rows) == pytest.approx(p, abs=0.004)


def test_without_texts_an_estimate_is_students_t() -> None:
    values = [0.4, 0.1, 0.5]
    expected = stats.ttest_1samp(values, 0.0, alternative="greater")
    estimate = Sample(dict(enumerate(values))).estimate

    assert estimate.p_above(0.0) == pytest.approx(expected.pvalue, rel=1e-6)
    assert estimate.p_below(0.0) == pytest.approx(1 - expected.pvalue, rel=1e-6)
    assert estimate.interval() == pytest.approx(
        stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    )


def test_with_texts_alone_it_is_normal() -> None:
    estimate = Estimate(0.3, 0.0, 2, 0.01)

    assert estimate.p_above(0.0) == pytest.approx(stats.norm.sf(3), rel=1e-6)
    assert estimate.interval() == pytest.approx((0.3 - 0.196, 0.3 + 0.196), abs=1e-3)


def test_p_values_and_intervals_agree() -> None:
    estimate = Estimate(0.3, 0.02, 2, 0.01)
    low, high = estimate.interval()

    assert estimate.p_above(low) == pytest.approx(ONE_SIDED)
    assert estimate.p_below(high) == pytest.approx(ONE_SIDED)
    assert estimate.p_within(high) > estimate.p_within(1.1 * high)


def test_equivalence_needs_both_bounds_inside() -> None:
    near = Estimate(0.002, 1e-6, 4)
    assert near.p_within(0.01) < 0.05 < near.p_within(0.003)
    assert Estimate(0.02, 1e-6, 4).p_within(0.01) > 0.9


def test_one_seed_decides_nothing() -> None:
    estimate = Sample({0: 5.0}, 0.001).estimate

    assert estimate.p_above(0.0) == estimate.p_below(0.0) == estimate.p_within(100) == 1.0
    assert estimate.interval() == (-math.inf, math.inf)


def test_several_p_values() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert at_least(3, [0.01, 0.02, 0.2]) == 0.2, "all: the largest"
    assert at_least(1, [0.01, 0.02, 0.2]) == pytest.approx(0.03), "one: Bonferroni"
    assert at_least(2, [0.01, 0.02, 0.2]) == pytest.approx(0.04)
