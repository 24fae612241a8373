"""`fedtune sync`, and what a launch tells MLflow at its end: of stores written for the purpose."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from support import Done, assert_whole, call, new_database, sweep_run, toy_run, trial_runs

from fedtune.analysis.history import load_sweep
from fedtune.plan import plan_file
from fedtune.plan.plan import Plan
from fedtune.plan.plan_file import save_plan
from fedtune.run.callback import MlflowCallback
from fedtune.run.trainable import TRIAL_ID
from fedtune.tracking import names
from fedtune.tracking.projection import Projection
from fedtune.trial import identity
from fedtune.trial.folder import TrialFolder
from fedtune.trial.locks import launching

Write = Callable[..., None]

#: Accuracies of the trials of ``plan``: K = 1, 8 and 2.
ENDED = ([0.5, 0.7, 0.8], [0.5, 0.6, 0.6, 0.6, 0.6], [0.5, 0.65, 0.65, 0.75])


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    return MlflowClient(new_database(tmp_path))


@pytest.fixture
def ended(plan: Plan, write_log: Write) -> Plan:
    for trial, accuracies in zip(plan.trials, ENDED, strict=True):
        write_log(trial, accuracies)
    return plan


def sync(folder: Path, *args: str) -> Done:
    done = call("sync", *args, "--store", ".", folder=folder)
    assert done.code == 0, done.everything
    return done


def launch(bert: str, clients: str, name: str, folder: Path) -> Done:
    """Launch trials of ``plan``, all of which have ended."""
    args = toy_run(bert, clients, name=name, budget_rounds=2, max_rounds=4)
    return call(*args, "--store", ".", "--no-ray", folder=folder)


def note(client: MlflowClient, sweep: str) -> str:
    return str(sweep_run(client, sweep).data.tags[names.NOTE])


def test_what_a_launch_is_at_work_on_is_left_to_it_and_the_sweeps_end_too(
    plan: Plan, write_log: Write, client: MlflowClient, tmp_path: Path
) -> None:
    baseline, eight, _ = plan.trials
    write_log(baseline, ENDED[0])
    write_log(eight, [0.5, 0.6])
    save_plan(plan, tmp_path)
    with launching(tmp_path, [eight.trial_id]):
        done = sync(tmp_path)

        assert "study: 3 rounds added, 1 trial left to whoever is at work there" in done.out
        assert {k: r.info.status for k, r in trial_runs(client, "study").items()} == {1: "FINISHED"}
        assert sweep_run(client, "study").info.status == "RUNNING"
        assert names.NOTE not in sweep_run(client, "study").data.tags

    sync(tmp_path)

    assert trial_runs(client, "study")[8].info.status == "KILLED"
    assert sweep_run(client, "study").info.status == "KILLED", "trials lack rounds"


def test_a_sweep_with_a_failed_trial_has_failed_whoever_says_so(
    ended: Plan, write_log: Write, client: MlflowClient, tmp_path: Path
) -> None:
    eight = ended.trials[1]
    write_log(eight, [0.5, 0.6])
    TrialFolder(tmp_path, eight.trial_id).note_failure("no luck")
    save_plan(ended, tmp_path)

    sync(tmp_path)

    assert sweep_run(client, "study").info.status == "FAILED"
    assert trial_runs(client, "study")[8].data.tags[names.OUTCOME] == "failed"


def test_the_latest_sweep_stays_the_latest_when_all_are_synced(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for name in ("a", "z", "m"):
        assert launch(bert, "2", name, tmp_path).code == 0

    sync(tmp_path)

    assert load_sweep(uri, None).name == "m"


def test_synced_into_an_empty_mlflow_the_latest_of_the_store_is_the_latest(
    ended: Plan, bert: str, tmp_path: Path
) -> None:
    new_database(tmp_path)
    for name in ("z", "a"):
        assert launch(bert, "2", name, tmp_path).code == 0
    uri = new_database(tmp_path)

    sync(tmp_path)

    assert load_sweep(uri, None).name == "a"


def test_a_finished_trial_ended_when_it_did_however_often_it_is_synced(
    ended: Plan, client: MlflowClient, tmp_path: Path
) -> None:
    save_plan(ended, tmp_path)

    def ends() -> dict[int, int]:
        sync(tmp_path)
        runs: dict[int, Run] = trial_runs(client, "study")
        return {k: run.info.end_time - run.info.start_time for k, run in runs.items()}

    assert ends() == {1: 1500, 8: 2500, 2: 2000}, "half a second for each round, and for round 0"
    assert ends() == {1: 1500, 8: 2500, 2: 2000}


def test_sweeps_of_an_earlier_engine_are_named_and_left_as_they_are(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launch(bert, "2,8", "study", tmp_path).code == 0
    before = sweep_run(client, "study")
    monkeypatch.setattr(plan_file, "ENGINE", identity.ENGINE + 1)
    monkeypatch.setattr(identity, "ENGINE", identity.ENGINE + 1)

    done = sync(tmp_path)

    (line,) = done.out.splitlines()
    assert line.startswith("left out: sweep='study': its trials are of engine")
    assert "use the version that began them (git commit " in line
    assert sweep_run(client, "study").to_dictionary() == before.to_dictionary()
    for command in ("sync", "status"):
        refused = call(command, "study", "--store", ".", folder=tmp_path)
        assert refused.code == 2, refused.everything
        assert len(refused.err.splitlines()) == 1


def test_the_table_of_a_sweep_that_grows_has_the_trials_of_every_launch(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    assert launch(bert, "2", "study", tmp_path).code == 0
    done = launch(bert, "8", "study", tmp_path)

    assert done.code == 0, done.everything
    table = note(client, "study")
    assert re.findall(r"^\| (\d+) \|", table, re.M) == ["1", "2", "8"]
    assert sweep_run(client, "study").data.tags[names.TRIALS].split() == sorted(ended.by_id())
    sync(tmp_path)
    assert note(client, "study").partition("Curves")[0] == table.partition("Curves")[0]


# Tune scripts of one's own: what Tune tells the callback, without Tune


def ends(callback: MlflowCallback, plan: Plan, *clients: int) -> None:
    """The trials with these numbers of clients come to their end."""
    for trial in plan.trials:
        if trial.config.clients in clients:
            result = SimpleNamespace(last_result={TRIAL_ID: trial.trial_id})
            callback.on_trial_complete(0, [], result)


def test_the_trials_of_a_tune_script_are_known_to_sync_and_status(
    ended: Plan, tmp_path: Path
) -> None:
    for clients in ((1, 8), (2,)):  # two launches of the script
        callback = MlflowCallback("mine", store=tmp_path, tracking_uri=new_database(tmp_path))
        callback.setup()
        ends(callback, ended, *clients)
        callback.on_experiment_end([])
    uri = new_database(tmp_path)  # which has nothing of it

    done = sync(tmp_path)

    assert "mine: 12 rounds added" in done.out
    assert "3 of 3 trials are complete" in call("status", "--store", ".", folder=tmp_path).out
    client = MlflowClient(uri)
    assert "| 8 |" in note(client, "mine")
    assert_whole(client, "mine", tmp_path)


def test_a_tune_script_without_a_baseline_can_be_synced(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    write_log(plan.trials[1], ENDED[1])
    callback = MlflowCallback("mine", store=tmp_path, tracking_uri=new_database(tmp_path))
    callback.setup()
    ends(callback, plan, 8)
    callback.on_experiment_end([])

    assert "mine: 0 rounds added" in sync(tmp_path).out


def test_where_the_server_is_gone_a_tune_script_names_what_is_left_to_sync(
    ended: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise MlflowException("connection refused")

    callback = MlflowCallback("mine", store=tmp_path, tracking_uri=new_database(tmp_path))
    callback.setup()
    monkeypatch.setattr(Projection, "project", gone)
    monkeypatch.setattr(Projection, "close_sweep", gone)
    ends(callback, ended, 1, 8)

    with pytest.raises(RuntimeError, match=r"connection refused\); run `fedtune sync`") as told:
        callback.on_experiment_end([])

    for trial in ended.trials[:2]:
        assert trial.trial_id in str(told.value)
    monkeypatch.undo()
    assert "mine: 8 rounds added" in sync(tmp_path).out
