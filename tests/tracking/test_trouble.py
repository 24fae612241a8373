"""An MLflow that cannot be reached, and a store of artifacts that refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from launched import Launched
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from support import (
    FEW,
    assert_whole,
    call,
    folder_of,
    free_port,
    log,
    new_database,
    points,
    toy_run,
    trial_runs,
)

from fedtune.tracking.projection import Projection
from fedtune.trial.results import read_result, stored_trial


def test_an_mlflow_that_cannot_be_reached_fails_the_launch_and_not_its_trials(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    nobody = f"http://127.0.0.1:{free_port()}"
    args = [*toy_run(bert, "1,4", **FEW | {"max_rounds": 2}), "--no-ray"]

    done = call(*args, "--tracking-uri", nobody, folder=tmp_path)

    assert done.code == 1, done.everything
    assert "Traceback" not in done.everything
    assert done.out.count("is not in MLflow whole") == 2
    assert "`fedtune sync` brings MLflow up to date" in done.out
    assert {len(log(folder_of(tmp_path / "trials", k))) for k in (1, 4)} <= {2, 3}
    uri = new_database(tmp_path)
    synced = call("sync", "--tracking-uri", uri, folder=tmp_path)
    assert synced.code == 0, synced.everything
    assert_whole(MlflowClient(uri), "bert-toy", tmp_path / "trials")
    again = call("sync", "--tracking-uri", nobody, folder=tmp_path)
    assert again.code == 1, again.everything
    assert "Traceback" not in again.everything


def test_a_store_of_artifacts_that_refuses_keeps_no_round_from_mlflow(
    copied: Launched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuses(*_: object) -> None:
        raise PermissionError("/artifacts is not yours")

    uri = new_database(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_artifact", refuses)
        synced = call("sync", "--tracking-uri", uri, folder=copied.folder)
    assert synced.code == 1, synced.everything
    assert synced.out.count("is not in MLflow whole (/artifacts is not yours)") == 2
    assert "MLflow refused (/artifacts is not yours)" in synced.out
    assert "Traceback" not in synced.everything
    client = MlflowClient(uri)
    for clients, run in trial_runs(client, "bert-toy").items():
        found = [step for step, _ in points(client, run)["test/accuracy"]]
        assert found == [record["round"] for record in log(folder_of(copied.store, clients))]

    mended = call("sync", "--tracking-uri", uri, folder=copied.folder)
    assert mended.code == 0, mended.everything
    assert "0 rounds added" in mended.out
    assert_whole(client, "bert-toy", copied.store)


def test_a_run_whose_beginning_mlflow_refused_is_described_the_next_time(
    copied: Launched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise MlflowException("the server is busy")

    uri = new_database(tmp_path)
    trial = stored_trial(copied.store, folder_of(copied.store, 4).name)
    assert trial is not None
    result = read_result(copied.store, trial)
    projection = Projection(uri, "bert-toy", store=copied.store, inherit=False)
    projection.open_sweep()
    for method in ("log_batch", "log_inputs"):
        with monkeypatch.context() as patched:
            patched.setattr(MlflowClient, method, refuses)
            with pytest.raises(MlflowException, match="busy"):
                projection.project(result)
    assert projection.project(result, "FINISHED") == len(result.records)

    client = MlflowClient(uri)
    run = trial_runs(client, "bert-toy")[4]
    assert run.data.params["clients"] == "4"
    assert run.data.tags["fedtune.outcome"] == "not_reached"
    assert len(run.inputs.dataset_inputs) == 1
    assert [step for step, _ in points(client, run)["test/loss"]] == [0, 1, 2, 3]
