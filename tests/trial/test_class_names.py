"""The same texts under other names of classes: the same numbers, and the names that were asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from quick import folder_of, quick, run
from support import LEARNS, call, new_database, options, trial_configs
from transformers import pipeline

from fedtune import TrialConfig
from fedtune.trial.folder import TrialFolder

FIRST, OTHER = ("0", "1"), ("a weather report", "kitchen")


def write(folder: Path, names: tuple[str, str]) -> Path:
    rows = [f"{('rain', 'salt')[i % 2]} and {i % 7},{names[i % 2]}" for i in range(40)]
    folder.mkdir(exist_ok=True)
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def config(bert: str, folder: Path, **changes: Any) -> TrialConfig:
    return quick(bert, dataset=str(folder), **changes)


def names_on_disk(folder: TrialFolder) -> list[list[str]]:
    head = json.loads((folder.checkpoint / "config.json").read_text())
    assert head["label2id"] == {name: int(label) for label, name in head["id2label"].items()}
    partition = json.loads((folder.path / "partition.json").read_text())
    return [list(head["id2label"].values()), partition["label_names"]]


def test_a_trial_that_has_ended_takes_the_new_names(bert: str, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", FIRST), write(tmp_path / "two", OTHER)
    store = tmp_path / "store"
    records = run(config(bert, one), store)
    folder = folder_of(config(bert, one), store)
    assert names_on_disk(folder) == [list(FIRST)] * 2
    assert run(config(bert, two), store) == records
    assert folder_of(config(bert, two), store).path == folder.path
    assert names_on_disk(folder) == [list(OTHER)] * 2
    assert folder.read_config()["dataset"] == str(two)
    answer = pipeline("text-classification", model=str(folder.checkpoint))("rain")
    assert answer[0]["label"] in OTHER
    assert run(config(bert, one), store) == records
    assert names_on_disk(folder) == [list(FIRST)] * 2


def test_a_trial_that_goes_on_takes_the_new_names(
    bert: str, tmp_path: Path, rounds_run: list[int]
) -> None:
    one, two = write(tmp_path / "one", FIRST), write(tmp_path / "two", OTHER)
    store = tmp_path / "store"
    run(config(bert, one), store)
    run(config(bert, two, budget_rounds=3), store)
    assert rounds_run == [1, 2, 3]
    assert names_on_disk(folder_of(config(bert, two), store)) == [list(OTHER)] * 2


def test_names_change_nothing_else_of_a_checkpoint(bert: str, tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", FIRST), write(tmp_path / "two", OTHER)
    run(config(bert, one), tmp_path / "store")
    run(config(bert, two), tmp_path / "fresh")
    run(config(bert, two), tmp_path / "store")
    stored, fresh = (
        folder_of(config(bert, two), tmp_path / store).checkpoint for store in ("store", "fresh")
    )
    for name in ("config.json", "model.safetensors"):
        assert (stored / name).read_bytes() == (fresh / name).read_bytes(), name


def test_a_launch_that_finds_its_trials_done_names_what_was_asked_for(
    bert: str, tmp_path: Path
) -> None:
    """Lines on the screen, checkpoints and the log name this data set, not an earlier one."""
    new_database(tmp_path)
    said = {}
    for name, labels in (("numbers", FIRST), ("names", OTHER)):
        what = {"model": bert, "dataset": write(tmp_path / name, labels), "clients": 2, **LEARNS}
        rounds = {"budget_rounds": 1, "max_rounds": 1}
        done = call("run", *options(**what, **rounds), "--no-ray", folder=tmp_path)
        assert done.code == 0, done.everything
        said[name] = done.out
    assert "nothing to run" in said["names"]
    assert "K002 bert names s0" in said["names"]
    assert str(tmp_path / "names") in said["names"].replace("\n", "")
    assert "numbers" not in said["names"]
    store = tmp_path / "trials"
    for trial in trial_configs(store).values():
        assert names_on_disk(TrialFolder(store, trial["trial_id"])) == [list(OTHER)] * 2


@pytest.mark.parametrize("damage", ["", "[]", "{"])
def test_a_damaged_configuration_of_a_checkpoint_is_left_as_it_is(
    damage: str, bert: str, tmp_path: Path
) -> None:
    """Others tell of it; nothing is written over what may be all that there is."""
    one, two = write(tmp_path / "one", FIRST), write(tmp_path / "two", OTHER)
    run(config(bert, one), tmp_path / "store")
    path = folder_of(config(bert, one), tmp_path / "store").checkpoint / "config.json"
    path.write_text(damage)
    run(config(bert, two), tmp_path / "store")
    assert path.read_text() == damage
