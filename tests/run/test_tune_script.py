"""People's own Tune scripts: the one in docs/, run as they would run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support import LEARNS, assert_whole, folder_of, log, new_database, sweep_run, trial_runs

from fedtune.plan.plan import load_plan

SCRIPT = Path(__file__).parents[2] / "docs" / "tune_script.py"


@pytest.mark.parametrize("searcher", [[], ["--baselines-first"]], ids=["grid", "searcher"])
def test_a_tune_script_of_ones_own_runs_its_trials_and_tracks_them_whole(
    searcher: list[str], bert: str, tmp_path: Path
) -> None:
    # Paths as a person writes them: as seen from where the script is started.
    (tmp_path / "models").symlink_to(Path(bert).parent)
    clients = ["4"] if searcher else ["1", "4"]
    settings = json.dumps({**LEARNS, "budget_rounds": 4, "max_rounds": 12})
    args = ["--model", "models/bert", "--dataset", "toy", "--settings", settings]
    uri = new_database(tmp_path)

    done = subprocess.run(
        [sys.executable, str(SCRIPT), *args, "--clients", *clients, *searcher],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},  # Tune keeps its results there
        capture_output=True,
        text=True,
        timeout=500,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Deprecat" not in done.stderr
    assert re.search(r"^K = 1: accuracy [01]\.\d+ after 4 rounds$", done.stdout, re.M), done.stdout
    store, client = tmp_path / "trials", MlflowClient(uri)
    baseline, federated = log(folder_of(store, 1)), log(folder_of(store, 4))
    target = 0.9 * baseline[-1]["test/accuracy"]
    assert federated[-1]["test/accuracy"] >= target, "it ends only where the target is met"
    if searcher:
        first = next(r["round"] for r in federated if r["test/accuracy"] >= target)
        assert federated[-1]["round"] == first
    assert_whole(client, "my-tune-script", store)
    known = {path.parent.name for path in store.glob("*/rounds.jsonl")}
    assert set(load_plan(store, "my-tune-script").by_id()) == known, "what sync and status show"
    parent = sweep_run(client, "my-tune-script")
    assert parent.info.status == "FINISHED"
    runs = trial_runs(client, "my-tune-script")
    assert {k: run.data.tags["fedtune.outcome"] for k, run in runs.items()} == {
        1: "baseline",
        4: "reached",
    }
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
