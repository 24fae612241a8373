"""Where a sweep's settings come from, and since when: what the plan keeps and MLflow is told."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support import FEW, call, in_process_of_its_own, new_database, sweep_run

from fedtune.plan.plan import make_plan
from fedtune.plan.plan_file import load_plan, save_plan
from fedtune.plan.sweepfile import Override, SweepSpec, read_sweep_file
from fedtune.provenance import committed_at
from fedtune.tracking import names

FILE = """
axes: {{model: [{bert}], clients: [1, 2], seed: [0, 1]}}
set: {{dataset: toy, batch_size: 8, max_length: 32}}
"""


@pytest.fixture
def committed(bert: str, tmp_path: Path) -> Path:
    """A sweep file that a repository of its own has."""
    path = tmp_path / "grid.yaml"
    path.write_text(FILE.format(bert=bert))
    own = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "grid.yaml"], [*own, "commit", "-qm", "grid"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)
    return path


def test_a_file_is_as_old_as_its_content(committed: Path) -> None:
    moment = committed_at(committed)
    assert moment is not None
    assert datetime.fromisoformat(moment).tzinfo is not None
    committed.write_text(committed.read_text() + "# changed\n")
    assert committed_at(committed) is None
    untracked = committed.with_name("other.yaml")
    untracked.write_text("{}")
    assert committed_at(untracked) is None
    assert committed_at(Path("/proc/self/status")) is None, "no repository"


def test_a_plan_tells_the_grid_and_its_file(committed: Path) -> None:
    tags = make_plan(read_sweep_file(committed)).tags()
    grid = json.loads(tags[names.PLANNED])
    assert (grid["clients"], grid["seed"], grid["dataset"]) == ([1, 2], [0, 1], ["toy"])
    assert tags[names.SWEEP_FILE] == "grid.yaml"
    assert len(tags[names.SWEEP_FILE_SHA256]) == 64
    assert tags[names.SWEEP_FILE_COMMITTED] == committed_at(committed)


def test_settings_that_are_not_the_files_are_not_as_old_as_the_file(committed: Path) -> None:
    spec = read_sweep_file(committed).with_command_line({"learning_rate": [0.1]})
    tags = make_plan(spec).tags()
    assert tags[names.SWEEP_FILE] == "grid.yaml with learning_rate=0.1"
    assert {names.SWEEP_FILE_SHA256, names.SWEEP_FILE_COMMITTED}.isdisjoint(tags)


def test_further_settings_are_told_with_each_number_of_clients(bert: str) -> None:
    axes = {"model": [bert], "dataset": ["toy"], "clients": [2], "batch_size": [8, 16]}
    grid = json.loads(make_plan(SweepSpec("s", axes, {"max_length": 32})).tags()[names.PLANNED])
    assert grid["fields"] == ["clients", "batch_size"]
    assert grid["points"] == [["1", "16"], ["1", "8"], ["2", "16"], ["2", "8"]]


def test_trials_that_are_no_whole_grid_promise_none(bert: str) -> None:
    axes = {"model": [bert], "dataset": ["toy"], "clients": [2, 4], "seed": [0, 1]}
    fewer = (Override({"clients": 4, "seed": 1}, {"batch_size": 16}),)
    spec = SweepSpec("s", axes, {"max_length": 32, "batch_size": 8}, fewer)
    assert names.PLANNED not in make_plan(spec).tags()


def test_a_saved_plan_keeps_the_age_of_unchanged_settings_only(
    committed: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    first = make_plan(read_sweep_file(committed))
    save_plan(first, store)
    committed.touch()
    moved = SweepSpec(
        **{
            **vars(read_sweep_file(committed)),
            "source": {**first.source, "sweep_file_committed": "2099-01-01T00:00:00+00:00"},
        }
    )
    save_plan(make_plan(moved), store)
    assert load_plan(store, "grid").source == first.source
    for rate in (0.1, 0.2):
        spec = read_sweep_file(committed).with_command_line({"learning_rate": [rate]})
        save_plan(make_plan(spec), store)
        assert load_plan(store, "grid").source == {
            "sweep_file": f"grid.yaml with learning_rate={rate}"
        }


def test_a_trial_that_was_run_elsewhere_is_taken_in_by_sync(bert: str, tmp_path: Path) -> None:
    """Its folder copied into the store, without checkpoint: synced, counted, not run again."""
    text = f"axes: {{model: [{bert}], clients: [1, 2]}}\nset: {{dataset: toy, {_inline(FEW)}}}\n"
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "grid.yaml").write_text(text)
        new_database(folder)
    done = call("sweep", "grid.yaml", "--no-ray", folder=there)
    assert done.code == 0, done.everything
    assert call("sweep", "grid.yaml", "--clients", "1", "--no-ray", folder=here).code == 0
    assert "1 of 1 trials" in call("status", "grid", folder=here).out

    moved = [p for p in (there / "trials").iterdir() if (p / "rounds.jsonl").exists()]
    for source in moved:
        target = here / "trials" / source.name
        if not target.exists():
            target.mkdir()
            for name in ("config.yaml", "partition.json", "rounds.jsonl"):
                (target / name).write_bytes((source / name).read_bytes())
    plan = there / "trials" / "sweeps" / "grid.yaml"
    (here / "trials" / "sweeps" / "grid.yaml").write_bytes(plan.read_bytes())

    synced = in_process_of_its_own("sync", folder=here)
    assert synced.code == 0, synced.everything
    assert "grid: 2 rounds added" in synced.out
    client = MlflowClient(f"sqlite:///{here / 'mlflow.db'}")
    assert sweep_run(client, "grid").data.tags["fedtune.kind"] == "sweep"
    assert "2 of 2 trials" in call("status", "grid", folder=here).out
    again = call("sweep", "grid.yaml", "--no-ray", folder=here)
    assert again.code == 0, again.everything
    assert "nothing to run" in again.out


def _inline(settings: dict[str, object]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in settings.items())
