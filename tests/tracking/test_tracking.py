"""What MLflow holds after real launches, in SQLite and behind a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from launched import Launched, by_clients
from mlflow import MlflowClient
from support import (
    assert_whole,
    call,
    folder_of,
    log,
    mlflow_server,
    new_database,
    points,
    sweep_run,
    toy_run,
    trial_configs,
    trial_runs,
)

from fedtune.config import FIELDS, UNHASHED
from fedtune.tracking.projection import Projection


@pytest.fixture(scope="module", params=["sqlite", "server"])
def launched(
    request: pytest.FixtureRequest, bert: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launched]:
    folder = tmp_path_factory.mktemp(request.param)
    database = new_database(folder)
    args = [*toy_run(bert, "1,4"), "--no-ray", "--tracking-uri"]
    if request.param == "sqlite":
        yield Launched(folder, database, call(*args, database, folder=folder))
        return
    with mlflow_server(folder / "mlflow.db", folder) as address:
        yield Launched(folder, address, call(*args, address, folder=folder))


def test_a_launch_is_a_tree_of_a_sweep_and_its_trials(launched: Launched) -> None:
    assert launched.done.code == 0, launched.done.everything
    parent, runs = sweep_run(launched.client, "bert-toy"), by_clients(launched)
    assert set(runs) == {1, 4}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *runs.values()]} == {"FINISHED"}
    spans = {"model": "bert", "dataset": "toy", "clients": "1,4", "seed": "0"}
    assert parent.data.params == spans
    assert parent.data.tags["fedtune.kind"] == "sweep"
    assert "| 4 |" in parent.data.tags["mlflow.note.content"]


def test_the_sweeps_run_carries_the_closing_table(launched: Launched) -> None:
    parent = sweep_run(launched.client, "bert-toy").info.run_id
    kept = {artifact.path for artifact in launched.client.list_artifacts(parent)}
    assert {"table.md", "table.csv"} <= kept


def test_runs_are_named_by_what_tells_them_apart(launched: Launched) -> None:
    assert [run.info.run_name for _, run in sorted(by_clients(launched).items())] == [
        "K001 bert toy s0",
        "K004 bert toy s0",
    ]


def test_params_are_exactly_the_fields_that_identify_a_trial(launched: Launched) -> None:
    for clients, run in by_clients(launched).items():
        assert set(run.data.params) == set(FIELDS) - UNHASHED
        assert run.data.params["clients"] == str(clients)
        assert run.data.params["model"] == "bert", "a name, and not the folder"
        assert run.data.params["learning_rate"] == "0.05"
        assert run.data.params["precision"] == "auto"
        assert run.data.tags["fedtune.precision_used"] in ("bf16", "fp32")


def test_tags_say_what_a_trial_is_how_it_ended_and_the_other_fields(launched: Launched) -> None:
    ids = {k: config["trial_id"] for k, config in trial_configs(launched.store).items()}
    kinds = {1: ("baseline", "baseline"), 4: ("federated", "reached")}
    for clients, run in by_clients(launched).items():
        tags = run.data.tags
        assert (tags["fedtune.kind"], tags["fedtune.outcome"]) == kinds[clients]
        assert tags["fedtune.trial_id"] == ids[clients]
        assert tags["fedtune.baseline_trial_id"] == ids[1]
        assert tags["fedtune.collapsed"] == "false"
        assert tags["fedtune.sweep"] == "bert-toy"
        assert tags["fedtune.git_commit"]
        assert {f"fedtune.{field}" for field in UNHASHED} <= set(tags)
        assert (tags["fedtune.budget_rounds"], tags["fedtune.max_rounds"]) == ("3", "6")


def test_predictions_at_the_budget_are_an_artifact_of_every_trial_that_reached_it(
    launched: Launched,
) -> None:
    for clients, run in by_clients(launched).items():
        records = log(folder_of(launched.store, clients))
        budget = int(run.data.tags["fedtune.budget_rounds"])
        kept = [a.path for a in launched.client.list_artifacts(run.info.run_id)]
        assert kept == (["predictions.npy"] if len(records) > budget else [])
        if kept:
            assert run.data.tags["fedtune.predictions"] == f"round {budget}"
            path = launched.client.download_artifacts(run.info.run_id, "predictions.npy")
            labels, predictions = np.load(path, allow_pickle=False)
            assert (labels == predictions).mean() == records[budget]["test/accuracy"]


def test_a_run_tells_on_what_it_was_computed(launched: Launched) -> None:
    for run in by_clients(launched).values():
        assert "cores" in run.data.tags["fedtune.hardware"]
        assert f"torch {torch.__version__}" in run.data.tags["fedtune.libraries"]


def test_the_data_is_an_input_of_the_sweep_and_of_its_trials(launched: Launched) -> None:
    for run in [sweep_run(launched.client, "bert-toy"), *by_clients(launched).values()]:
        (data,) = run.inputs.dataset_inputs
        assert data.dataset.name == "toy"
        assert json.loads(data.dataset.profile)["train_examples"] == 256


def test_every_round_is_there_once_under_its_tracked_names(launched: Launched) -> None:
    assert_whole(launched.client, "bert-toy", launched.store)
    found = points(launched.client, by_clients(launched)[4])
    rounds = [record["round"] for record in log(folder_of(launched.store, 4))]
    in_every_round = ["test/accuracy", "test/loss", "test/top_class_share", "steps/sequential"]
    in_trained_rounds = [
        "train/loss",
        "clients/drift",
        "clients/agreement",
        "server/update_norm",
        "time/round_s",
        "throughput/examples_per_s",
    ]
    for key in [*in_every_round, "comm/bytes", "time/eval_s"]:
        assert [step for step, _ in found[key]] == rounds
    for key in in_trained_rounds:
        assert [step for step, _ in found[key]] == rounds[1:]
    assert found["comm/bytes"][0] == (0, 0.0)
    assert "clients/agreement" not in points(launched.client, by_clients(launched)[1])


def test_facts_stand_at_the_start_and_the_summary_at_the_last_round(launched: Launched) -> None:
    found = points(launched.client, by_clients(launched)[4])
    last = log(folder_of(launched.store, 4))[-1]
    facts = {
        "data/num_classes": 2,
        "data/train_examples": 256,
        "data/test_examples": 128,
        "model/layers": 2,
        "steps/per_round": 16,
        "summary/chance": 0.5,
        "summary/clients": 4,
    }
    for key, value in facts.items():
        assert [v for _, v in found[key]] == [value]
    assert [step for step, _ in found["model/parameters"]] == [0]
    once = [
        "baseline_accuracy",
        "target_accuracy",
        "accuracy_at_budget",
        "relative_accuracy",
        "final_accuracy",
        "rounds_to_target",
        "steps_to_target",
    ]
    for name in once:
        assert [step for step, _ in found[f"summary/{name}"]] == [last["round"]]
    assert found["summary/final_accuracy"][0][1] == last["test/accuracy"]
    rounds, steps = found["summary/rounds_to_target"][0][1], found["summary/steps_to_target"][0][1]
    assert (rounds, steps) == (last["round"], 16 * last["round"])
    assert found["summary/target_accuracy"][0][1] == pytest.approx(
        0.9 * found["summary/baseline_accuracy"][0][1]
    )


def test_projecting_again_adds_nothing(launched: Launched, bert: str) -> None:
    before = {k: points(launched.client, run) for k, run in by_clients(launched).items()}

    assert launched.again(bert).code == 0
    synced = call("sync", "--tracking-uri", launched.uri, folder=launched.folder)

    assert synced.code == 0, synced.everything
    assert "0 rounds added" in synced.out
    assert {k: points(launched.client, r) for k, r in by_clients(launched).items()} == before


def test_a_second_sweep_has_the_same_trials_whole_under_its_own_parent(
    launched: Launched, bert: str
) -> None:
    done = launched.again(bert, "--name", "other")

    assert done.code == 0, done.everything
    assert "nothing to run" in done.out
    parent = sweep_run(launched.client, "other")
    runs = trial_runs(launched.client, "other")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    for sweep in ("other", "bert-toy"):
        assert_whole(launched.client, sweep, launched.store)


def test_a_raised_cap_goes_on_in_the_same_run(copied: Launched, bert: str) -> None:
    before, kept = by_clients(copied)[4], log(folder_of(copied.store, 4))
    lines = (folder_of(copied.store, 4) / "rounds.jsonl").read_bytes()
    assert (before.data.tags["fedtune.outcome"], len(kept)) == ("not_reached", 4)

    done = copied.again(bert, max_rounds=8)

    assert done.code == 0, done.everything
    now = (folder_of(copied.store, 4) / "rounds.jsonl").read_bytes()
    assert now.startswith(lines), "a round was run again: its times have changed"
    after, rounds = by_clients(copied)[4], log(folder_of(copied.store, 4))
    assert after.info.run_id == before.info.run_id
    assert after.data.tags["fedtune.outcome"] == "reached"
    assert after.data.tags["fedtune.max_rounds"] == "8"
    assert after.info.status == "FINISHED"
    found = points(copied.client, after)["test/accuracy"]
    assert [step for step, _ in found] == [record["round"] for record in rounds]
    assert after.data.metrics["summary/rounds_to_target"] == rounds[-1]["round"] > 3


def test_a_closing_table_too_long_for_a_note_is_among_the_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where MLflow puts artifacts
    projection = Projection(new_database(tmp_path), "long")
    run_id, row = projection.open_sweep(), "| a cell |\n"
    projection.close_sweep("FINISHED", row * 1000, "a cell\n" * 1000)

    note = projection.client.get_run(run_id).data.tags["mlflow.note.content"]
    assert "`table.md`" in note
    assert "Trials side by side: [charts](" in note
    table = projection.client.download_artifacts(run_id, "table.md")
    assert Path(table).read_text().count(row) == 1000


def test_the_environment_may_name_the_experiment_and_the_uri(
    copied: Launched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uri = new_database(tmp_path)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "my study")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    done = call("sync", folder=copied.folder)

    assert done.code == 0, done.everything
    client = MlflowClient(uri)
    assert client.get_experiment_by_name("fedtune") is None
    assert set(trial_runs(client, "bert-toy", "my study")) == {1, 4}
