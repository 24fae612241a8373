"""A trial from round 0 to its stop, interrupted or not, extended or not: always the same rounds."""

from __future__ import annotations

import json
import logging as python_logging
import os
import random
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from quick import files, folder_of, log_lines, quick, run, timeless
from transformers import logging

from fedtune import BadInput, TrialConfig, simulate
from fedtune.federated.local import Diverged
from fedtune.trial import simulation
from fedtune.trial.federation import Federation
from fedtune.trial.folder import DamagedFolder, TrialFolder, TrialInUse
from fedtune.trial.prepare import prepare
from fedtune.trial.results import read_result
from fedtune.trial.stopping import Target


@pytest.fixture
def every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every round gets a checkpoint, however quick it is."""
    monkeypatch.setattr(simulation, "CHECKPOINT_EVERY_S", 0.0)


@pytest.fixture
def rounds_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the rounds that are really computed."""
    numbers: list[int] = []
    compute = Federation.round

    def counted(self: Federation, round_num: int, evaluates: bool) -> dict[str, Any]:
        numbers.append(round_num)
        return compute(self, round_num, evaluates)

    monkeypatch.setattr(Federation, "round", counted)
    return numbers


def take(records: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    taken = [next(records) for _ in range(count)]
    records.close()  # type: ignore[attr-defined]
    return taken


# Without a store


def test_without_a_store_nothing_is_written(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(Path(bert))
    assert [record["round"] for record in simulate(quick(bert))] == [0, 1, 2, 3]
    assert not list(tmp_path.iterdir())
    assert files(Path(bert)) == before


def global_state() -> list[Any]:
    return [
        torch.get_rng_state().tolist(),
        random.getstate(),
        repr(np.random.get_state()),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        python_logging.getLogger().level,
    ]


@pytest.mark.parametrize("stored", [False, True])
def test_the_callers_global_state_is_left_alone(stored: bool, bert: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    torch.set_num_threads(2)  # the trial has one
    try:
        before = global_state()
        for _ in simulate(quick(bert), tmp_path if stored else None):
            assert global_state() == before, "between rounds too, while the caller has the word"
        assert global_state() == before
    finally:
        torch.set_num_threads(1)


def test_the_trial_is_independent_of_the_callers_random_numbers(bert: str) -> None:
    runs = []
    for seed in (1, 2):
        records = []
        for record in simulate(quick(bert)):
            torch.manual_seed(seed)
            torch.rand(3)
            np.random.seed(seed)
            random.seed(seed)
            records.append(timeless(record))
        runs.append(records)
    assert runs[0] == runs[1]


def test_two_trials_that_take_turns_do_not_disturb_each_other(bert: str) -> None:
    configs = [quick(bert), quick(bert, seed=1)]
    together = list(zip(*map(simulate, configs), strict=True))
    for config, records in zip(configs, zip(*together, strict=True), strict=True):
        assert [timeless(record) for record in records] == run(config)


# The rounds of a trial


def test_a_trial_is_the_same_bit_for_bit_every_time(bert: str, tmp_path: Path) -> None:
    config = quick(bert)
    yielded = [run(config), run(config, tmp_path / "a"), run(config, tmp_path / "b")]
    assert yielded[0] == yielded[1] == yielded[2]
    assert log_lines(config, tmp_path / "a") == log_lines(config, tmp_path / "b")
    assert [json.loads(line) for line in log_lines(config, tmp_path / "a")] == yielded[0]
    folders = [files(folder_of(config, tmp_path / s).checkpoint) for s in ("a", "b")]
    assert folders[0]["model.safetensors"] == folders[1]["model.safetensors"]


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": 1},
        {"head_init": "per_client"},
        {"client_optimizer": "adamw", "learning_rate": 1e-3},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"shuffle": "once", "local_epochs": 2},
        {"drop_last": True},
        {"attention_mask": False},
        {"validation_examples": 20, "stop_on": "validation", "target_accuracy": 1.0},
        {"eval_every": 2},
        {"seed": 9, "data_seed": 4},
    ],
    ids=str,
)
def test_a_trial_that_was_cut_off_goes_on_to_the_same_rounds(
    changes: dict[str, Any], bert: str, tmp_path: Path, every_round: None
) -> None:
    config = quick(bert, **changes)
    expected = run(config)
    assert len(take(simulate(config, tmp_path), 2)) == 2
    assert run(config, tmp_path) == expected
    assert [json.loads(line) for line in log_lines(config, tmp_path)] == expected


@pytest.mark.parametrize("name", ["albert", "distilbert"])
def test_other_architectures_go_on_too(
    name: str, tiny: Path, tmp_path: Path, every_round: None
) -> None:
    config = quick(str(tiny / name))
    expected = run(config)
    take(simulate(config, tmp_path), 3)
    assert run(config, tmp_path) == expected


def test_evaluation_is_skipped_between_but_not_at_budget_and_cap(bert: str) -> None:
    records = run(quick(bert, eval_every=10, budget_rounds=2, max_rounds=4))
    assert [r["round"] for r in records if "test/accuracy" in r] == [0, 2, 4]


def test_a_target_of_ones_own_ends_the_trial(bert: str) -> None:
    assert [r["round"] for r in run(quick(bert, target_accuracy=0.01))] == [0, 1]
    study = quick(bert, target_accuracy=0.01, stop="budget-then-target")
    assert [r["round"] for r in run(study)] == [0, 1, 2]
    assert [r["round"] for r in run(quick(bert, clients=1, target_accuracy=0.01))] == [0, 1, 2]


def test_a_target_that_becomes_known_while_the_trial_runs_ends_it(bert: str) -> None:
    known: list[float] = []
    rounds = []
    trial = prepare(quick(bert, max_rounds=5))
    for record in simulation.run_trial(trial, None, lambda: Target(known[0] if known else None)):
        rounds.append(record["round"])
        if record["round"] == 2:
            known.append(0.01)
    assert rounds == [0, 1, 2]


def test_the_model_learns(bert: str) -> None:
    config = quick(
        bert,
        clients=1,
        train_examples="all",
        test_examples="all",
        batch_size=8,
        local_epochs=2,
        budget_rounds=3,
    )
    assert run(config)[-1]["test/accuracy"] > 0.9


# Folders


def test_a_folder_holds_what_the_contract_says(bert: str, tmp_path: Path) -> None:
    config = quick(bert)
    records = run(config, tmp_path)
    folder = folder_of(config, tmp_path)
    trial = prepare(config)
    assert [path.name for path in tmp_path.iterdir()] == [trial.trial_id]
    assert {path.name for path in folder.path.iterdir()} - {"lock", "memory.json"} == {
        "config.yaml",
        "partition.json",
        "rounds.jsonl",
        "checkpoint",
        "checkpoint.previous",
        f"round-{config.budget_rounds}",
    }
    labels, predictions = np.load(folder.predictions_path(int(config.budget_rounds)))
    assert labels.dtype == np.uint8
    at_budget = records[int(config.budget_rounds)]
    assert (labels == predictions).mean() == at_budget["test/accuracy"]
    stored = yaml.safe_load((folder.path / "config.yaml").read_text())
    assert {field: stored[field] for field in TrialConfig.model_fields} == trial.config.model_dump()
    assert stored["trial_id"] == trial.trial_id
    assert stored["baseline_trial_id"] == trial.baseline_id
    assert stored["model/parameters"] > 0
    assert not any(isinstance(value, dict) for value in stored.values()), "flat keys"
    partition = json.loads((folder.path / "partition.json").read_text())
    assert [client["num_examples"] for client in partition["clients"]] == [9, 9, 8]
    assert [json.loads(line) for line in log_lines(config, tmp_path)] == records
    assert {"config.json", "model.safetensors", "state.json", "tokenizer.json"} <= {
        path.name for path in folder.checkpoint.iterdir()
    }


def test_every_round_is_on_disk_before_it_is_shown(
    bert: str, tmp_path: Path, every_round: None
) -> None:
    config = quick(bert)
    folder = folder_of(config, tmp_path)
    for count, record in enumerate(simulate(config, tmp_path), start=1):
        on_disk = TrialFolder(tmp_path, folder.trial_id).records()
        assert len(on_disk) == count
        assert on_disk[-1] == record
        state = (folder.checkpoint / "state.json").read_text().splitlines()
        assert json.loads(state[-1]) == record


def test_quick_rounds_are_committed_together_and_shown_only_then(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "CHECKPOINT_EVERY_S", 3600.0)
    config = quick(bert)
    folder, on_disk, commits = folder_of(config, tmp_path), [], []
    commit = TrialFolder.commit

    def counted(self: TrialFolder, records: Any, save: Any) -> None:
        commits.append([record["round"] for record in records])
        commit(self, records, save)

    monkeypatch.setattr(TrialFolder, "commit", counted)
    for _ in simulate(config, tmp_path):
        on_disk.append(len(folder.records()))
    assert commits == [[0], [1, 2, 3]], "the untrained model at once, the rest at the end"
    assert on_disk == [1, 4, 4, 4]
    assert [json.loads(line) for line in log_lines(config, tmp_path)] == run(config)


def test_a_finished_trial_is_not_run_again(
    bert: str, tmp_path: Path, rounds_run: list[int]
) -> None:
    config = quick(bert)
    first = list(simulate(config, tmp_path))
    before = files(folder_of(config, tmp_path).path)
    assert rounds_run == [1, 2, 3]
    assert list(simulate(config, tmp_path)) == first, "times too: they are read, not measured"
    assert rounds_run == [1, 2, 3]
    after = files(folder_of(config, tmp_path).path)
    assert {k: v for k, v in after.items() if k != "lock"} == {
        k: v for k, v in before.items() if k != "lock"
    }


def test_a_raised_cap_goes_on_and_runs_no_earlier_round_again(
    bert: str, tmp_path: Path, rounds_run: list[int]
) -> None:
    config = quick(bert)
    run(config, tmp_path)
    log = folder_of(config, tmp_path).rounds_path
    before = log.read_bytes()
    longer = config.replace(max_rounds=5)
    records = run(longer, tmp_path)
    assert rounds_run == [1, 2, 3, 4, 5]
    assert log.read_bytes().startswith(before)
    assert log.read_bytes().count(b"\n") == 6
    assert records == run(longer), "the same as if it had been asked for at once"


def test_a_lowered_cap_reads_only_up_to_it(
    bert: str, tmp_path: Path, rounds_run: list[int]
) -> None:
    config = quick(bert, max_rounds=4)
    run(config, tmp_path)
    shorter = config.replace(max_rounds=2)
    given = run(shorter, tmp_path)
    assert [record["round"] for record in given] == [0, 1, 2]
    assert rounds_run == [1, 2, 3, 4]
    result = read_result(tmp_path, prepare(shorter))
    assert [record["round"] for record in result.records] == [0, 1, 2]
    assert len(folder_of(config, tmp_path).records()) == 5, "nothing is thrown away"


def test_a_changed_stop_only_extends(bert: str, tmp_path: Path, rounds_run: list[int]) -> None:
    config = quick(bert, target_accuracy=0.01)
    assert len(run(config, tmp_path)) == 2
    study = config.replace(stop="budget-then-target")
    assert len(run(study, tmp_path)) == 3
    assert rounds_run == [1, 2]


def test_a_store_that_was_moved_goes_on(bert: str, tmp_path: Path, every_round: None) -> None:
    config = quick(bert)
    take(simulate(config, tmp_path / "a"), 2)
    (tmp_path / "a").rename(tmp_path / "b")
    assert run(config, tmp_path / "b") == run(config)


def test_a_model_directory_that_was_moved_goes_on(
    bert: str, tmp_path: Path, every_round: None
) -> None:
    config = quick(bert)
    take(simulate(config, tmp_path / "store"), 2)
    elsewhere = str(shutil.copytree(bert, tmp_path / "elsewhere"))
    assert run(quick(elsewhere), tmp_path / "store") == run(config)


def test_what_auto_became_is_used_again(
    bert: str, tmp_path: Path, every_round: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick(bert, threads="auto", device="auto")
    monkeypatch.setattr("fedtune.trial.prepare.available_cores", lambda: 1)
    take(simulate(config, tmp_path), 2)
    monkeypatch.setattr("fedtune.trial.prepare.available_cores", lambda: 3)
    used: list[int] = []
    compute = Federation.round

    def note(self: Federation, *arguments: Any) -> dict[str, Any]:
        used.append(int(self.trial.config.threads))
        return compute(self, *arguments)

    monkeypatch.setattr(Federation, "round", note)
    run(config, tmp_path)
    assert used == [1, 1]
    assert folder_of(config, tmp_path).read_config()["threads"] == 1


def test_a_stored_device_that_is_absent_says_what_to_do(
    bert: str, tmp_path: Path, rounds_run: list[int]
) -> None:
    config = quick(bert, device="auto")
    run(config, tmp_path)
    path = folder_of(config, tmp_path).path / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(stored | {"device": "cuda:7"}))
    with pytest.raises(BadInput, match=r"^device='cuda:7': .*another --store"):
        run(config.replace(max_rounds=5), tmp_path)
    assert rounds_run == [1, 2, 3]


# Damage


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


# Divergence


def test_a_diverged_round_is_not_logged_and_not_tried_again(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick(bert)
    compute = Federation.round

    def diverge(self: Federation, round_num: int, evaluates: bool) -> dict[str, Any]:
        if round_num == 2:
            raise Diverged(2, 1)
        return compute(self, round_num, evaluates)

    monkeypatch.setattr(Federation, "round", diverge)
    with pytest.raises(Diverged, match="round 2 at client 1"):
        run(config, tmp_path)
    monkeypatch.undo()
    folder = folder_of(config, tmp_path)
    assert len(folder.records()) == 2
    assert folder.read_json("diverged.json") == {"round": 2, "client_id": 1}
    assert [record["round"] for record in run(config, tmp_path)] == [0, 1]
    result = read_result(tmp_path, prepare(config))
    assert result.ended
    assert result.summary is not None
    assert result.summary.outcome == "diverged"


@pytest.mark.parametrize("rate", [1e15, 1e30])
def test_a_rate_that_is_far_too_high_diverges_with_a_log_that_is_strict_json(
    rate: float, bert: str, tmp_path: Path
) -> None:
    config = quick(bert, learning_rate=rate, local_epochs=1, batch_size=26)
    with pytest.raises(Diverged):
        run(config, tmp_path)
    lines = folder_of(config, tmp_path).rounds_path.read_text().splitlines()
    for line in lines:
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    checkpoint = folder_of(config, tmp_path).checkpoint / "state.json"
    assert checkpoint.read_text().splitlines()[-1] == lines[-1]


# Who is at work


def test_a_trial_in_use_is_refused_and_its_owner_named(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "HANDOVER_S", 0.0)
    config = quick(bert)
    first = simulate(config, tmp_path)
    next(first)
    owner = re.escape(f"process {os.getpid()} on {socket.gethostname()}")
    with pytest.raises(TrialInUse, match=f"in use by {owner}"):
        next(simulate(config, tmp_path))
    assert [record["round"] for record in first] == [1, 2, 3]
    assert len(run(config, tmp_path)) == 4, "it is free again"
