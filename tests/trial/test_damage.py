"""Folders of trials that were damaged, and disks that are full."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from quick import folder_of, quick, run

from fedtune import TrialConfig
from fedtune.trial import folder as folder_module
from fedtune.trial import simulation
from fedtune.trial.federation import Federation
from fedtune.trial.folder import TrialFolder
from fedtune.trial.round_log import DamagedFolder


def finished(bert: str, store: Path) -> tuple[TrialConfig, TrialFolder]:
    config = quick(bert)
    run(config, store)
    return config, folder_of(config, store)


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_torn_last_line_is_completed_from_the_checkpoint(
    cut: int, bert: str, tmp_path: Path, every_round: None, rounds_run: list[int]
) -> None:
    config, folder = finished(bert, tmp_path)
    whole = folder.rounds_path.read_bytes()
    folder.rounds_path.write_bytes(whole[:-cut])
    assert len(folder.records()) == 3, "reading leaves the torn line out"
    assert folder.rounds_path.read_bytes() == whole[:-cut], "and changes nothing"
    assert len(run(config, tmp_path)) == 4
    assert folder.rounds_path.read_bytes() == whole
    assert rounds_run == [1, 2, 3]


@pytest.mark.parametrize("missing", [1, 2])
def test_lines_that_are_missing_are_completed_from_the_checkpoint(
    missing: int, bert: str, tmp_path: Path, rounds_run: list[int]
) -> None:
    """The last commit was of three rounds, so its state holds all of them."""
    config, folder = finished(bert, tmp_path)
    whole = folder.rounds_path.read_bytes()
    kept = whole.splitlines(keepends=True)[:-missing]
    folder.rounds_path.write_bytes(b"".join(kept) + b'{"round": ')
    run(config, tmp_path)
    assert folder.rounds_path.read_bytes() == whole
    assert rounds_run == [1, 2, 3]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(bytes(data))


def test_a_damaged_weight_in_a_checkpoint_is_refused(bert: str, tmp_path: Path) -> None:
    config, folder = finished(bert, tmp_path)
    flip(folder.checkpoint / "model.safetensors", -1)
    before = folder.rounds_path.read_bytes()
    with pytest.raises(DamagedFolder, match=r"does not hold the model.*away to start anew"):
        run(config.replace(max_rounds=5), tmp_path)
    assert folder.rounds_path.read_bytes() == before
    assert len(run(config, tmp_path)) == 4, "what is there can still be read"


@pytest.mark.parametrize("damage", ["header", "cut short", "missing", "other names"])
def test_a_checkpoint_that_cannot_be_read_is_refused(
    damage: str, bert: str, tmp_path: Path
) -> None:
    config, folder = finished(bert, tmp_path)
    weights = folder.checkpoint / "model.safetensors"
    if damage == "header":
        flip(weights, 3)
    elif damage == "cut short":
        os.truncate(weights, 1000)
    elif damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes().replace(b"classifier.bias", b"classifier.bios"))
    with pytest.raises(DamagedFolder, match="away to start anew"):
        run(config.replace(max_rounds=5), tmp_path)


@pytest.mark.parametrize("content", [None, "", "{", "[]\n", '{"no": "round"}\n'])
def test_a_damaged_state_is_refused(content: str | None, bert: str, tmp_path: Path) -> None:
    config, folder = finished(bert, tmp_path)
    state = folder.checkpoint / "state.json"
    state.unlink() if content is None else state.write_text(content)
    with pytest.raises(DamagedFolder, match=r"state\.json .*start it anew"):
        run(config.replace(max_rounds=5), tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], b"not json\n", *lines[2:]],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines, lines[-1].replace(b'"round": 3', b'"round": 4')],
    ],
    ids=["no json", "a round is missing", "a round is twice", "longer than the checkpoint"],
)
def test_a_log_that_contradicts_itself_is_refused(
    damage: Callable[[list[bytes]], list[bytes]], bert: str, tmp_path: Path
) -> None:
    config, folder = finished(bert, tmp_path)
    lines = folder.rounds_path.read_bytes().splitlines(keepends=True)
    folder.rounds_path.write_bytes(b"".join(damage(lines)))
    with pytest.raises(DamagedFolder, match="start it anew"):
        run(config, tmp_path)


def test_without_a_checkpoint_a_log_can_be_read_and_not_extended(
    bert: str, tmp_path: Path, rounds_run: list[int]
) -> None:
    config, folder = finished(bert, tmp_path)
    shutil.rmtree(folder.checkpoint)
    shutil.rmtree(folder.path / "checkpoint.previous")
    assert [record["round"] for record in run(config, tmp_path)] == [0, 1, 2, 3]
    with pytest.raises(DamagedFolder, match="no checkpoint, so it cannot be continued"):
        run(config.replace(max_rounds=5), tmp_path)
    assert rounds_run == [1, 2, 3]
    assert len(folder.records()) == 4


def test_a_full_disk_loses_no_committed_round(
    bert: str, tmp_path: Path, every_round: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick(bert)
    save, saved = Federation.save, []

    def fill_up(self: Federation, directory: Path) -> None:
        saved.append(directory)
        if len(saved) == 3:
            (directory / "model.safetensors").write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(self, directory)

    with monkeypatch.context() as patch:
        patch.setattr(Federation, "save", fill_up)
        with pytest.raises(OSError, match="No space left"):
            run(config, tmp_path)
    assert len(folder_of(config, tmp_path).records()) == 2
    assert run(config, tmp_path) == run(config)


def test_on_a_full_disk_a_failure_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = TrialFolder(tmp_path, "0123456789ab")
    assert "(see " in simulation.note_failure(folder, ValueError("no such class"))
    monkeypatch.setattr(folder_module, "write_atomically", full)
    assert simulation.note_failure(folder, ValueError("no")) == "ValueError: no"
