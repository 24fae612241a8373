"""fedtune as an MLflow project, the experiments that come with it, and what the README says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from support import (
    LEARNS,
    call,
    folder_of,
    log,
    new_database,
    options,
    sweep_run,
    trial_runs,
)

from fedtune.commands.cli import cli
from fedtune.config import FIELDS, UNHASHED

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = yaml.safe_load((ROOT / "MLproject").read_text())
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))

#: Values that no parameter has by default and that differ from each other.
DISTINCT = {
    "model": "some-model",
    "dataset": "some-data",
    "clients": "3,5",
    "seed": "7",
    "budget_rounds": "11",
    "max_rounds": "13",
    "store": "some-store",
    "config": "some-config.yaml",
    "tracking_uri": "sqlite:///some.db",
    "out": "some-folder",
    "sweep": "some-sweep",
}


def mlflow_run(folder: Path, *args: str, **params: object) -> subprocess.CompletedProcess[str]:
    """``mlflow run`` on the repository, with this environment's Python first on the path."""
    pairs = [part for name, value in params.items() for part in ("-P", f"{name}={value}")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager", "local", *args, *pairs],
        cwd=folder,
        env={**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"},
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_mlflow_run_does_the_whole_comparison(bert: str, tmp_path: Path) -> None:
    new_database(tmp_path)
    learns = {name: LEARNS[name] for name in ("batch_size", "max_length", "threads")}
    store = tmp_path / "trials"

    done = mlflow_run(
        tmp_path,
        "--experiment-name",
        "study",
        model=bert,
        dataset="toy",
        clients=4,
        store=store,
        name="bert-toy",
        learning_rate=0.05,  # not declared in MLproject, and passed on all the same
        **learns,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    parent = sweep_run(client, "bert-toy", "study")
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == parent.data.tags["fedtune.sweep"]
    assert parent.data.tags["mlflow.project.entryPoint"] == "main"
    assert parent.data.params["learning_rate"] == "0.05"  # MLflow's own record of what was asked
    assert "| 4 |" in parent.data.tags["mlflow.note.content"]
    runs = trial_runs(client, "bert-toy", "study")
    assert [run.info.run_name for _, run in sorted(runs.items())] == [
        "K001 bert toy s0",
        "K004 bert toy s0",
    ]
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert set(run.data.params) == set(FIELDS) - UNHASHED
        assert run.data.params["learning_rate"] == "0.05"
    assert runs[4].data.tags["fedtune.outcome"] == "reached"
    for clients, run in runs.items():
        history = client.get_metric_history(run.info.run_id, "test/accuracy")
        logged = [(r["round"], r["test/accuracy"]) for r in log(folder_of(store, clients))]
        assert sorted((point.step, point.value) for point in history) == logged


def test_mlflow_run_shows_what_is_wrong_with_a_parameter(bert: str, tmp_path: Path) -> None:
    new_database(tmp_path)
    store = tmp_path / "trials"

    done = mlflow_run(tmp_path, model=bert, dataset="toy", clients=0, seed="x", store=store)

    assert done.returncode != 0
    printed = done.stdout + done.stderr
    assert "fedtune: clients='0': allowed is an integer of at least 1" in printed
    assert "fedtune: seed='x': allowed is an integer of at least 0" in printed
    assert not store.exists()


@pytest.mark.parametrize("entry", PROJECT["entry_points"])
def test_every_parameter_of_the_project_reaches_its_command(entry: str) -> None:
    point = PROJECT["entry_points"][entry]
    names = set(point.get("parameters", {}))
    values = {name: DISTINCT[name] for name in names}

    words = shlex.split(point["command"].format(**values))

    assert words[:3] == ["python", "-m", "fedtune"]
    command = cli.commands[words[3]]
    parsed = command.make_context(words[3], words[4:]).params
    given = {name: str(v) if isinstance(v, Path) else v for name, v in parsed.items()}
    for name in names:
        option = "file" if name == "config" else name
        assert given[option] == values[name], name
    assert {value for value in given.values() if value in DISTINCT.values()} == {*values.values()}


def test_a_parameter_that_is_not_declared_becomes_an_option_of_that_name() -> None:
    program = cli.make_context("fedtune", ["list"])
    given = {field: f"a {field}" for field in FIELDS}
    args = [part for field, value in given.items() for part in (f"--{field}", value)]
    for name, before in (("run", []), ("sweep", ["some-config.yaml"])):
        parsed = cli.commands[name].make_context(name, [*before, *args], parent=program).params
        assert {field: parsed[field] for field in FIELDS} == given


def test_the_environment_of_the_project_has_the_tested_versions() -> None:
    environment = yaml.safe_load((ROOT / PROJECT["conda_env"]).read_text())
    (pip,) = (part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    plain = {name.lower().replace("_", "-"): version for name, version in tested.items()}
    asked = {re.sub(r"\[.*\]", "", line).lower().split("==")[0]: line for line in pip}

    assert {n: line.split("==")[1] for n, line in asked.items()} == {n: plain[n] for n in asked}
    import tomllib

    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[\[<>=~!; ]", line)[0].lower() for line in needed}
    assert names <= set(asked), "conda.yaml lacks something that fedtune needs"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_runs_a_short_round(path: Path, tiny: Path, tmp_path: Path) -> None:
    uri = new_database(tmp_path)
    small = {
        "model": f"{tiny / 'bert'},{tiny / 'distilbert'}",
        "dataset": "toy",
        "clients": "2",
        "seed": 0,
        "batch_size": 8,  # paper-code drops what does not fill a batch
        "local_epochs": 1,
        "train_examples": 32,
        "test_examples": 32,
        "validation_examples": 16,
        "max_length": 32,
        "budget_rounds": 1,
        "max_rounds": 1,
        "threads": 1,
    }

    done = call("sweep", str(path), *options(**small), "--no-ray", folder=tmp_path)

    assert done.code == 0, done.everything
    client = MlflowClient(uri)
    (plan,) = (tmp_path / "trials" / "sweeps").glob("*.yaml")
    found = [yaml.safe_load(p.read_text()) for p in (tmp_path / "trials").glob("*/config.yaml")]
    assert {(config["clients"], Path(config["model"]).name) for config in found} >= {
        (k, model) for k in (1, 2) for model in ("bert", "distilbert")
    }
    assert sweep_run(client, plan.stem).info.status == "FINISHED"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_says_in_its_first_line_what_it_asks(path: Path) -> None:
    assert path.read_text().startswith("# ")
