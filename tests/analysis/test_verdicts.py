"""The rules by which claims are judged, by themselves, and what they count with."""

from __future__ import annotations

import math

import pytest
from as_tracked import in_memory
from synthetic import make_trial, run_all

from fedtune.analysis import numbers
from fedtune.analysis.paper.evidence import stretch_at_chance
from fedtune.analysis.paper.verdicts import (
    NOT_RUN,
    Answer,
    Part,
    above,
    all_of,
    any_of,
    below,
    most_of,
    mostly,
    settled,
)
from fedtune.analysis.quantities import area, retained_area
from fedtune.analysis.roles import role_of
from fedtune.analysis.samples import Sample


def test_margins_by_seed() -> None:
    assert above(Sample({}, 0.1), 0.0).verdict == "not run"
    assert above(Sample({0: 0.3}, 0.1), 0.0).verdict == "inconclusive", "one seed"
    assert above(Sample({0: 0.3, 1: 0.1}, 0.01), 0.0).verdict == "inconclusive"
    assert above(Sample({0: 0.3, 1: 0.31, 2: 0.29}), 0.0).verdict == "holds"
    assert above(Sample({0: 0.3, 1: 0.31, 2: 0.29}), 0.4).verdict == "does not hold"
    assert below(Sample({0: 0.3, 1: 0.31, 2: 0.29}), 0.4).verdict == "holds"
    assert above(Sample(dict(enumerate([-3, 2, 3, 4, 5]))), 0.0).verdict == "inconclusive"


def test_answers_by_seed() -> None:
    assert mostly([]).verdict == "not run"
    assert mostly([False] * 4).verdict == "inconclusive"
    assert mostly([True] * 5).verdict == "holds"
    assert mostly([False] * 5).verdict == "does not hold"
    assert mostly([True] * 4 + [None]).verdict == "inconclusive"
    assert mostly([True] * 9 + [False]).verdict == "holds"


YES, NO, OPEN = Answer(p_yes=0.001), Answer(p_no=0.001), Answer(p_yes=0.4, p_no=0.6)


def test_parts_together() -> None:
    assert all_of([YES, NOT_RUN, NO]).verdict == "does not hold"
    assert all_of([YES, OPEN, NOT_RUN]).verdict == "not run"
    assert all_of([YES, Answer(otherwise="not applicable")]).verdict == "holds"
    assert all_of([YES, Answer(otherwise="not testable")]).verdict == "not testable"
    assert all_of([OPEN, Answer(otherwise="not testable")]).verdict == "inconclusive"
    assert any_of([OPEN, YES]).verdict == "holds"
    assert any_of([NO, NO]).verdict == "does not hold"
    assert any_of([NO, OPEN]).verdict == "inconclusive"
    assert most_of([YES, YES, NO]).verdict == "holds"
    assert most_of([YES, NO]).verdict == "does not hold"
    assert most_of([YES, OPEN]).verdict == "inconclusive"


def test_one_of_many_parts_that_is_wrong_by_chance_does_not_contradict_a_claim() -> None:
    by_chance = Part("a", Answer(p_yes=0.9, p_no=0.02), "")
    parts = [by_chance, *(Part("b", OPEN, "") for _ in range(5))]

    assert by_chance.verdict == "does not hold"
    assert all_of(part.answer for part in parts).verdict == "inconclusive"
    assert {part.verdict for part in settled(parts)} == {"inconclusive"}
    assert settled([by_chance])[0].verdict == "does not hold"


def test_numbers_against_values_from_tables() -> None:
    low, high = numbers.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (low, high) == pytest.approx((3 - 1.9632, 3 + 1.9632), abs=1e-3)
    assert numbers.median([1, math.inf, 3]) == 3
    assert numbers.median([1, math.inf, math.inf]) == math.inf
    assert numbers.slope_weights([0.0, 1.0, 2.0]) == pytest.approx([-0.5, 0.0, 0.5])
    assert numbers.binomial_se(0.5, 100) == 0.05


def test_area_and_stretch_at_chance_of_a_drawn_curve() -> None:
    accuracies = [0.5, 0.5, 0.5, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5, 0.9, 0.9]
    trial = make_trial("mini-bert", "imdb", 1)
    (drawn,) = in_memory(run_all([trial], lambda _, step: accuracies[step])).trials

    assert stretch_at_chance(drawn) == (0.4, True)
    assert area(drawn) == pytest.approx(0.5 + 0.4 * 3.5 / 10)
    level = (0.5 + 0.9 + 0.9) / 3
    assert retained_area(drawn) == pytest.approx(0.14 / (level - 0.5))


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("mini-bert", "bert"),
        ("google-bert/bert-base-cased", "bert"),
        ("/models/mini-albert", "albert"),
        ("distilbert-base-cased", "distilbert"),
        ("roberta", None),
        ("ag_news", "ag-news"),
        ("Yelp/yelp_review_full", "yelp"),
        ("stanfordnlp/imdb", "imdb"),
        ("bbc-news", None),
    ],
)
def test_which_of_the_papers_models_and_data_sets_a_name_stands_for(
    name: str, role: str | None
) -> None:
    assert role_of(name) == role
