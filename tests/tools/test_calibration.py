"""What the calibration of learning rates chooses, on curves with a known answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fedtune.errors import BadInput
from tools import calibration


def trial(
    rate: float, curve: list[float], dataset: str = "imdb", *, budget: int = 4, ended: bool = True
) -> Any:
    """A tracked trial as far as the calibration reads it; a shorter curve is one that diverged."""
    records = [{"round": 0, "validation/accuracy": 0.5}]
    records += [{"round": r, "validation/accuracy": a} for r, a in enumerate(curve, start=1)]
    return SimpleNamespace(
        name=f"K001 m {dataset} s0 learning_rate={rate}",
        model="m",
        dataset=dataset,
        params={"learning_rate": str(rate)},
        rule=SimpleNamespace(budget=budget),
        records=records,
        ended=ended,
    )


def chosen(trials: list[Any]) -> float:
    return calibration.choose(calibration.curves(trials)["m"])


def test_the_largest_rate_within_half_a_point_of_the_best_is_chosen() -> None:
    best, near, far = [0.6, 0.7, 0.80, 0.80], [0.6, 0.7, 0.79, 0.802], [0.6, 0.9, 0.79, 0.79]
    assert chosen([trial(0.01, best), trial(0.02, near), trial(0.04, far)]) == 0.02
    assert chosen([trial(0.01, best), trial(0.02, far)]) == 0.01, "only the second half counts"


def test_data_sets_and_seeds_are_averaged_and_a_rate_that_diverged_is_out() -> None:
    trials = [
        trial(0.01, [0.7] * 4),
        trial(0.01, [0.7] * 4, "yelp"),
        trial(0.02, [0.9] * 4),
        trial(0.02, [0.9] * 4),
        trial(0.02, [0.9, 0.9], "yelp"),
    ]
    assert chosen(trials) == 0.01
    table = calibration.as_markdown(calibration.curves(trials))
    assert "| m | 0.01 | 0.700 | 0.700 | 0.700 | yes |" in table
    assert "| m | 0.02 | 0.900 | diverged |  |  |" in table
    two_seeds = [trial(0.01, [0.6] * 4), trial(0.01, [0.8] * 4)]
    assert calibration.curves(two_seeds)["m"][0.01]["imdb"] == pytest.approx([0.7] * 4)


def test_rounds_that_were_not_evaluated_are_left_out() -> None:
    curves = {0.01: [0.6, 0.7, 0.70, 0.80], 0.02: [0.6, 0.9, 0.60, 0.75]}
    every, every_other = ([trial(*of) for of in curves.items()] for _ in range(2))
    for record in (r for t in every_other for r in t.records if r["round"] in (1, 3)):
        record["train/loss"] = record.pop("validation/accuracy")

    assert calibration.curves(every_other)["m"] == {
        0.01: {"imdb": [0.7, 0.80]},
        0.02: {"imdb": [0.9, 0.75]},
    }
    assert chosen(every) == chosen(every_other) == 0.01
    assert "each evaluated round from the second on adds, on average, +10.0 points" in (
        calibration.as_markdown(calibration.curves(every_other))
    )


def test_a_calibration_that_is_not_whole_chooses_nothing() -> None:
    with pytest.raises(BadInput, match=r"has not ended \(1 of 2 trials\)"):
        chosen([trial(0.01, [0.7] * 4), trial(0.02, [0.7], ended=False)])
    blind = trial(0.01, [0.7] * 4)
    blind.records = [{"round": 0, "test/accuracy": 0.5}]
    with pytest.raises(BadInput, match="has no validation accuracy"):
        chosen([blind])
    with pytest.raises(BadInput, match="diverged everywhere"):
        chosen([trial(0.01, [0.7])])
