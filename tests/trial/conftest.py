"""What tests of whole trials share."""

from __future__ import annotations

from typing import Any

import pytest

from fedtune.trial import simulation
from fedtune.trial.federation import Federation


@pytest.fixture
def every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every round gets a checkpoint, however quick it is."""
    monkeypatch.setattr(simulation, "checkpoint_pause", lambda took_s: 0.0)


@pytest.fixture
def rounds_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the rounds that are really computed."""
    numbers: list[int] = []
    compute = Federation.round

    def counted(self: Federation, round_num: int, *asked: Any) -> dict[str, Any]:
        numbers.append(round_num)
        return compute(self, round_num, *asked)

    monkeypatch.setattr(Federation, "round", counted)
    return numbers
