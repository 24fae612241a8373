"""Evaluations by sequential step in MLflow, in a plan, and in what status says."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from support import FEW, call, new_database, options, trial_runs

from fedtune.analysis.history import load_sweep
from fedtune.analysis.passage import Passage, steps_to

WHAT = {**FEW, "dataset": "toy", "clients": "1,2", "budget_rounds": 2, "max_rounds": 2, "name": "s"}
WHAT |= {"stop": "budget-then-target", "validation_examples": 8}


@pytest.fixture
def asked(bert: str) -> list[str]:
    """A launch of one and of two clients: rounds of 4 and of 2 steps."""
    return ["run", *options(model=bert, **WHAT), "--no-ray"]


def points(uri: str, metric: str) -> dict[int, list[int]]:
    """The steps at which the run of each K has the metric, as often as it has them."""
    client = MlflowClient(uri)
    return {
        clients: [p.step for p in client.get_metric_history(run.info.run_id, metric)]
        for clients, run in trial_runs(client, "s").items()
    }


def test_they_are_tracked_once_and_added_to_runs_that_had_none(
    asked: list[str], tmp_path: Path
) -> None:
    uri = new_database(tmp_path)
    done = call(*asked, folder=tmp_path)
    assert done.code == 0, done.everything
    assert points(uri, "by_step/test/accuracy") == {1: [], 2: []}

    later = [*asked, "--eval-steps", "3"]
    planned = call(*later, "--dry-run", folder=tmp_path)
    assert "evaluates again" in planned.out
    assert "1 done, 1 going on" in planned.out
    done = call(*later, folder=tmp_path)
    assert done.code == 0, done.everything
    assert "is run again for evaluations within its rounds" in done.out
    for metric in ("test/accuracy", "test/loss", "validation/accuracy"):
        found = points(uri, f"by_step/{metric}")
        assert found == {1: [0, 3, 4, 6, 8], 2: [0, 2, 4]}
    assert points(uri, "test/accuracy") == {1: [0, 1, 2], 2: [0, 1, 2]}

    for again in (later, ["sync", "s"], asked):
        assert call(*again, folder=tmp_path).code == 0
    assert points(uri, "by_step/test/loss") == {1: [0, 3, 4, 6, 8], 2: [0, 2, 4]}
    assert "nothing to run" in call(*later, "--dry-run", folder=tmp_path).out

    one, two = load_sweep(uri, "s").trials
    assert [step for step, _ in one.against_steps("test/accuracy")] == [3, 4, 6, 8]
    assert [*one.curve_by_step] == [0.75, 1.0, 1.5, 2.0]
    assert [*two.curve_by_step] == [1.0, 2.0]
    assert steps_to(one, 0.0) == Passage(0, 3)


def test_status_counts_a_baseline_that_owes_them_as_going_on(
    asked: list[str], tmp_path: Path
) -> None:
    new_database(tmp_path)
    done = call(*asked, "--eval-steps", "3", folder=tmp_path)
    assert done.code == 0, done.everything
    assert "2 of 2 trials are complete" in call("status", folder=tmp_path).out
    (path,) = (tmp_path / "trials").glob("*/by_step.jsonl")
    path.unlink()
    assert "1 of 2 trials are complete" in call("status", folder=tmp_path).out
