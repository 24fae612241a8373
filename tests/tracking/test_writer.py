"""The writer of a launch, with projections that fail as those of a real server do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from fedtune.config import TrialConfig
from fedtune.tracking.projection import Projection
from fedtune.tracking.writer import Writer
from fedtune.trial.identity import Trial


def trial(clients: int) -> Trial:
    """One of which no round will be read, since MLflow is not even reached."""
    config = TrialConfig(model="m", dataset="d", clients=clients)
    return Trial(config, "auto", "", "", "", "")


def test_a_server_that_refuses_is_given_up_as_one_that_is_silent_is(tmp_path: Path) -> None:
    trials = {t.trial_id: t for t in map(trial, range(1, 61))}
    attempts: list[float] = []

    def refused(on_step: Callable[[], None]) -> Projection:
        attempts.append(time.sleep(0.05) or 0.0)  # as long as its client tries
        raise ConnectionError("connection refused")

    writer = Writer(refused, tmp_path, trials)
    for trial_id in trials:
        writer.update(trial_id)
    left = writer.flush(patience_s=0.2)

    assert set(left) == set(trials)
    assert any("connection refused" in reason for reason in left.values())
    assert len(attempts) < len(trials), "each refusal counted as progress"
