"""`fedtune run` with strategies that distil: one baseline, every stage tracked, and on the page."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support import call, logs, new_database, sweep_run, toy_run

from fedtune.data import toy

SETTINGS = {"distill_examples": 40, "train_examples": 64, "test_examples": 32, "budget_rounds": 2}
STAGES = {f"stages/{s}" for s in ("client_mean", "ensemble", "parameter_mean", "distilled")}


@pytest.fixture(scope="module")
def launched(bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which FedAvg and both strategies ran at K = 3."""
    folder = tmp_path_factory.mktemp("launched")
    new_database(folder)
    done = call(*args(bert), folder=folder)
    assert done.code == 0, done.everything
    return folder


def args(bert: str) -> list[str]:
    strategies = {"strategy": "fedavg,feddf,one-shot", "stop": "budget-then-target"}
    return [*toy_run(bert, "3", **SETTINGS, **strategies, max_rounds=2), "--no-ray"]


def test_a_grid_with_them_has_one_baseline_and_resumes(launched: Path, bert: str) -> None:
    before = logs(launched / "trials")
    assert sorted(len(records) for records in before.values()) == [2, 3, 3, 3]

    again = call(*args(bert), folder=launched)

    assert again.code == 0, again.everything
    assert logs(launched / "trials") == before
    planned = call(*args(bert), "--dry-run", folder=launched)
    assert "4 done" in planned.out


def test_a_launch_says_what_the_server_does(bert: str, tmp_path: Path) -> None:
    done = call(*args(bert), "--dry-run", folder=tmp_path)
    assert done.code == 0, done.everything
    said = " ".join((done.out + done.err).split())
    assert "1 baseline (K = 1) and 3 federated trials" in said
    told = "steps of distillation on 40 texts set aside from the training data, learning_rate 0.05"
    assert f"feddf: after each round 15 {told}" in said
    assert f"one-shot: one round in any case, of 4 local epochs; after it 30 {told}" in said
    assert "max_rounds 1" not in said


def test_every_stage_is_tracked(launched: Path) -> None:
    client = MlflowClient(f"sqlite:///{launched / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("fedtune")
    assert experiment is not None
    found = {}
    for run in client.search_runs([experiment.experiment_id], "tags.`fedtune.kind` != 'sweep'"):
        found[run.data.params["strategy"], run.data.params["clients"]] = {
            key for key in run.data.metrics if key.startswith("stages/")
        }
    assert found == {
        ("fedavg", "1"): set(),
        ("fedavg", "3"): set(),
        ("feddf", "3"): STAGES,
        ("one-shot", "3"): STAGES,
    }


def test_the_page_shows_the_stages_beside_the_baseline(launched: Path) -> None:
    done = call("report", "--out", "out", folder=launched)
    assert done.code == 0, done.everything
    with (launched / "out" / "tables" / "stages.csv").open() as file:
        rows = {row["strategy"]: row for row in csv.DictReader(file)}
    assert {name: row["round"] for name, row in rows.items()} == {"feddf": "2", "one-shot": "1"}
    records = logs(launched / "trials").values()
    (single,) = (found for found in records if len(found) == 2)
    row = rows["one-shot"]
    for column, name in (("mean client", "client_mean"), ("distilled", "distilled")):
        assert float(row[column]) == pytest.approx(single[1][f"stages/{name}"])
    alone = [found[-1] for found in records if not found[-1]["comm/bytes"]]
    assert float(row["centralised"]) == pytest.approx(alone[0]["test/accuracy"])
    page = (launched / "out" / "index.html").read_text()
    assert "Stages of distillation" in page


def test_a_sweep_over_one_shot_alone_says_what_does_nothing(bert: str, tmp_path: Path) -> None:
    asked = toy_run(bert, "3", strategy="one-shot", **SETTINGS, max_rounds=9)
    done = call(*asked, "--server-optimizer", "adam", "--dry-run", folder=tmp_path)
    assert done.code == 0, done.everything
    said = " ".join((done.out + done.err).split())
    assert "max_rounds=9 has no effect: one-shot is one round" in said
    assert "server_optimizer=adam has no effect: one-shot has one round, and distils into" in said


def test_texts_set_aside_for_nobody_are_told(bert: str, tmp_path: Path) -> None:
    done = call(*toy_run(bert, "3", **SETTINGS), "--dry-run", folder=tmp_path)
    said = " ".join((done.out + done.err).split())
    assert "distill_examples=40 sets texts aside that no trial of this sweep distils on" in said


def test_a_file_of_texts_alone(bert: str, tmp_path: Path) -> None:
    new_database(tmp_path)
    rows = [json.dumps({"text": text}) for text, _ in toy.load()[1][:20]]
    (tmp_path / "texts.jsonl").write_text("\n".join(rows))
    own = {"strategy": "feddf", "distill_dataset": "texts.jsonl", "distill_steps": 2}
    settings = SETTINGS | {"distill_examples": 0, "budget_rounds": 1, "max_rounds": 1}
    done = call(*toy_run(bert, "3", **settings, **own), "--no-ray", folder=tmp_path)
    assert done.code == 0, done.everything
    assert "2 steps of distillation on 20 texts of texts.jsonl" in " ".join(done.everything.split())


def test_mlflow_holds_one_shot_against_the_baseline_of_this_launch(
    bert: str, tmp_path: Path
) -> None:
    uri = new_database(tmp_path)
    for budget in (2, 1):  # the store keeps the baseline as the longer launch asked for it
        settings = SETTINGS | {"budget_rounds": budget, "distill_steps": 2, "name": "shorter"}
        done = call(
            *toy_run(bert, "3", **settings, strategy="one-shot"), "--no-ray", folder=tmp_path
        )
        assert done.code == 0, done.everything
    (alone,) = (log for log in logs(tmp_path / "trials").values() if not log[-1]["comm/bytes"])
    assert alone[1]["test/accuracy"] != alone[2]["test/accuracy"]

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("fedtune")
    assert experiment is not None
    wanted = "params.strategy = 'one-shot' and params.one_shot_epochs = '2'"
    (run,) = client.search_runs([experiment.experiment_id], wanted)

    assert run.data.metrics["summary/baseline_accuracy"] == alone[1]["test/accuracy"]
    medians = {k for k in sweep_run(client, "shorter").data.metrics if "final_accuracy_median" in k}
    ends = {name.rpartition("/")[2] for name in medians}
    assert ends == {"one_shot_epochs 2", "one_shot_epochs 4"}, "they are no seeds of one another"
