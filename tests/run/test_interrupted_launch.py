"""Launches that are killed and interrupted end, launched again, as if nothing had happened."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console
from support import (
    LASTING,
    LEARNS,
    Started,
    assert_whole,
    call,
    log,
    logs,
    new_database,
    start,
    sweep_run,
    toy_run,
    trial_configs,
    trial_runs,
    wait_for,
)

from fedtune.plan.sweepfile import SweepSpec
from fedtune.run.launch import Launch
from fedtune.run.session import Options, run_sweep


def wait_for_rounds(launch: Started, store: Path, clients: int) -> str:
    """Wait until K = ``clients`` is on its way, and give its ``trial_id``."""

    def on_its_way() -> str | None:
        assert launch.process.poll() is None, launch.finish().everything
        config = trial_configs(store).get(clients) if store.exists() else None
        return config["trial_id"] if config and len(log(store / config["trial_id"])) > 1 else None

    found: str = wait_for(on_its_way, 240, f"rounds of K = {clients}")
    return found


@pytest.mark.slow
def test_a_launch_without_ray_that_is_killed_goes_on_after_its_last_round(
    bert: str, tmp_path: Path, uninterrupted: Path
) -> None:
    uri, store = new_database(tmp_path), tmp_path / "trials"
    args = [*toy_run(bert, "1,4", **LASTING), "--no-ray"]
    launch = start(*args, folder=tmp_path)
    trial_id = wait_for_rounds(launch, store, 1)
    launch.kill()
    before = (store / trial_id / "rounds.jsonl").read_bytes()
    assert len(before.splitlines()) <= LASTING["budget_rounds"], "killed too late to prove anything"

    done = call(*args, folder=tmp_path)

    assert done.code == 0, done.everything
    assert (store / trial_id / "rounds.jsonl").read_bytes().startswith(before), "rounds ran again"
    assert logs(store) == logs(uninterrupted)
    assert_whole(MlflowClient(uri), "bert-toy", store)


def test_a_launch_that_was_killed_and_interrupted_ends_like_any_other(
    bert: str, tmp_path: Path, uninterrupted: Path
) -> None:
    uri, store = new_database(tmp_path), tmp_path / "trials"
    args = toy_run(bert, "1,4", **LASTING)

    # While it runs nobody else may touch its trials.
    launch = start(*args, folder=tmp_path)
    trial_id = wait_for_rounds(launch, store, 1)
    second = call(*args, "--no-ray", folder=tmp_path)
    assert second.code == 2, second.everything
    owner = f"is in use by process {launch.pid} on {socket.gethostname()}"
    assert second.err.splitlines() == [f"fedtune: trial {trial_id} {owner}"]

    # Its driver is killed; the same command goes on, until it is interrupted as by Ctrl-C.
    launch.kill()
    assert len(log(store / trial_id)) <= LASTING["budget_rounds"], (
        "killed too late to prove anything"
    )
    launch = start(*args, folder=tmp_path)
    trial_id = wait_for_rounds(launch, store, 4)
    os.killpg(launch.pid, signal.SIGINT)
    done = launch.finish()
    assert done.code == 130, done.everything
    assert "Traceback" not in done.everything
    assert done.err.strip() == ""  # click ends the line that ^C stands in
    said = done.out.splitlines()
    resume = shlex.split(said[-1])
    assert resume[-len(args) - 2 :] == ["-m", "fedtune", *args]
    # What ended it comes first, then the table as far as it has got, then how to go on.
    why = said.index("Interrupted.")
    table = next(i for i, line in enumerate(said) if "accuracy at budget" in line)
    assert why < table < len(said) - 2
    assert any(line.startswith("│ 1 │") and "baseline" in line for line in said[table:])
    assert len(log(store / trial_id)) <= LASTING["budget_rounds"], (
        "interrupted too late to prove anything"
    )
    client = MlflowClient(uri)
    assert sweep_run(client, "bert-toy").info.status == "KILLED"

    # The command that was printed completes it.
    again = subprocess.run(resume, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert logs(store) == logs(uninterrupted)
    assert_whole(client, "bert-toy", store)
    assert sweep_run(client, "bert-toy").info.status == "FINISHED"


@pytest.mark.parametrize("where", [["--no-ray"], pytest.param([], marks=pytest.mark.slow)])
def test_a_launch_that_is_terminated_closes_what_is_open_in_mlflow(
    where: list[str], bert: str, tmp_path: Path
) -> None:
    client = MlflowClient(new_database(tmp_path))
    launch = start(*toy_run(bert, "1,4", **LASTING), *where, folder=tmp_path)
    wait_for_rounds(launch, tmp_path / "trials", 1)
    os.kill(launch.pid, signal.SIGTERM)
    os.kill(launch.pid, signal.SIGTERM)  # what is being closed is closed all the same
    done = launch.finish()
    assert done.code == 128 + signal.SIGTERM, done.everything
    assert "Terminated." in done.out
    assert "accuracy at budget" in done.out.split("Terminated.")[1]
    assert sweep_run(client, "bert-toy").info.status == "KILLED"
    assert {run.info.status for run in trial_runs(client, "bert-toy").values()} == {"KILLED"}


def test_an_error_of_our_own_leaves_no_sweep_running(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = new_database(tmp_path)

    def breaks(*_: object) -> None:
        raise RuntimeError("not a trial's failure")

    spec = SweepSpec("broken", {"model": [bert], "dataset": ["toy"], "clients": [2]}, LEARNS)
    options = Options(tmp_path / "trials", uri, use_ray=False)
    monkeypatch.setattr(Launch, "ended", breaks)
    with pytest.raises(RuntimeError, match="not a trial's failure"):
        run_sweep(spec, options, Console(file=StringIO()))
    assert sweep_run(MlflowClient(uri), "broken").info.status == "FAILED"
