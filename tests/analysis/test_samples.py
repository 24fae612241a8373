"""Intervals over seeds and test examples, on numbers whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from as_tracked import answers, in_memory, with_answers, write
from grids import whole_grid
from support import new_database
from synthetic import make_trial, result_of, run_all
from worlds import paper_like

from fedtune.analysis import numbers, tables, tracked
from fedtune.analysis.cell import Series
from fedtune.analysis.history import load_sweep
from fedtune.analysis.paper.verdicts import above
from fedtune.analysis.predictions import read
from fedtune.analysis.quantities import ACCURACY, AREA, RETENTION, Quantity, sample
from fedtune.analysis.samples import Sample, combine, difference
from fedtune.analysis.tracked import TrackedTrial


def of(rows: list[list[float]], test_set: str = "one", noise: float = 0.5) -> Sample:
    examples = np.array(rows)
    return Sample(dict(enumerate(examples.mean(axis=1))), noise, examples, test_set)


def test_a_single_seed_has_the_error_behind_mcnemars_test() -> None:
    one = [1.0] * 60 + [0.0] * 40
    other = [1.0] * 50 + [0.0] * 10 + [1.0] * 2 + [0.0] * 38

    margin = difference(of([one]), of([other]))

    assert margin.mean == pytest.approx(0.08)
    assert margin.test_error == pytest.approx(math.sqrt((12 / 100 - 0.08**2) / 99))
    assert margin.test_error < 0.1 * math.hypot(0.5, 0.5)


def test_the_crossed_variance_is_the_sum_of_its_parts_without_what_both_contain() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (6, 1)) + rng.normal(0, 3, 40) + rng.normal(0, 2, (6, 40))
    sample = of(rows.tolist())

    # The same by the table of a two-way analysis of variance without repeats.
    seeds, count = rows.shape
    by_seed, by_example = rows.mean(axis=1), rows.mean(axis=0)
    rest = rows - by_seed[:, None] - by_example[None, :] + rows.mean()
    mean_squares = {
        "seeds": count * by_seed.var(ddof=1),
        "examples": seeds * by_example.var(ddof=1),
        "rest": (rest**2).sum() / ((seeds - 1) * (count - 1)),
    }
    added = (mean_squares["examples"] - mean_squares["rest"]) / (seeds * count)
    own = mean_squares["seeds"] / (seeds * count)
    half = (2.5706 * own + 1.95996 * added) / math.sqrt(own + added)

    expected = rows.mean() - half, rows.mean() + half
    assert sample.interval() == pytest.approx(expected, rel=1e-4)


def test_examples_never_make_an_interval_narrower_than_seeds_alone() -> None:
    alternating = of([[1.0, 0.0] * 10, [0.0, 1.0] * 10] * 3)
    uneven = Sample({s: v + s / 100 for s, v in alternating.values.items()}, 0.0)
    uneven_rows = of([[x + s / 100 for x in row] for s, row in enumerate(alternating.examples)])

    assert uneven_rows.interval() == pytest.approx(uneven.interval())


def test_one_seed_has_no_interval() -> None:
    assert of([[1.0, 0.0]]).interval() is None
    assert of([[1.0, 0.0]] * 2).interval() is not None


def test_two_seeds_have_an_interval_that_says_how_little_they_tell() -> None:
    low, high = Sample({0: 0.03, 1: 0.05}).interval() or (0, 0)

    assert (low, high) == pytest.approx((0.04 - 12.706 * 0.01, 0.04 + 12.706 * 0.01), rel=1e-4)


def test_seeds_are_paired_and_another_test_set_is_not() -> None:
    one = Sample({0: 0.5, 1: 0.6, 2: 0.7}, 0.03, np.full((3, 4), 0.5), "one")
    other = Sample({2: 0.1, 1: 0.2}, 0.04, np.full((2, 4), 0.1), "one")

    paired = difference(one, other)

    assert paired.values == pytest.approx({1: 0.4, 2: 0.6})
    assert paired.examples is not None
    assert paired.noise == pytest.approx(0.05)
    elsewhere = difference(one, Sample(other.values, 0.04, other.examples, "another"))
    assert elsewhere.examples is None
    assert elsewhere.test_error == pytest.approx(0.05)
    assert combine([(2.0, one)], -1.0).values == pytest.approx({0: 0.0, 1: 0.2, 2: 0.4})


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_what_is_lost_is_sharper_paired_by_example_than_with_binomial_errors(seeds: int) -> None:
    results = run_all(whole_grid(("mini-bert",), ("imdb",), (1, 4), range(seeds)), paper_like)
    series = Series("mini-bert", "imdb")

    plain, paired = (
        tables.lost(grid, grid.cell(series, 4))
        for grid in (in_memory(results), in_memory(results, answered=True))
    )

    assert paired.values == pytest.approx(plain.values)
    assert paired.test_error < 0.7 * plain.test_error


def test_the_interval_of_one_model_is_no_wider_by_example_than_with_binomial_errors() -> None:
    results = run_all(whole_grid(("mini-bert",), ("imdb",), (1, 4), range(5)), paper_like)
    series = Series("mini-bert", "imdb")

    plain, exact = (
        grid.cell(series, 4).sample(ACCURACY).interval()
        for grid in (in_memory(results), in_memory(results, answered=True))
    )

    assert plain is not None
    assert exact is not None
    binomial = 2 * numbers.NORMAL_95 * numbers.binomial_se(sum(exact) / 2, 2000)
    assert plain[1] - plain[0] == pytest.approx(binomial, rel=1e-3), "all of it may be shared"
    assert exact[1] - exact[0] == pytest.approx(binomial, rel=0.15), (
        "much the same are hard for all"
    )


def test_retention_by_example_has_the_retention_as_its_mean_and_k_1_has_no_error() -> None:
    results = run_all(whole_grid(("mini-bert",), ("yelp",), (1, 8), range(2)), paper_like)
    grid = in_memory(results, answered=True)
    alone, many = (grid.cell(Series("mini-bert", "yelp"), k).sample(RETENTION) for k in (1, 8))

    assert alone.examples is not None
    assert many.examples is not None
    assert alone.test_error == pytest.approx(0, abs=1e-12)
    assert many.examples.mean(axis=1) == pytest.approx(list(many.values.values()))
    kept = grid.cell(Series("mini-bert", "yelp"), 8).values(lambda trial: trial.retention)
    assert many.values == pytest.approx(kept)
    assert many.test_error < many.noise


def with_one_example(trial: TrackedTrial) -> TrackedTrial:
    """The trial as if its test set had a single example."""
    facts = {**trial.facts, "data/test_examples": 1}
    tested = tracked.Tested("one", np.array([0]), np.array([True]))
    return replace(trial, facts=facts, tested=tested)


@pytest.mark.parametrize("quantity", [ACCURACY, AREA], ids=lambda quantity: quantity.name)
def test_a_single_test_example_decides_nothing(quantity: Quantity) -> None:
    results = run_all(whole_grid(("mini-bert",), ("imdb",), (1, 4), range(5)), paper_like)
    cells = in_memory(results, answered=True).cells(Series("mini-bert", "imdb"))

    for seeds in (1, 3):  # pytest makes an error of a warning about numbers that are none
        one, four = (
            sample({s: with_one_example(cell.trials[s]) for s in range(seeds)}, quantity)
            for cell in cells
        )
        margin = difference(one, four)
        assert margin.mean > 0.02
        assert margin.test_error == math.inf
        assert above(margin, 0.0).verdict == "inconclusive"
        assert above(combine([(0.0, one), (1.0, margin)]), 0.0).verdict == "inconclusive"
        assert tables.points(margin)


def test_with_few_seeds_the_interval_over_seeds_and_texts_stands_beside_their_range() -> None:
    noise = 0.01 / 1.96
    assert tables.points(Sample({0: 0.03}, noise)) == "3.0 ± 1.0", "the test set alone"
    assert tables.points(Sample({0: 0.03, 1: 0.05}, 0.0)) == "4.0 ± 12.7 (3.0 to 5.0)"
    wider = Sample({0: 0.03, 1: 0.05, 2: 0.04}, noise)
    assert tables.points(wider) == "4.0 ± 2.5 (3.0 to 5.0)"
    many = tables.points(Sample(dict.fromkeys(range(5), 0.03), 0.0))
    assert many == "3.0"


# Reading them


def test_predictions_come_back_from_mlflow_and_may_be_absent(tmp_path: Path) -> None:
    results = run_all(whole_grid(("mini-bert",), ("imdb",), (1, 2, 4)), paper_like)
    uri = new_database(tmp_path)
    first, second, third = with_answers(results, tmp_path)
    assert third.predictions is not None
    third.predictions.write_bytes(b"no array")
    write(uri, [first, second, third])

    one, two, four = load_sweep(uri, None).trials

    assert one.tested is not None
    assert two.tested is not None
    assert one.tested.test_set == two.tested.test_set
    assert two.tested.correct.mean() == pytest.approx(two.accuracy)
    assert two.baseline_tested is one.tested
    assert four.tested is None
    assert four.accuracy is not None


def test_predictions_of_another_round_or_shape_are_not_used() -> None:
    base = result_of(make_trial("mini-bert", "imdb", 1), paper_like)
    (trial,) = in_memory([base]).trials
    right = answers(base)

    assert read(right, trial) is not None
    wrong = right.copy()
    wrong[1] = 1 - wrong[0]
    for content in (wrong, right[:, :-1], right[0], right.astype(float)):
        assert read(content, trial) is None
