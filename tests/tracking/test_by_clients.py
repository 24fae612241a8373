"""What a sweep amounts to for each number of clients."""

from __future__ import annotations

from typing import Any

import pytest

from fedtune.config import TrialConfig
from fedtune.tracking.by_clients import points_by_clients
from fedtune.trial.identity import Trial
from fedtune.trial.results import Result
from fedtune.trial.stopping import Summary


def result(
    clients: int, seed: int, accuracy: float | None, rounds: int | None, **settings: Any
) -> Result:
    """A trial that has ended; one that has not, where there is no ``accuracy``."""
    values = {"model": "m", "dataset": "d", "learning_rate": 0.1} | settings
    config = TrialConfig(clients=clients, seed=seed, **values)
    trial = Trial(config, "auto", config.model, config.dataset, "", "")
    ended = accuracy is not None
    summary = Summary(
        outcome=None,
        collapsed=False,
        baseline_accuracy=None,
        target_accuracy=None,
        shown=None,
        accuracy_at_budget=None,
        relative_accuracy=None,
        rounds_to_target=rounds,
        steps_to_target=None,
        final_accuracy=accuracy,
        chance=0.5,
        clients=clients,
    )
    return Result(trial, [], {}, summary if ended else None, None, ended, {}, None, None)


def test_median_and_best_over_the_seeds_stand_at_the_number_of_clients() -> None:
    results = [
        *(result(1, seed, accuracy, 1) for seed, accuracy in enumerate((0.9, 0.7, 0.8))),
        *(result(32, seed, 0.6, rounds) for seed, rounds in enumerate((4, 9, 5))),
    ]
    assert points_by_clients(results, ("clients", "seed"), {}) == {
        ("by_clients/final_accuracy_median", 1): 0.8,
        ("by_clients/final_accuracy_best", 1): 0.9,
        ("by_clients/final_accuracy_median", 32): 0.6,
        ("by_clients/final_accuracy_best", 32): 0.6,
        ("by_clients/rounds_to_target_median", 1): 1,
        ("by_clients/rounds_to_target_best", 1): 1,
        ("by_clients/rounds_to_target_median", 32): 5,
        ("by_clients/rounds_to_target_best", 32): 4,
    }


@pytest.mark.parametrize(
    ("rounds", "median", "best"),
    [
        ((4, None, 5), 5, 4),
        ((4, None, None), None, 4),
        ((4, None), None, 4),
        ((None, None), None, None),
    ],
)
def test_a_target_that_was_not_met_is_later_than_any_round(
    rounds: tuple[int | None, ...], median: int | None, best: int | None
) -> None:
    results = [result(8, seed, 0.6, reached) for seed, reached in enumerate(rounds)]
    found = points_by_clients(results, (), {})
    assert found.get(("by_clients/rounds_to_target_median", 8)) == median
    assert found.get(("by_clients/rounds_to_target_best", 8)) == best


def test_where_a_seed_has_not_ended_there_is_nothing_yet() -> None:
    results = [result(1, 0, 0.9, 1), result(8, 0, 0.8, 2), result(8, 1, None, None)]
    assert {clients for _, clients in points_by_clients(results, (), {})} == {1}


def test_models_data_sets_and_settings_have_metrics_of_their_own() -> None:
    results = [
        result(1, 0, 0.9, 1, model="/a/m+n", weight_decay=0.0),
        result(1, 0, 0.8, 1, model="/a/o", weight_decay=0.0),
        result(1, 0, 0.7, 1, model="/a/o", weight_decay=0.1),
    ]
    known = {("model", "/a/m+n"): "m+n", ("model", "/a/o"): "o"}
    found = points_by_clients(results, ("model", "weight_decay"), known)
    prefix = "by_clients/final_accuracy_best/"
    assert {key.removeprefix(prefix): v for (key, _), v in found.items() if prefix in key} == {
        "m-n weight_decay 0.0": 0.9,
        "o weight_decay 0.0": 0.8,
        "o weight_decay 0.1": 0.7,
    }


def test_the_many_settings_of_a_search_are_taken_together() -> None:
    results = [result(1, 0, i / 100, 1, weight_decay=i / 100) for i in range(50)]
    found = points_by_clients(results, ("weight_decay",), {})
    assert found["by_clients/final_accuracy_best", 1] == 0.49
