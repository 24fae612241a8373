"""People's own Tune scripts: those in docs/examples, run as they would run them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from mlflow import MlflowClient
from support import LEARNS, assert_whole, folder_of, log, new_database, sweep_run, trial_runs

from fedtune.plan.plan_file import load_plan

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

#: What Ray says when it starts one, and when it takes one that runs.
OWN, TAKEN = "Started a local Ray instance", "Connecting to existing Ray cluster"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray that runs on this machine already."""
    context = ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield context.address_info["address"]
    ray.shutdown()


def run_script(
    name: str, *args: str, folder: Path, running: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in ``folder`` on a machine where the Ray at ``running`` is found."""
    # Tune keeps its results at home. Ray looks for a running one under this name first, and at home
    # for the token that it asks for.
    token = Path.home() / ".ray" / "auth_token"
    own = {"HOME": str(folder), "RAY_ADDRESS": running, "RAY_AUTH_TOKEN_PATH": str(token)}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *args],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.mark.parametrize(
    "searcher",
    [pytest.param([], marks=pytest.mark.slow), ["--baselines-first"]],
    ids=["grid", "searcher"],
)
def test_a_grid_runs_its_trials_and_tracks_them_whole(
    searcher: list[str], bert: str, tmp_path: Path, cluster: str
) -> None:
    # Paths as a person writes them: as seen from where the script is started.
    (tmp_path / "models").symlink_to(Path(bert).parent)
    clients = ["4"] if searcher else ["1", "4"]
    settings = json.dumps({**LEARNS, "budget_rounds": 4, "max_rounds": 12})
    args = ["--model", "models/bert", "--dataset", "toy", "--settings", settings]
    where = ["--address", cluster] if searcher else []
    uri = new_database(tmp_path)

    grid = ["--clients", *clients, *searcher, *where]
    done = run_script("tune_grid.py", *args, *grid, folder=tmp_path, running=cluster)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Deprecat" not in done.stderr
    said, not_said = (TAKEN, OWN) if where else (OWN, TAKEN)
    assert said in done.stderr, "a Ray of its own unless told otherwise"
    assert not_said not in done.stderr
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


@pytest.mark.slow
def test_a_search_of_the_learning_rate_tracks_every_trial(
    bert: str, tmp_path: Path, cluster: str
) -> None:
    uri = new_database(tmp_path)
    quick = {"max_length": 16, "train_examples": 64, "test_examples": 32, "budget_rounds": 1}
    settings = json.dumps({**quick, "max_rounds": 1, "batch_size": 8})
    args = ["--model", bert, "--dataset", "toy", "--samples", "3", "--settings", settings]

    done = run_script("tune_learning_rate.py", *args, folder=tmp_path, running=cluster)

    assert done.returncode == 0, done.stdout + done.stderr
    assert OWN in done.stderr
    assert TAKEN not in done.stderr
    said = re.search(
        r"^learning_rate (\S+) gives (\S+) on the validation split$", done.stdout, re.M
    )
    assert said, done.stdout
    client, store = MlflowClient(uri), tmp_path / "trials"
    assert sweep_run(client, "learning-rate").info.status == "FINISHED"
    plan = load_plan(store, "learning-rate")
    assert plan.axes == ("learning_rate",)
    found = client.search_runs(
        [client.get_experiment_by_name("fedtune").experiment_id],
        "tags.`fedtune.sweep` = 'learning-rate' and tags.`fedtune.kind` = 'baseline'",
    )
    assert len(found) == 3
    last = {run.data.params["learning_rate"]: log(store / run.data.tags["fedtune.trial_id"])[-1]
            for run in found}  # fmt: skip
    for run in found:
        accuracy = last[run.data.params["learning_rate"]]["validation/accuracy"]
        assert run.data.metrics["validation/accuracy"] == accuracy
    best = max(record["validation/accuracy"] for record in last.values())
    assert said[2] == f"{best:.3f}"
    rates = [rate for rate, record in last.items() if record["validation/accuracy"] == best]
    assert said[1] in {f"{float(rate):.3g}" for rate in rates}
