"""Stores that were damaged, as the commands meet them: a line and exit code 2, and the rest goes
on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from support import FEW, Done, call, new_database, toy_run, trial_runs

from fedtune.plan.plan import Plan
from fedtune.plan.plan_file import plan_path, save_plan
from fedtune.trial.folder import TrialFolder

Write = Callable[..., None]

ENDED = ([0.5, 0.7, 0.8], [0.5, 0.6, 0.6, 0.6, 0.6], [0.5, 0.65, 0.65, 0.75])


@pytest.fixture
def ended(plan: Plan, write_log: Write, tmp_path: Path) -> Plan:
    """Three trials that have ended, in ``study``, and the same in ``other``, which is older."""
    for trial, accuracies in zip(plan.trials, ENDED, strict=True):
        write_log(trial, accuracies)
    for name in ("other", "study"):
        save_plan(Plan(name, plan.axes, plan.trials), tmp_path)
    new_database(tmp_path)
    return plan


def change(path: Path, edit: Callable[[dict[str, object]], object]) -> None:
    values = yaml.safe_load(path.read_text())
    edit(values)
    path.write_text(yaml.safe_dump(values))


def here(folder: Path, *args: str) -> Done:
    return call(*args, "--store", ".", folder=folder)


def the_line(done: Done) -> str:
    assert done.code == 2, done.everything
    (line,) = done.err.splitlines()
    assert "Traceback" not in done.everything
    return line


BAD_PLANS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_text(""),
    "no YAML": lambda path: path.write_text("name: [study"),
    "binary": lambda path: path.write_bytes(b"\x00\xff\xfe"),
    "deep": lambda path: path.write_text("[" * 500),
    "a list": lambda path: path.write_text("- name\n"),
    "no trials": lambda path: change(path, lambda v: v.pop("trials")),
    "trials are text": lambda path: change(path, lambda v: v.update(trials="two")),
    "a trial is a number": lambda path: change(path, lambda v: v.update(trials=[5])),
    "a value of the wrong type": lambda path: change(
        path, lambda v: v["trials"][0].update(clients="1")
    ),
    "a folder that is a number": lambda path: change(
        path, lambda v: v["trials"][0].update(model_dir=5)
    ),
    "a changed setting": lambda path: change(path, lambda v: v["trials"][0].update(seed=7)),
    "a name that leads elsewhere": lambda path: change(path, lambda v: v.update(name="../x")),
    "source is text": lambda path: change(path, lambda v: v.update(source="here")),
    "a link": lambda path: (path.rename(path.parents[2] / "x"), path.symlink_to("../../x")),
    "a dangling link": lambda path: (path.unlink(), path.symlink_to("/nowhere")),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", BAD_PLANS.values(), ids=BAD_PLANS)
def test_a_bad_plan_is_a_line_and_does_not_stop_the_others(
    damage: Callable[[Path], object], ended: Plan, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    for path in [path for path in tmp_path.iterdir() if path.is_dir() and path != store]:
        path.rename(store / path.name)
    new_database(store)
    damage(plan_path(store, "study"))
    for command in ("status", "sync"):
        assert the_line(here(store, command, "study")).startswith("fedtune: sweep='study': ")
        assert here(store, command, "other").code == 0
    shown = here(store, "status")
    assert shown.code == 2, shown.everything
    assert shown.out.startswith("left out: sweep='study': ")
    assert "Sweep other: 3 of 3 trials are complete" in shown.out
    synced = here(store, "sync")
    assert synced.code == 2, synced.everything
    assert "left out: sweep='study': " in synced.out
    assert "other: 0 rounds added" in synced.out


def test_a_launch_does_not_write_over_a_plan_that_it_cannot_read(
    ended: Plan, bert: str, tmp_path: Path
) -> None:
    """A plan that grows has trials of earlier launches, which would be lost."""
    path = plan_path(tmp_path, "study")
    path.write_text("name: [study")
    asked = toy_run(bert, "2", name="study", budget_rounds=2, max_rounds=4)
    line = the_line(here(tmp_path, *asked, "--no-ray"))
    assert "is no plan (" in line
    assert line.endswith("move it away, and launch the sweep again to write it")
    assert path.read_text() == "name: [study"


BAD_TRIALS: dict[str, Callable[[TrialFolder], object]] = {
    "config.yaml": lambda f: (f.path / "config.yaml").write_text("[" * 500),
    "config.yaml is gone": lambda f: (f.path / "config.yaml").unlink(),
    "memory.json": lambda f: f.write_json("memory.json", {"peak_mb": [1]}),
    "partition.json": lambda f: f.partition.write_text("[" * 500),
    "partition.json of other clients": lambda f: f.write_json(
        "partition.json", {"clients": [{"labels": [1, 2]}]}
    ),
    "partition.json without labels": lambda f: f.write_json(
        "partition.json", {"clients": [{}] * 8}
    ),
    "partition.json is a link": lambda f: f.partition.symlink_to("/etc/hostname"),
    "diverged.json": lambda f: (
        f.rounds_path.unlink(),  # of a trial that has ended, nobody reads it
        f.write_json("diverged.json", {"round": "1"}),
    ),
    "rounds.jsonl": lambda f: f.rounds_path.write_text('{"round": 0, "test/accuracy": "x"}\n'),
    "a link": lambda f: (f.path.rename(f.store.parent / "x"), f.path.symlink_to("../x")),
}


@pytest.mark.parametrize("damage", BAD_TRIALS.values(), ids=BAD_TRIALS)
def test_a_damaged_trial_is_a_line_and_stops_its_own_sweeps_alone(
    damage: Callable[[TrialFolder], object], ended: Plan, bert: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    for path in [path for path in tmp_path.iterdir() if path.is_dir() and path != store]:
        path.rename(store / path.name)
    uri = new_database(store)
    _, eight, two = ended.trials
    save_plan(Plan("other", ended.axes, (ended.trials[0], two)), store)
    damage(TrialFolder(store, eight.trial_id))
    asked = toy_run(bert, "8", name="study", budget_rounds=2, max_rounds=4)
    for command in (["status", "study"], [*asked, "--no-ray"], [*asked, "--dry-run"]):
        assert eight.trial_id in the_line(here(store, *command))
    assert here(store, "status", "other").code == 0
    synced = here(store, "sync")
    assert synced.code == 2, synced.everything
    assert f"{eight.trial_id}" in synced.out
    assert "other: " in synced.out
    assert set(trial_runs(MlflowClient(uri), "other")) == {1, 2}


@pytest.mark.parametrize("name", ["a" * 300, "x/" * 3000, "file/below"])
@pytest.mark.parametrize("command", ["run", "status", "sync", "report"])
def test_a_store_that_can_be_no_folder_is_a_line(
    name: str, command: str, bert: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    args = [*toy_run(bert, "2"), "--no-ray"] if command == "run" else [command]
    where = "--out" if command == "report" else "--store"
    if command == "report":
        new_database(tmp_path)
    line = the_line(call(*args, where, name, folder=tmp_path))
    assert len(line) < len(name) + 1000


def test_a_store_that_is_a_link_is_a_store(ended: Plan, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    done = call("status", "--store", "link", folder=tmp_path)
    assert done.code == 0, done.everything
    assert "3 of 3 trials are complete" in done.out


def test_where_nothing_can_be_read_the_latest_is_named_once(ended: Plan, tmp_path: Path) -> None:
    for age, name in enumerate(("study", "other")):
        plan_path(tmp_path, name).write_text("")
        os.utime(plan_path(tmp_path, name), (1e9 - age, 1e9 - age))
    assert the_line(here(tmp_path, "status")).startswith("fedtune: sweep='study': ")
    shutil.rmtree(tmp_path / "sweeps")
    assert "holds no sweep yet" in the_line(here(tmp_path, "status"))


def test_a_log_edited_after_the_launch_is_refused_by_every_command(
    bert: str, tmp_path: Path
) -> None:
    new_database(tmp_path)
    asked = [*toy_run(bert, "2", **FEW), "--no-ray"]
    assert here(tmp_path, *asked).code == 0
    (path, *_) = sorted(tmp_path.glob("*/rounds.jsonl"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["test/accuracy"] = 0.999
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for command in (["status"], asked, ["sync", "bert-toy"]):
        assert "round 1 contradicts its log_digest" in the_line(here(tmp_path, *command))
