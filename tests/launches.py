"""Stores whose trials have ended as a test wants them to, without training anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fedtune.plan.plan import Plan
    from fedtune.trial.identity import Trial

#: How many rounds the trials of these tests are compared at, and run at the most.
BUDGET, CAP = 2, 4


@pytest.fixture
def plan(bert: str) -> Plan:
    """K = 1, 8 and 2 (in this order) on `toy`, 2 rounds compared and 4 at the most."""
    from support import LEARNS

    from fedtune.plan.plan import make_plan
    from fedtune.plan.sweepfile import SweepSpec

    axes = {"model": [bert], "dataset": ["toy"], "clients": [2, 8]}
    rounds = {"budget_rounds": BUDGET, "max_rounds": CAP}
    return make_plan(SweepSpec("study", axes, {**LEARNS, **rounds}))


@pytest.fixture
def write_log(tmp_path: Path) -> Callable[..., None]:
    """Write a trial's folder with the accuracies (of round 0, 1, …) that it shall have had."""
    from fedtune.trial.facts import data_facts
    from fedtune.trial.folder import TrialFolder

    def write(trial: Trial, accuracies: Sequence[float], diverged: bool = False) -> None:
        folder = TrialFolder(tmp_path, trial.trial_id)
        facts = data_facts(trial)
        folder.write_config(trial, facts | {"model/parameters": 1000})
        lines = []
        for round_num, accuracy in enumerate(accuracies):
            record = {
                "round": round_num,
                "test/accuracy": accuracy,
                "test/loss": 1 - accuracy,
                "steps/sequential": round_num * facts["steps/per_round"],
                "comm/bytes": round_num * 8000,
                "time/round_s": 0.25,
                "time/eval_s": 0.25,
                "throughput/examples_per_s": 1024.0,
                "params_digest": "",
            }
            lines.append(json.dumps(record) + "\n")
        folder.rounds_path.write_text("".join(lines))
        if diverged:
            folder.write_json("diverged.json", {"round": len(accuracies), "client_id": 3})

    return write


@pytest.fixture(scope="session")
def uninterrupted(bert: str, made_once: Callable[..., Path]) -> Path:
    """The store of K = 1 and 4 with rounds that last, run without Ray and without incident."""
    from support import LASTING, call, new_database, toy_run

    def launch(folder: Path) -> None:
        new_database(folder)
        done = call(*toy_run(bert, "1,4", **LASTING), "--no-ray", folder=folder)
        assert done.code == 0, done.everything

    return made_once("uninterrupted", launch) / "trials"
