"""A round log is bound to its trial, to what that was begun with, and to its own earlier lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from quick import folder_of, quick, run, take

from fedtune import TrialConfig, simulate
from fedtune.trial import simulation
from fedtune.trial.folder import TrialFolder
from fedtune.trial.prepare import prepare
from fedtune.trial.results import read_result
from fedtune.trial.round_log import DIGEST, DamagedFolder, LogDigest


@pytest.fixture
def begun(bert: str, tmp_path: Path, every_round: None) -> tuple[TrialConfig, TrialFolder]:
    """A trial that was left after round 2 of 3."""
    config = quick(bert)
    take(simulate(config, tmp_path), 3)
    return config, folder_of(config, tmp_path)


def edit_config(folder: TrialFolder, **changes: Any) -> None:
    path = folder.path / "config.yaml"
    values = yaml.safe_load(path.read_text())
    assert all(values[key] != value for key, value in changes.items())
    path.write_text(yaml.safe_dump(values | changes))


def edit_line(path: Path, number: int, **changes: Any) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[number] |= changes
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def assert_refused(config: TrialConfig, folder: TrialFolder, told: str) -> None:
    """By who would go on, and by who only reads; and nothing is changed."""
    before = folder.rounds_path.read_bytes()
    with pytest.raises(DamagedFolder, match=told):
        run(config, folder.store)
    with pytest.raises(DamagedFolder, match=told):
        read_result(folder.store, prepare(config))
    assert folder.rounds_path.read_bytes() == before


@pytest.mark.parametrize(
    "change", [{"precision": "bf16"}, {"data/test_examples": 17}, {"summary/chance": 0.3}], ids=str
)
def test_what_a_trial_was_begun_with_cannot_be_changed_afterwards(
    change: dict[str, Any], begun: tuple[TrialConfig, TrialFolder]
) -> None:
    config, folder = begun
    edit_config(folder, **change)
    assert_refused(config, folder, "round 0 contradicts its log_digest.*away to start it anew")


@pytest.mark.parametrize("change", [{"threads": 2}, {"device": "cuda:1"}], ids=str)
def test_who_goes_on_has_to_have_the_device_and_the_threads_of_the_rounds(
    change: dict[str, Any],
    begun: tuple[TrialConfig, TrialFolder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, folder = begun
    before = folder.rounds_path.read_bytes()
    edit_config(folder, **change)
    monkeypatch.setattr(simulation, "device_exists", lambda device: True)
    with pytest.raises(DamagedFolder, match=r"computed on cpu-1 .*config\.yaml says c.*put that"):
        run(config, folder.store)
    assert folder.rounds_path.read_bytes() == before
    assert len(read_result(folder.store, prepare(config)).records) == 3, "they can be read"


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.06}, {"seed": 1}, {"model_hash": "0" * 64}], ids=str
)
def test_settings_of_another_trial_are_refused_by_its_name(
    change: dict[str, Any], begun: tuple[TrialConfig, TrialFolder]
) -> None:
    config, folder = begun
    edit_config(folder, **change)
    assert_refused(config, folder, r"config\.yaml has settings of another trial \([0-9a-f]{12}\)")


@pytest.mark.parametrize(
    ("number", "change"),
    [(1, {"test/accuracy": 0.99}), (0, {"test/loss": 0.1}), (2, {"steps/sequential": 1})],
)
def test_a_line_that_was_edited_is_noticed(
    number: int, change: dict[str, Any], begun: tuple[TrialConfig, TrialFolder]
) -> None:
    config, folder = begun
    edit_line(folder.rounds_path, number, **change)
    assert_refused(config, folder, f"round {number} contradicts its log_digest")


def test_times_may_be_anything(begun: tuple[TrialConfig, TrialFolder]) -> None:
    """They differ between two runs of a trial, so they are no part of the digest."""
    config, folder = begun
    shutil.rmtree(folder.checkpoint)
    shutil.rmtree(folder.path / "checkpoint.previous")
    edit_line(folder.rounds_path, 1, **{"time/round_s": 1e9})
    assert len(run(config.replace(budget_rounds=2, max_rounds=2), folder.store)) == 3


@pytest.mark.parametrize("change", [{"seed": 1}, {"clients": 2}, {"learning_rate": 0.06}], ids=str)
def test_log_and_checkpoint_of_another_trial_are_refused_by_its_name(
    change: dict[str, Any], begun: tuple[TrialConfig, TrialFolder]
) -> None:
    config, folder = begun
    other = config.replace(**change)
    take(simulate(other, folder.store), 3)
    source = folder_of(other, folder.store)
    for path in (source.rounds_path, source.checkpoint, source.path / "checkpoint.previous"):
        target = folder.path / path.name
        if path.is_dir():
            shutil.rmtree(target)
            shutil.copytree(path, target)
        else:
            shutil.copyfile(path, target)
    assert_refused(config, folder, f"is of trial {source.trial_id}, and this is the folder of")


def test_a_checkpoint_of_another_trial_is_refused_by_its_name(
    begun: tuple[TrialConfig, TrialFolder],
) -> None:
    config, folder = begun
    other = config.replace(seed=1)
    source = folder_of(other, folder.store)
    assert len(run(other, folder.store)) == 4, "so its checkpoint has a round more"
    shutil.rmtree(folder.checkpoint)
    shutil.copytree(source.checkpoint, folder.checkpoint)
    with pytest.raises(DamagedFolder, match=f"is of trial {source.trial_id}"):
        run(config, folder.store)


def test_log_and_checkpoint_name_their_trial(begun: tuple[TrialConfig, TrialFolder]) -> None:
    _, folder = begun
    for path in (folder.rounds_path, folder.checkpoint / "state.json"):
        for line in path.read_text().splitlines():
            assert json.loads(line)[DIGEST].startswith(f"{folder.trial_id}-cpu-1-")


@pytest.mark.parametrize("which", [slice(None), slice(2, None), slice(1, 2)])
def test_lines_whose_digest_was_taken_away_are_refused(
    which: slice, begun: tuple[TrialConfig, TrialFolder]
) -> None:
    config, folder = begun
    lines = [json.loads(line) for line in folder.rounds_path.read_text().splitlines()]
    for line in lines[which]:
        del line[DIGEST]
    folder.rounds_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert_refused(config, folder, "has no log_digest, so it was not written by this trial")


def test_state_and_log_agree_in_the_rounds_that_both_have(
    begun: tuple[TrialConfig, TrialFolder],
) -> None:
    config, folder = begun
    edit_line(folder.checkpoint / "state.json", -1, **{"time/round_s": 1e9})
    with pytest.raises(DamagedFolder, match="log and checkpoint contradict each other in round 2"):
        run(config, folder.store)


def test_rounds_without_a_config_are_of_nobody_knows_what(
    begun: tuple[TrialConfig, TrialFolder],
) -> None:
    config, folder = begun
    (folder.path / "config.yaml").unlink()
    assert_refused(config, folder, r"has rounds and no config\.yaml")


# Logs from before there were digests


@pytest.fixture
def old(begun: tuple[TrialConfig, TrialFolder]) -> tuple[TrialConfig, TrialFolder]:
    """The same as an earlier version left it."""
    config, folder = begun
    path = folder.path / "config.yaml"
    values = yaml.safe_load(path.read_text())
    assert values.pop(DIGEST) is True
    path.write_text(yaml.safe_dump(values))
    states = [folder.path / name / "state.json" for name in ("checkpoint", "checkpoint.previous")]
    for file in (folder.rounds_path, *states):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps({**line, DIGEST: None}) + "\n" for line in lines))
        file.write_text(file.read_text().replace(f', "{DIGEST}": null', ""))
        assert DIGEST not in file.read_text()
    return config, folder


def test_a_log_from_before_is_read_and_extended_to_the_same_rounds(
    old: tuple[TrialConfig, TrialFolder],
) -> None:
    config, folder = old
    before = folder.rounds_path.read_bytes()
    assert len(read_result(folder.store, prepare(config)).records) == 3
    assert folder.rounds_path.read_bytes() == before
    records = run(config, folder.store)
    assert folder.rounds_path.read_bytes().startswith(before)
    assert [DIGEST in record for record in records] == [False, False, False, True]
    assert records[-1] == run(config)[-1], "its digest is that of a log that has had them always"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: edit_line(folder.rounds_path, 1, **{"test/accuracy": 0.99}),
        lambda folder: edit_config(folder, precision="bf16"),
    ],
    ids=["a line", "the precision"],
)
def test_the_first_new_round_binds_all_before_it(
    damage: Callable[[TrialFolder], None], old: tuple[TrialConfig, TrialFolder]
) -> None:
    config, folder = old
    run(config, folder.store)
    damage(folder)
    assert_refused(config, folder, "round 3 contradicts its log_digest")


def test_the_digest_is_the_same_for_the_same_rounds_whatever_the_clock_says() -> None:
    begun = {"trial_id": "0123456789ab", "device": "cpu", "precision": "fp32", "threads": 1}
    first, second = LogDigest(begun), LogDigest(begun | {"begun_ms": 5, "hardware": "other"})
    for round_num in range(3):
        record = {"round": round_num, "test/loss": 0.1 * round_num}
        assert first.add(record) == second.add(record | {"time/round_s": round_num})
    assert first.add({"round": 3}) != second.add({"round": 4})
