"""A trial's folder: what is in it, how a trial goes on from it, who may work on it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from quick import files, folder_of, log_lines, quick, run, take

from fedtune import BadInput, TrialConfig, simulate
from fedtune.trial import simulation
from fedtune.trial.federation import Federation
from fedtune.trial.folder import TrialFolder
from fedtune.trial.locks import TrialInUse
from fedtune.trial.prepare import prepare
from fedtune.trial.results import read_result


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
    monkeypatch.setattr(simulation, "checkpoint_pause", lambda took_s: 3600.0)
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
    monkeypatch.setattr("fedtune.trial.settling.available_cores", lambda: 1)
    take(simulate(config, tmp_path), 2)
    monkeypatch.setattr("fedtune.trial.settling.available_cores", lambda: 3)
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
    assert len(run(config, tmp_path)) == 4, "what has ended needs no device"
    longer = prepare(config.replace(max_rounds=5))
    there = simulation.as_begun(longer, folder_of(config, tmp_path), elsewhere=True)
    assert there.config.device == "cuda:7", "a cluster may have it"
    assert rounds_run == [1, 2, 3]


def test_a_trial_without_a_round_may_begin_on_another_device(bert: str, tmp_path: Path) -> None:
    config = quick(bert, device="auto")
    folder = folder_of(config, tmp_path)
    folder.write_config(prepare(config), {})
    path = folder.path / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"device": "cuda:7"}))
    assert len(run(config.replace(device="cpu"), tmp_path)) == 4
    assert folder.read_config()["device"] == "cpu"


def test_a_checkpoint_that_takes_long_to_write_is_written_less_often() -> None:
    assert [simulation.checkpoint_pause(took_s) for took_s in (0.0, 0.01, 2.0)] == [1.0, 1.0, 20.0]


#: Another process that holds a trial until its standard input ends.
HOLDS = """
import sys
from pathlib import Path
from fedtune.trial.folder import TrialFolder
with TrialFolder(Path(sys.argv[1]), sys.argv[2]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_trial_in_use_is_refused_and_its_owner_named(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "HANDOVER_S", 0.0)
    config = quick(bert)
    folder = folder_of(config, tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path), folder.trial_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == b"held\n"
        owner = re.escape(f"process {holder.pid} on {socket.gethostname()}")
        with pytest.raises(TrialInUse, match=f"in use by {owner}"):
            next(simulate(config, tmp_path))
        holder.stdin.close()
    assert len(run(config, tmp_path)) == 4, "it is free again"
