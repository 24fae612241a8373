"""When a curve reaches a level, and what steps alone say."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from as_tracked import in_memory
from synthetic import make_trial, run_all

from fedtune.analysis.passage import Passage, first_passage, steps_to


def after(values: list[float]) -> list[tuple[float, float]]:
    return list(enumerate(values, start=1))


@pytest.mark.parametrize(
    ("values", "passage"),
    [
        ([0.5, 0.8, 0.9], (1, 2)),
        ([0.9, 0.9, 0.9], (0, 1)),
        ([0.5, 0.8, 0.5, 0.5, 0.6], (5, math.inf)),  # one lucky evaluation
        ([0.5, 0.8, 0.66, 0.8, 0.8], (1, 2)),  # one unlucky one: on average it stays there
        ([0.5, 0.71, 0.6, 0.8, 0.8], (3, 4)),
        ([0.5, 0.9, 0.9, 0.9, 0.2], (1, 2)),  # on average up to the end 0.725
        ([0.5, 0.9, 0.9, 0.2, 0.2], (5, math.inf)),
        ([0.5, 0.6], (2, math.inf)),
        ([], (0, math.inf)),
    ],
)
def test_a_level_is_reached_where_the_values_stay(
    values: list[float], passage: tuple[float, float]
) -> None:
    assert first_passage(after(values), 0.7) == passage


def test_a_trial_that_stops_where_it_meets_its_target_has_met_it_there() -> None:
    """Whatever came before: all of it is below the target."""
    assert first_passage(after([0.6, 0.69, 0.5, 0.65, 0.7]), 0.7) == (4, 5)


def test_steps_as_rounds() -> None:
    assert Passage(0, 512).rounds(16) == (1, 32)
    assert Passage(512, 1024).rounds(512) == (2, 2)
    assert Passage(40, 48).rounds(16) == (3, 3)
    assert Passage(100, math.inf).rounds(16) == (7, math.inf)
    assert [str(Passage(*ends)) for ends in ((1, 32), (2, 2), (7, math.inf))] == [
        "1 to 32",
        "2",
        "7 or more",
    ]


def test_evaluations_within_rounds_say_more_closely_when_a_level_is_reached() -> None:
    """A round has 512 steps."""
    (trial,) = in_memory(run_all([make_trial("mini-bert", "imdb", 1)], lambda *_: 0.8)).trials
    within = [{"step": step, "test/accuracy": step / 100} for step in (16, 32, 64, 128)]

    found = steps_to(replace(trial, by_step=within), 0.6, "test/accuracy")

    assert (steps_to(trial, 0.6), found) == (Passage(0, 512), Passage(32, 64))
