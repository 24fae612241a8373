"""Launches with a real Ray: what they compute, and what becomes of failures."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from mlflow import MlflowClient
from support import (
    LASTING,
    Done,
    assert_whole,
    call,
    folder_of,
    log,
    logs,
    new_database,
    sweep_run,
    toy_run,
    trial_runs,
    wait_for,
)

from fedtune.plan.plan import Plan, make_plan
from fedtune.plan.plan_file import load_plan
from fedtune.plan.sweepfile import SweepSpec

MODEL = "models/bert"


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """To start Ray takes five seconds, so these tests share one."""
    ray.init(
        address="local",  # not the one that another test has started
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="CRITICAL",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def finished(bert: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A folder in which K = 1 and K = 4 were launched with Ray, and what was printed.

    The model is named as seen from where the command is given; Ray's workers are elsewhere.
    """
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(bert, folder / MODEL)
    new_database(folder)
    return folder, call(*toy_run(MODEL, "1,4"), folder=folder)


@pytest.fixture(scope="module")
def here(bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the same launch without Ray."""
    folder = tmp_path_factory.mktemp("here")
    new_database(folder)
    done = call(*toy_run(bert, "1,4"), "--no-ray", folder=folder)
    assert done.code == 0, done.everything
    return folder / "trials"


def test_a_launch_ends_with_its_table_its_sentence_and_mlflow_whole(
    finished: tuple[Path, Done],
) -> None:
    folder, done = finished
    assert done.code == 0, done.everything
    assert re.search(r"│ 4 │.*│ reached +│", done.out)
    assert "Spread over 4 clients" in done.out
    assert "/#/experiments/" in done.out
    assert_whole(MlflowClient(f"sqlite:///{folder}/mlflow.db"), "bert-toy", folder / "trials")


def test_ray_gives_the_round_logs_that_this_process_gives(
    finished: tuple[Path, Done], here: Path
) -> None:
    with_ray = logs(finished[0] / "trials")
    assert len(with_ray) == 2
    assert with_ray == logs(here)


def test_the_plain_lines_name_trials_rounds_and_targets_and_nothing_else_leaks(
    finished: tuple[Path, Done],
) -> None:
    _, done = finished
    assert "K001 bert toy s0: round 3/3, accuracy" in done.out
    assert re.search(r"K004 bert toy s0: starts, target 0\.\d\d\d", done.out)
    assert re.search(r"K004 bert toy s0: reached after round \d", done.out)
    assert done.err == ""
    for noise in ("(pid=", "(raylet)", "INFO", "WARNING", "Traceback", "Tune", "\x1b", "it/s"):
        assert noise not in done.out


def test_a_finished_launch_runs_nothing_again(finished: tuple[Path, Done]) -> None:
    folder, _ = finished
    before = logs(folder / "trials")
    written = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/rounds.jsonl")}

    done = call(*toy_run(MODEL, "1,4"), folder=folder)

    assert done.code == 0, done.everything
    assert "nothing to run" in done.out
    assert "starts" not in done.out
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert logs(folder / "trials") == before
    assert_whole(MlflowClient(f"sqlite:///{folder}/mlflow.db"), "bert-toy", folder / "trials")


def kill_each_worker(store: Path, killed_at: dict[int, int]) -> None:
    """Kill whoever simulates K = 1, and K = 4, once a trained round has been committed."""
    wait_for((store / "sweeps" / "bert-toy.yaml").exists, what="the plan")
    for trial in load_plan(store, None).trials:
        folder = store / trial.trial_id
        wait_for(lambda folder=folder: len(log(folder)) > 1, what="a round")
        owner = re.search(r"process (\d+) on ", (folder / "lock").read_text())
        assert owner is not None
        assert int(owner[1]) != os.getpid()
        os.kill(int(owner[1]), signal.SIGKILL)
        killed_at[trial.config.clients] = len(log(folder))


def test_workers_that_are_killed_are_retried_after_their_last_round(
    bert: str, tmp_path: Path, uninterrupted: Path
) -> None:
    uri, killed_at = new_database(tmp_path), dict[int, int]()
    store = tmp_path / "trials"
    thread = threading.Thread(target=kill_each_worker, args=(store, killed_at))
    thread.start()

    done = call(*toy_run(bert, "1,4", **LASTING), folder=tmp_path)

    thread.join()
    assert done.code == 0, done.everything
    for clients in (1, 4):
        rounds = len(log(folder_of(store, clients)))
        assert 1 < killed_at[clients] < rounds, "killed too late to prove anything"
    assert logs(store) == logs(uninterrupted)
    assert_whole(MlflowClient(uri), "bert-toy", store)


def test_a_trial_that_fails_does_not_stop_the_others(
    plan: Plan, write_log: Callable[..., None], bert: str, tmp_path: Path
) -> None:
    write_log(plan.trials[1], [0.5, 0.5])  # K = 8: a log without checkpoint cannot be continued
    uri = new_database(tmp_path)
    rounds = {"budget_rounds": 2, "max_rounds": 4}

    done = call(*toy_run(bert, "2,8", **rounds), "--store", ".", "--name", "study", folder=tmp_path)

    assert done.code == 1, done.everything
    assert re.search(r"│ +8 │.*│ failed +│", done.out)
    assert re.search(r"│ +2 │.*│ (not_)?reached +│", done.out)
    assert "no checkpoint, so it cannot be continued" in done.out
    assert "Traceback" not in done.everything
    outcomes = {
        k: r.data.tags["fedtune.outcome"] for k, r in trial_runs(client(uri), "study").items()
    }
    assert outcomes[8] == "failed"
    assert outcomes[1] == "baseline"
    assert sweep_run(client(uri), "study").info.status == "FAILED"


def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


def test_a_baseline_that_fails_leaves_its_siblings_waiting(
    plan: Plan, write_log: Callable[..., None], bert: str, tmp_path: Path
) -> None:
    write_log(plan.trials[0], [0.5, 0.5])
    uri = new_database(tmp_path)
    rounds = {"budget_rounds": 2, "max_rounds": 4}

    done = call(*toy_run(bert, "2,8", **rounds), "--store", ".", "--name", "study", folder=tmp_path)

    assert done.code == 1, done.everything
    assert done.out.count("could not start: its baseline failed") == 2
    runs = trial_runs(client(uri), "study")
    assert {k: run.data.tags["fedtune.outcome"] for k, run in runs.items()} == {
        1: "failed",
        2: "waiting",
        8: "waiting",
    }
    assert {run.info.status for run in runs.values()} == {"FAILED"}


def test_a_federated_trial_that_diverges_is_a_result(
    write_log: Callable[..., None], bert: str, tmp_path: Path
) -> None:
    settings = {"batch_size": 8, "max_length": 32, "threads": 1, "learning_rate": 1e30}
    axes = {"model": [bert], "dataset": ["toy"], "clients": [4]}
    write_log(make_plan(SweepSpec("s", axes, settings)).trials[0], [0.5, 0.7, 0.8, 0.9])
    uri = new_database(tmp_path)
    args = [*toy_run(bert, "4", learning_rate=1e30), "--store", "."]

    done = call(*args, folder=tmp_path)

    assert done.code == 0, done.everything
    assert "diverged on toy (round 1, client 0)" in done.out
    run = trial_runs(client(uri), "bert-toy")[4]
    assert run.data.tags["fedtune.outcome"] == "diverged"
    assert run.data.tags["fedtune.diverged"] == "round 1, client 0"
    assert [record["round"] for record in log(folder_of(tmp_path, 4))] == [0]
    again = call(*args, folder=tmp_path)
    assert (again.code, "nothing to run" in again.out) == (0, True)
