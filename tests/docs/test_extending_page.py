"""The page on extending tells every decision that a strategy makes, and where one is entered."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from pages import ROOT

import fedtune
from fedtune.config import DISTILLING, SERVER_OPTIMIZERS, TrialConfig, allowed, mark_of
from fedtune.config.kinds import Needs
from fedtune.federated.strategies import STRATEGIES

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
NAMES = get_args(TrialConfig.model_fields["strategy"].annotation)


def test_every_method_and_attribute_of_a_strategy_is_in_its_tables() -> None:
    cells = re.findall(r"^\| (`.+?) \|", PAGE, re.M)
    told = {name for cell in cells for name in re.findall(r"`(\w+)(?:\(.*?\))?`", cell)}
    assert told == {name for name in vars(fedtune.FedAvg) if not name.startswith("_")}


@pytest.mark.parametrize(
    "place",
    [
        "STRATEGIES",
        "strategy_of",
        "Allowed",
        "server_optimizer",
        "Follows",
        "Later",
        "_OF_STRATEGY",
    ],
)
def test_every_place_in_which_one_that_ships_is_entered_is_named(place: str) -> None:
    assert f"`{place}`" in PAGE.partition("One that ships with fedtune is")[2].partition("##")[0]


def test_the_places_agree() -> None:
    assert {*NAMES} - {*SERVER_OPTIMIZERS} == {*STRATEGIES}
    assert all(f"'{name}'" in allowed("strategy") for name in NAMES)
    needs = mark_of("server_optimizer", Needs)
    assert needs is not None
    assert {*STRATEGIES} - {*needs.values} == {"one-shot"}
    assert {*DISTILLING} <= {*STRATEGIES}
