"""What a Ray worker makes of an error: reported, or left to Tune, which tries again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ray import tune

from fedtune.plan.plan import Plan
from fedtune.run import trainable
from fedtune.run.space import trial_space
from fedtune.trial.identity import Trial


@pytest.fixture
def trial(plan: Plan) -> Trial:
    return plan.trials[0]


@pytest.fixture
def reports(trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is reported to Tune of a trial whose store is ``tmp_path``."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", told.append)
    monkeypatch.setattr(trainable, "_resolve", lambda config: (trial, tmp_path))
    return told


def failing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_trial(*_: object) -> None:
        raise error

    monkeypatch.setattr(trainable, "run_trial", run_trial)


def test_an_error_of_the_trial_is_reported_with_the_place_of_its_traceback(
    trial: Trial,
    reports: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing(ValueError("no such class"), monkeypatch)
    trainable.launch_trainable({})
    (report,) = reports
    assert report[trainable.TRIAL_ID] == trial.trial_id
    log = tmp_path / trial.trial_id / "error.log"
    assert report[trainable.FAILED] == f"ValueError: no such class (see {log})"
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, torch.AcceleratorError])
def test_what_a_gpu_raises_is_left_to_tune_which_tries_in_a_new_process(
    kind: type[RuntimeError],
    trial: Trial,
    reports: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing(kind("CUDA out of memory"), monkeypatch)
    with pytest.raises(kind):
        trainable.launch_trainable({})
    assert not reports
    assert "CUDA out of memory" in (tmp_path / trial.trial_id / "error.log").read_text()


def test_a_store_may_be_named_from_the_home(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    space = trial_space(trial, Path("anywhere"))
    for written, meant in (("~/kept", tmp_path / "kept"), ("kept", Path.cwd() / "kept")):
        assert trainable._resolve(space | {"store": written}) == (trial, meant)
