"""Trials whose clients differ, or are joined otherwise than by their mean.

Cut off anywhere they give the same rounds, and a client that fails changes nothing.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick import folder_of, log_lines, quick, run, take

from fedtune import TrialConfig, simulate
from fedtune.errors import BadInput
from fedtune.federated import client_vectors
from fedtune.federated import clients as cohorts
from fedtune.federated.client_heads import ClientHeads
from fedtune.federated.cohort import cohort_of
from fedtune.trial.facts import data_facts
from fedtune.trial.federation import Federation
from fedtune.trial.folder import TrialFolder
from fedtune.trial.inputs import partition_of
from fedtune.trial.prepare import prepare
from fedtune.trial.round_log import DamagedFolder

STRATEGIES: list[dict[str, Any]] = [
    {"strategy": "fedprox", "prox_mu": 1.0},
    {"strategy": "scaffold"},
    {"strategy": "fednova", "partition": "quantity"},
    {"strategy": "afl"},
    {"strategy": "fedavgm"},
    {"strategy": "fedadagrad", "server_learning_rate": 0.01},
    {"strategy": "fedadam", "server_learning_rate": 0.01},
    {"strategy": "fedyogi", "server_learning_rate": 0.01},
    {"strategy": "scaffold", "server_optimizer": "momentum", "participation": 0.4},
    {"strategy": "feddf", "server_optimizer": "momentum", "distill_examples": 12},
    {"strategy": "one-shot", "distill_examples": 12, "one_shot_epochs": 2},
]
PARTITIONS: list[dict[str, Any]] = [
    {"partition": "dirichlet", "partition_alpha": 0.1},
    {"partition": "dirichlet-per-class"},
    {"partition": "shards", "shards_per_client": 1},
    {"partition": "quantity"},
    {"partition": "fixed-per-client", "examples_per_client": 5},
    {"participation": 0.7, "head_init": "per_client"},
]
#: Those that keep something between rounds.
KEEPING = [s for s in STRATEGIES if s["strategy"] not in ("fedprox", "fednova", "one-shot")]


class Killed(BaseException):
    """Stands for a kill: nothing that fedtune does on the way out happens."""


def logged(config: TrialConfig, store: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log_lines(config, store)]


@pytest.mark.parametrize("changes", [*STRATEGIES, *PARTITIONS], ids=str)
def test_cut_off_after_any_round_it_goes_on_to_the_same_rounds(
    changes: dict[str, Any], bert: str, tmp_path: Path, every_round: None
) -> None:
    """After each round in turn: one trial, of which every round is the first of its process."""
    config = quick(bert, **changes)
    expected = run(config)
    for count in range(1, len(expected)):
        take(simulate(config, tmp_path), count)
        assert logged(config, tmp_path) == expected[:count]
    assert run(config, tmp_path) == expected
    assert logged(config, tmp_path) == expected


@pytest.mark.parametrize("changes", KEEPING, ids=str)
def test_killed_within_a_round_it_goes_on_to_the_same_rounds(
    changes: dict[str, Any], bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a strategy keeps is that of the last committed round, whatever was written since."""
    config = quick(bert, **changes)
    expected = run(config)
    for place in ("in a client", "before the commit", "within the commit"):
        store = tmp_path / place
        with monkeypatch.context() as patched:
            kill(patched, place, cohort_of(2, 3, config.participation, 0))
            with pytest.raises(Killed):
                run(config, store)
        assert len(logged(config, store)) < len(expected), place
        assert run(config, store) == expected, place


@pytest.mark.parametrize("place", ["in a client", "before the commit", "within the commit"])
def test_one_shot_that_is_killed_in_its_only_round_runs_it_again(
    place: str, bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick(bert, strategy="one-shot", distill_examples=12)
    expected = run(config)
    with monkeypatch.context() as patched:
        kill(patched, place, [0, 1, 2], round_num=1)
        with pytest.raises(Killed):
            run(config, tmp_path)
    assert run(config, tmp_path) == expected
    assert [record["round"] for record in logged(config, tmp_path)] == [0, 1]


def kill(patched: pytest.MonkeyPatch, place: str, cohort: list[int], round_num: int = 2) -> None:
    """Kill in a round, whose ``cohort`` it is, after its last client or in its commit."""
    if place == "in a client":
        train = cohorts.train_client

        def train_client(*arguments: Any) -> Any:
            trained = train(*arguments)
            if arguments[4] == round_num and arguments[5] == max(cohort):
                raise Killed
            return trained

        patched.setattr(cohorts, "train_client", train_client)
        return
    commit = TrialFolder.commit

    def killed(self: TrialFolder, records: Any, save: Callable[[Path], None]) -> None:
        if records[-1]["round"] < round_num:
            commit(self, records, save)
            return
        if place == "within the commit":
            (self.path / "checkpoint.new").mkdir()
            save(self.path / "checkpoint.new")
        raise Killed

    patched.setattr(TrialFolder, "commit", killed)


@pytest.mark.parametrize("changes", STRATEGIES, ids=str)
def test_a_client_that_raises_changes_nothing(
    changes: dict[str, Any], bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, alone = (Federation(prepare(quick(bert, **changes))) for _ in range(2))
    for federation in (made, alone):
        federation.round(1, evaluates=False)
    train = cohorts.train_client

    def fails(*arguments: Any) -> Any:
        trained = train(*arguments)
        if arguments[5] == max(cohort_of(2, 3, made.trial.config.participation, 0)):
            raise MemoryError("no luck")
        return trained

    with monkeypatch.context() as patched:
        patched.setattr(cohorts, "train_client", fails)
        with pytest.raises(MemoryError):
            made.round(2, evaluates=False)
    again, expected = made.round(2, evaluates=False), alone.round(2, evaluates=False)
    assert timeless_of(again) == timeless_of(expected)


def timeless_of(record: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if not k.startswith(("time/", "throughput/"))}


@pytest.mark.parametrize("changes", KEEPING, ids=str)
def test_what_a_strategy_keeps_is_part_of_the_checkpoint(
    changes: dict[str, Any], bert: str, tmp_path: Path, every_round: None
) -> None:
    config = quick(bert, **changes)
    take(simulate(config, tmp_path), 2)
    checkpoint = folder_of(config, tmp_path).checkpoint
    path = checkpoint / "server_memory.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFolder, match="does not hold"):
        run(config, tmp_path)
    path.unlink()
    with pytest.raises(DamagedFolder, match=r"server_memory\.safetensors"):
        run(config, tmp_path)


def test_fedavg_keeps_nothing(bert: str, tmp_path: Path) -> None:
    config = quick(bert)
    assert all("memory_digest" not in record for record in run(config, tmp_path))
    folder = folder_of(config, tmp_path)
    assert not (folder.checkpoint / "server_memory.safetensors").exists()
    assert not folder.vectors.exists()


def test_vectors_of_clients_are_on_disk_and_not_in_memory(bert: str, tmp_path: Path) -> None:
    config = quick(bert, strategy="scaffold")
    run(config, tmp_path)
    made = Federation(prepare(config))
    kept = sum(tensor.numel() for tensor in made.server.memory.values())
    assert kept <= made.flat.num_parameters + 2 * config.num_clients
    size = folder_of(config, tmp_path).vectors.stat().st_size
    assert size == 2 * 3 * 4 * made.flat.num_parameters


def test_bytes_are_those_that_a_strategy_sends(bert: str) -> None:
    sent = {}
    for name in ("fedavg", "fedprox", "scaffold", "fedadam", "afl"):
        sent[name] = run(quick(bert, strategy=name, max_rounds=2))[-1]["comm/bytes"]
    sent["feddf"] = run(quick(bert, strategy="feddf", distill_examples=8, max_rounds=2))[-1][
        "comm/bytes"
    ]
    plain = sent.pop("fedavg")
    assert sent.pop("scaffold") == 2 * plain
    assert set(sent.values()) == {plain}
    some = run(quick(bert, clients=4, participation=0.5, max_rounds=2))
    assert [record["comm/bytes"] for record in some] == [0, plain // 3, 2 * plain // 3]
    assert [record.get("clients/sampled") for record in some] == [None, 2, 2]


def test_sequential_steps_are_those_of_the_largest_client_that_took_part(bert: str) -> None:
    config = quick(bert, partition="quantity", participation=0.4, clients=5, max_rounds=3)
    trial = prepare(config)
    sizes = partition_of(trial).sizes
    steps = 0
    for record in run(config)[1:]:
        cohort = cohort_of(record["round"], 5, 0.4, 0)
        steps += max(-(-sizes[client_id] // 4) for client_id in cohort)
        assert record["steps/sequential"] == steps
    assert data_facts(trial)["steps/per_round"] == -(-max(sizes) // 4)


def test_everybody_in_every_round_is_a_round_without_sampling(bert: str) -> None:
    assert run(quick(bert, participation=1.0)) == run(quick(bert))


def test_a_client_gets_its_head_when_it_is_first_sampled(
    bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick(bert, clients=5, participation=0.4, head_init="per_client")
    drawn: list[tuple[int, int]] = []
    made = Federation(prepare(config))
    now = 0
    monkeypatch.setattr(ClientHeads, "draw", lambda self, client_id: drawn.append((now, client_id)))
    expected, met = [], set()
    for now in range(1, 5):
        made.round(now, evaluates=False)
        cohort = cohort_of(now, 5, 0.4, 0)
        expected += [(now, client_id) for client_id in cohort if client_id not in met]
        met.update(cohort)
    assert drawn == expected
    assert len(expected) > 2


def test_accuracy_by_client_is_that_of_its_classes(bert: str) -> None:
    config = quick(bert, partition="shards", shards_per_client=1, clients=2)
    trial = prepare(config)
    made = Federation(trial)
    record = made.round(1, evaluates=True)
    labels, predicted = made.test_predictions
    by_class = [float((predicted[labels == c] == c).mean()) for c in (0, 1)]
    counts = np.array([client["labels"] for client in made.partition["clients"]])
    expected = (counts * by_class).sum(axis=1) / counts.sum(axis=1)
    assert record["clients/accuracy_mean"] == pytest.approx(expected.mean())
    assert record["clients/accuracy_worst"] == pytest.approx(expected.min())
    assert record["clients/accuracy_p10"] == pytest.approx(np.percentile(expected, 10))
    assert not any("accuracy_" in key for r in run(quick(bert)) for key in r)


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "scaffold", "fednova", "afl"])
def test_a_client_with_one_example_and_one_with_one_class_are_ordinary(
    strategy: str, bert: str
) -> None:
    config = quick(
        bert,
        strategy=strategy,
        clients=8,
        partition="dirichlet-per-class",
        partition_alpha=1.0,
        max_rounds=2,
    )
    counts = partition_of(prepare(config)).label_counts(
        np.asarray(Federation(prepare(config)).splits["train"].labels), 2
    )
    assert counts.sum(axis=1).min() == 1
    assert (counts == 0).any()
    assert all(np.isfinite(record["test/loss"]) for record in run(config))


@pytest.mark.parametrize("partition", ["dirichlet", "shards", "quantity", "dirichlet-per-class"])
def test_a_partition_does_not_depend_on_other_numbers_of_clients(partition: str, bert: str) -> None:
    asked = quick(bert, partition=partition, partition_alpha=5.0)
    trials = [prepare(asked.replace(clients=clients)) for clients in (2, 3)]
    before = [c.tolist() for c in partition_of(trials[0]).clients]
    partition_of(trials[1])
    assert [c.tolist() for c in partition_of(prepare(trials[0].config)).clients] == before
    other = prepare(asked.replace(clients=2, seed=1))
    assert [c.tolist() for c in partition_of(other).clients] != before


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"partition": "shards", "shards_per_client": 9}, "shards_per_client", "at most 8"),
        (
            {"partition": "fixed-per-client", "examples_per_client": 9},
            "examples_per_client",
            "at most 8: 3 clients share 26 examples",
        ),
        ({"partition": "quantity", "min_client_examples": 9}, "min_client_examples", "at most 8"),
        (
            {"partition": "dirichlet-per-class", "min_client_examples": 9},
            "min_client_examples",
            "at most 8",
        ),
        (
            {"partition": "dirichlet-per-class", "partition_alpha": 0.001, "clients": 20},
            "partition",
            "one of 20 clients had fewer than 1 of 26 examples, with partition_alpha 0.001; raise",
        ),
        (
            {"partition": "quantity", "partition_alpha": 0.05, "drop_last": True},
            "drop_last",
            "leave a client without a step",
        ),
    ],
)
def test_a_draw_that_cannot_be_is_refused_with_the_way_out(
    changes: dict[str, Any], field: str, words: str, bert: str
) -> None:
    with pytest.raises(BadInput, match=words) as bad:
        prepare(quick(bert, **changes))
    assert [fault.field for fault in bad.value.faults] == [field]


def test_settings_that_do_nothing_make_no_other_trial(bert: str) -> None:
    plain = prepare(quick(bert))
    for changes in ({"prox_mu": 0.5}, {"partition_alpha": 3.0}, {"server_tau": 0.1}):
        assert prepare(quick(bert, **changes)).trial_id == plain.trial_id
    alone = prepare(quick(bert, clients=1, partition="dirichlet", participation=0.3))
    assert alone.is_baseline
    assert alone.trial_id == plain.baseline_id


def test_all_strategies_and_partitions_share_one_baseline(bert: str) -> None:
    shared = {"distill_examples": 12}  # which describes the data
    trials = [prepare(quick(bert, **shared | changes)) for changes in [*STRATEGIES, *PARTITIONS]]
    assert len({trial.baseline_id for trial in trials}) == 1
    assert len({trial.trial_id for trial in trials}) == len(trials)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def a_bit_other(path: Path) -> None:
    path.write_bytes((np.frombuffer(path.read_bytes(), np.uint8) ^ 1).tobytes())


@pytest.mark.parametrize("damage", [Path.unlink, emptied, zeroed, a_bit_other])
def test_vectors_of_clients_that_are_not_those_of_the_last_round_are_refused(
    damage: Callable[[Path], None], bert: str, tmp_path: Path, every_round: None
) -> None:
    config = quick(bert, strategy="scaffold")
    take(simulate(config, tmp_path), 3)
    damage(folder_of(config, tmp_path).vectors)
    with pytest.raises(DamagedFolder, match="control variates is not that of the last round"):
        run(config, tmp_path)


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_under_the_vectors_of_clients_is_named_and_loses_nothing(
    call: str, bert: str, tmp_path: Path, every_round: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick(bert, strategy="scaffold")
    take(simulate(config, tmp_path), 2)
    vectors, real = folder_of(config, tmp_path).vectors, getattr(os, call)
    calls = []

    def full(file: int, *args: Any) -> Any:
        if os.fstat(file).st_ino == vectors.stat().st_ino:
            calls.append(file)
            if len(calls) == (6 if call == "write" else 2):  # in the second of these rounds
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, *args)

    with monkeypatch.context() as patch:
        patch.setattr(client_vectors.os, call, full)
        with pytest.raises(OSError, match=r"No space left on device: '.*client-vectors\.bin'"):
            run(config, tmp_path)
    assert len(log_lines(config, tmp_path)) == 3
    assert run(config, tmp_path) == run(config)


def test_vectors_of_clients_are_not_written_through_a_link(
    bert: str, tmp_path: Path, every_round: None
) -> None:
    config, outside = quick(bert, strategy="scaffold"), tmp_path / "outside"
    outside.write_text("of somebody else")
    store = tmp_path / "store"
    take(simulate(config, store), 3)
    vectors = folder_of(config, store).vectors
    vectors.unlink()
    vectors.symlink_to(outside)
    with pytest.raises(DamagedFolder, match="link"):
        run(config, store)
    assert outside.read_text() == "of somebody else"


def test_a_folder_in_the_place_of_the_vectors_is_told(
    bert: str, tmp_path: Path, every_round: None
) -> None:
    config = quick(bert, strategy="scaffold")
    take(simulate(config, tmp_path), 3)
    vectors = folder_of(config, tmp_path).vectors
    vectors.unlink()
    vectors.mkdir()
    with pytest.raises(DamagedFolder, match="is a folder, where a file belongs"):
        run(config, tmp_path)
