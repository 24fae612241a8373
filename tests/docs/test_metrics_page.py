"""The list of metrics in the reference is the list of metrics that are tracked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pages import ROOT
from support import call, new_database, toy_run, trial_runs

from fedtune.trial.federation import Federation

PAGE = ROOT / "docs" / "reference" / "metrics.md"


def described() -> set[str]:
    rows = re.findall(r"^\| (`.+?) \|", PAGE.read_text(encoding="utf-8"), re.M)
    return {name for row in rows for name in re.findall(r"`([a-z_]+/[\w/]+)`", row)}


def test_what_is_tracked_is_described_and_what_is_described_is_tracked(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the first trial of a process the memory is known, and other tests ran trials in this one.
    monkeypatch.setattr(Federation, "rounds_here", 0)
    monkeypatch.setattr(Federation, "inputs_here", set())
    uri = new_database(tmp_path)
    differ = {"partition": "dirichlet", "participation": 0.5}
    differ |= {"strategy": "feddf", "distill_examples": 20}
    settings = {"validation_examples": 20, "stop": "budget-then-target", "eval_steps": 9}
    asked = toy_run(bert, "4", **settings, **differ)
    done = call(*asked, "--no-ray", folder=tmp_path)
    assert done.code == 0, done.everything

    runs = trial_runs(MlflowClient(uri), "bert-toy").values()

    tracked = {name for run in runs for name in run.data.metrics}
    assert tracked == described()
