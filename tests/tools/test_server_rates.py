"""Which settings of strategies are chosen, on curves with a known answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fedtune.errors import BadInput
from tools import server_rates


def trial(
    strategy: str, clients: int, curve: list[float], *, optimizer: str = "none", **params: str
) -> Any:
    """A tracked trial as far as the choice reads it; a shorter curve is one that diverged."""
    settings = {"prox_mu": "0.01", "server_learning_rate": "1.0"} | params
    records = [{"round": 0, "validation/accuracy": 0.25}]
    records += [{"round": r, "validation/accuracy": a} for r, a in enumerate(curve, start=1)]
    return SimpleNamespace(
        name=f"K{clients:03} m d s0 {strategy}",
        clients=clients,
        params={"strategy": strategy, "server_optimizer": optimizer} | settings,
        rule=SimpleNamespace(budget=4),
        records=records,
        ended=True,
        is_baseline=False,
    )


def adam(clients: int, rate: str, curve: list[float]) -> Any:
    return trial("fedavg", clients, curve, optimizer="adam", server_learning_rate=rate)


def test_the_best_mean_over_the_second_half_and_over_clients_is_chosen() -> None:
    trials = [
        trial("fedavg", 8, [0.5, 0.5, 0.6, 0.7]),
        adam(8, "0.01", [0.9, 0.9, 0.5, 0.5]),
        adam(32, "0.01", [0.9, 0.9, 0.5, 0.5]),
        adam(8, "0.1", [0.3, 0.3, 0.7, 0.7]),
        adam(32, "0.1", [0.3, 0.3, 0.4, 0.4]),
    ]
    found = server_rates.scores(trials)
    assert server_rates.choose(found["fedadam"]) == "0.1"
    assert found["fedavg"] == {"": {8: pytest.approx(0.65)}}


def test_a_setting_that_diverged_with_one_number_of_clients_is_out() -> None:
    trials = [
        trial("fedprox", 8, [0.9] * 4, prox_mu="1.0"),
        trial("fedprox", 32, [0.9] * 2, prox_mu="1.0"),
        trial("fedprox", 8, [0.4] * 4, prox_mu="0.1"),
        trial("fedprox", 32, [0.4] * 4, prox_mu="0.1"),
    ]
    found = server_rates.scores(trials)
    assert server_rates.choose(found["fedprox"]) == "0.1"
    table = server_rates.as_markdown(found)
    assert "| fedprox | prox_mu 0.1 | 0.400 | 0.400 | 0.400 | yes |" in table
    assert "| fedprox | prox_mu 1.0 | 0.900 | diverged |  |  |" in table
    with pytest.raises(BadInput, match="diverged everywhere"):
        server_rates.choose({"1.0": found["fedprox"]["1.0"]})


def test_a_part_of_the_trials_is_no_ground_for_a_choice() -> None:
    open_trial = trial("fedavg", 8, [0.5] * 4)
    open_trial.ended = False
    with pytest.raises(BadInput, match="has not ended"):
        server_rates.scores([open_trial])
