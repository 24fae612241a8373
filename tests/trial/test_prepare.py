"""What makes a trial itself, and what `auto` becomes."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quick import files, quick

from fedtune.config import FIELDS, OF_CLIENTS, UNHASHED, TrialConfig
from fedtune.errors import BadInput
from fedtune.trial import identity, settling
from fedtune.trial.facts import data_facts
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import open_examples
from fedtune.trial.prepare import prepare, prepare_all

#: Another value for every field than a quick trial has.
OTHER: dict[str, Any] = {
    "system_metrics": True,
    "model": "elsewhere",
    "dataset": "elsewhere",
    "clients": 4,
    "seed": 1,
    "data_seed": 1,
    "train_examples": "all",
    "validation_examples": 5,
    "test_examples": "all",
    "text_column": "content",
    "label_column": "class",
    "max_length": 31,
    "local_epochs": 3,
    "batch_size": 9,
    "client_optimizer": "adamw",
    "learning_rate": 0.06,
    "momentum": 0.5,
    "weight_decay": 0.5,
    "shuffle": "once",
    "drop_last": True,
    "attention_mask": False,
    "strategy": "another",
    "partition": "another",
    "partition_alpha": 0.1,
    "shards_per_client": 3,
    "client_column": "author",
    "examples_per_client": 5,
    "min_client_examples": 2,
    "participation": 0.5,
    "prox_mu": 1.0,
    "afl_step_size": 1.0,
    "server_optimizer": "adam",
    "server_learning_rate": 0.1,
    "server_momentum": 0.5,
    "server_beta2": 0.5,
    "server_tau": 0.1,
    "head_init": "per_client",
    "budget_rounds": 1,
    "max_rounds": 9,
    "target_fraction": 0.5,
    "target_accuracy": 0.7,
    "stop": "budget-then-target",
    "stop_on": "validation",
    "eval_every": 2,
    "eval_steps": "geometric",
    "head": "relu",
    "precision": "another",
    "device": "cuda:1",
    "threads": 2,
    "balance_classes": True,
    "dataset_config": "sst2",
    "test_split": "validation",
    "test_fraction": 0.5,
    "distill_examples": 5,
    "distill_dataset": "elsewhere",
    "distill_steps": 4,
    "distill_learning_rate": 0.1,
    "one_shot_epochs": 4,
}


@pytest.fixture(scope="module")
def trial(bert: str) -> Trial:
    return prepare(quick(bert))


def changed(trial: Trial, field: str) -> Trial:
    """The trial with another value of ``field``, as it was asked for and as it is hashed."""
    changes: dict[str, Any] = {
        "config": trial.config.model_copy(update={field: OTHER[field]}),
    }
    if field == "precision":
        changes["asked_precision"] = OTHER[field]
    if field in ("model", "dataset"):
        changes[f"{field}_hash"] = "0" * 64
    if field == "distill_dataset":
        changes["pool_hash"] = "0" * 64
    return replace(trial, **changes)


def test_there_is_another_value_for_every_field(trial: Trial) -> None:
    assert set(OTHER) == set(FIELDS)
    for field, value in OTHER.items():
        assert getattr(trial.config, field) != value, field


@pytest.mark.parametrize("field", sorted(UNHASHED))
def test_how_long_and_where_it_runs_does_not_make_another_trial(field: str, trial: Trial) -> None:
    other = changed(trial, field)
    assert (other.trial_id, other.baseline_id) == (trial.trial_id, trial.baseline_id)


@pytest.mark.parametrize("field", sorted(set(FIELDS) - UNHASHED))
def test_every_other_field_makes_another_trial(field: str, trial: Trial) -> None:
    other = changed(trial, field)
    assert other.trial_id != trial.trial_id
    about_clients = field == "clients" or field in OF_CLIENTS
    assert (other.baseline_id == trial.baseline_id) == about_clients


@pytest.mark.parametrize("field", ["model", "dataset"])
def test_content_counts_and_not_the_name(field: str, trial: Trial) -> None:
    renamed = replace(trial, config=trial.config.model_copy(update={field: "other name"}))
    assert renamed.trial_id == trial.trial_id


def test_another_engine_makes_other_trials(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trial.trial_id
    monkeypatch.setattr(identity, "ENGINE", identity.ENGINE + 1)
    assert trial.trial_id != before


def test_the_identity_is_the_contracts_hash_of_the_contracts_fields(trial: Trial) -> None:
    fields = {
        "model": trial.model_hash,
        "dataset": trial.dataset_hash,
        "clients": 3,
        "seed": 0,
        "data_seed": 0,
        "train_examples": 26,
        "validation_examples": 0,
        "test_examples": 16,
        "text_column": "text",
        "label_column": "label",
        "max_length": 32,
        "local_epochs": 1,
        "batch_size": 4,
        "client_optimizer": "sgd",
        "learning_rate": 0.05,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "strategy": "fedavg",
        "partition": "iid",
        "head_init": "shared",
        "attention_mask": True,
        "shuffle": "every_epoch",
        "drop_last": False,
        "precision": "auto",  # as asked
        "engine": identity.ENGINE,
    }
    text = json.dumps(fields, sort_keys=True)
    assert trial.trial_id == hashlib.sha256(text.encode()).hexdigest()[:12]


@pytest.mark.parametrize("clients", [1, 2, 26])
def test_the_baseline_is_the_trial_with_one_client(clients: int, bert: str, trial: Trial) -> None:
    sibling = prepare(quick(bert, clients=clients))
    assert sibling.baseline_id == trial.baseline_id == prepare(quick(bert, clients=1)).trial_id
    assert (sibling.trial_id == sibling.baseline_id) is (clients == 1)


def test_a_model_directory_may_lie_anywhere(bert: str, tmp_path: Path, trial: Trial) -> None:
    elsewhere = shutil.copytree(bert, tmp_path / "some" / "other place")
    assert prepare(quick(str(elsewhere))).trial_id == trial.trial_id


def test_a_changed_model_is_another_trial(bert: str, tmp_path: Path, trial: Trial) -> None:
    copy = Path(shutil.copytree(bert, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.2}))
    assert prepare(quick(str(copy))).trial_id != trial.trial_id


def test_what_auto_becomes_is_the_same_trial_as_asking_for_it(bert: str) -> None:
    auto = prepare(quick(bert, learning_rate="auto", text_column="auto"))
    named = prepare(quick(bert, learning_rate=2e-5, text_column="text", label_column="label"))
    assert auto.trial_id == named.trial_id
    assert prepare(quick(bert, learning_rate=1)).trial_id == (
        prepare(quick(bert, learning_rate=1.0)).trial_id
    )


def test_precision_counts_as_it_was_asked(bert: str, trial: Trial) -> None:
    """What auto becomes depends on the machine, so it is no part of what the trial is."""
    for precision in ("fp32", "bf16"):
        asked = prepare(quick(bert, precision=precision))
        assert asked.config.precision == precision
        assert asked.trial_id != trial.trial_id


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_precision_is_bf16_where_the_hardware_has_it(
    bert: str, trial: Trial, monkeypatch: pytest.MonkeyPatch, has_bf16: bool, precision: str
) -> None:
    monkeypatch.setattr(settling, "has_bf16", lambda device: has_bf16)
    settled = prepare(quick(bert))
    assert settled.config.precision == precision
    assert settled.trial_id == trial.trial_id


def test_every_auto_is_settled(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "available_cores", lambda: 12)
    monkeypatch.setattr(settling, "device_exists", lambda device: device == "cpu")
    monkeypatch.setattr(settling, "has_bf16", lambda device: False)
    config = TrialConfig(model=bert, dataset="toy", clients=2, max_length=32)
    settled = prepare(config, num_federated=5).config
    left = {field for field, value in settled.model_dump().items() if value == "auto"}
    assert left == {"one_shot_epochs", "distill_steps", "distill_learning_rate"}, "of others"
    assert (settled.text_column, settled.label_column) == ("text", "label")
    assert (settled.budget_rounds, settled.max_rounds) == (3, 6)
    assert settled.learning_rate == 2e-5
    assert (settled.precision, settled.device) == ("fp32", "cpu")
    assert settled.threads == 2  # 12 cores // 5 trials
    assert prepare(config, num_federated=100).config.threads == 1
    assert prepare(config).config.threads == 12
    assert prepare(config.replace(threads=7), num_federated=5).config.threads == 7
    assert prepare(config.replace(budget_rounds=5)).config.max_rounds == 10


def test_the_rate_of_a_card_is_for_plain_sgd(bert: str, tmp_path: Path) -> None:
    model = Path(shutil.copytree(bert, tmp_path / "model"))
    (model / "README.md").write_text("---\nfedtune: {learning_rate: 0.03}\n---\n")
    rates = {
        optimizer: prepare(
            quick(str(model), learning_rate="auto", client_optimizer=optimizer)
        ).config.learning_rate
        for optimizer in ("sgd", "adamw")
    }
    assert rates == {"sgd": 0.03, "adamw": 2e-5}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"clients": 257, "train_examples": "all"}, "clients", "which is 256"),
        ({"clients": 26, "drop_last": True}, "drop_last", "do not fill one batch of 4"),
        ({"max_length": 33}, "max_length", "at most 32"),
        ({"device": "cuda:77"}, "device", "no such device"),
        ({"budget_rounds": "auto", "max_rounds": 2}, "max_rounds", "which is 3 for toy"),
        ({"train_examples": 257}, "train_examples", "256"),
        ({"test_examples": 129}, "test_examples", "128"),
        ({"validation_examples": 256}, "validation_examples", "256"),
        ({"text_column": "body"}, "text_column", "text"),
    ],
)
def test_what_model_and_data_do_not_allow_is_refused(
    changes: dict[str, Any], field: str, words: str, bert: str
) -> None:
    with pytest.raises(BadInput, match=words) as bad:
        prepare(quick(bert, **changes))
    assert [fault.field for fault in bad.value.faults] == [field]


def test_a_gpu_of_a_cluster_need_not_be_here(bert: str) -> None:
    config = prepare(quick(bert, device="cuda:77"), elsewhere=True).config
    assert (config.device, config.precision) == ("cuda:77", "bf16")
    assert prepare(quick(bert, device="cuda:77", precision="fp32"), elsewhere=True)


def test_faults_of_model_data_and_device_are_told_together(bert: str) -> None:
    with pytest.raises(BadInput) as bad:
        prepare(quick(bert, clients=300, train_examples="all", max_length=33, device="cuda:77"))
    assert {fault.field for fault in bad.value.faults} == {"clients", "max_length", "device"}


def test_a_tokenizer_with_more_pieces_than_the_model_is_refused(bert: str, tmp_path: Path) -> None:
    model = Path(shutil.copytree(bert, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 9}))
    with pytest.raises(BadInput, match="do not belong together"):
        prepare(quick(str(model)))


def test_the_faults_of_a_launch_are_told_once_each(bert: str) -> None:
    configs = [quick(bert, max_length=33, clients=k) for k in (1, 2)] + [quick("no-such")]
    with pytest.raises(BadInput) as bad:
        prepare_all(configs)
    assert sorted(fault.field for fault in bad.value.faults) == ["max_length", "model"]


def test_preparing_writes_nothing_but_caches(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(Path(bert))
    prepare(quick(bert))
    assert not list(tmp_path.iterdir())
    assert files(Path(bert)) == before


def test_a_trial_survives_being_stored_and_sent(trial: Trial) -> None:
    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial
    assert Trial.from_dict(trial.to_dict() | {"begun_ms": 1, "data/x": 2}) == trial
    assert pickle.loads(pickle.dumps(trial)) == trial


def test_what_is_tracked_about_a_trial_once(bert: str) -> None:
    facts = data_facts(prepare(quick(bert, validation_examples=10)))
    chance = facts.pop("summary/chance")
    assert 0.5 <= chance < 1
    assert facts == {
        "data/num_classes": 2,
        "data/train_examples": 26,
        "data/test_examples": 16,
        "data/validation_examples": 10,
        "model/layers": 2,
        "steps/per_round": 3,  # the largest client's: 9 examples in batches of 4
        "summary/clients": 3,
    }
    dropped = data_facts(prepare(quick(bert, drop_last=True)))
    assert dropped["steps/per_round"] == 2  # 8 examples in batches of 4


def test_chance_is_the_share_of_the_largest_class_of_the_test_set(bert: str) -> None:
    trial = prepare(quick(bert, test_examples=5))
    _, examples = open_examples(trial)
    ones = int(examples.test.labels.sum())
    assert data_facts(trial)["summary/chance"] == max(ones, 5 - ones) / 5


def test_data_that_change_between_two_calls_are_read_again(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process: a file that is edited, and one of the same name in another folder."""
    hashes = []
    for number, folder in enumerate(("one", "one", "two", "one")):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        rows = [f"rain,{i % 2}" for i in range(40 + 2 * number)]
        Path("mine.csv").write_text("\n".join(["text,label", *rows]) + "\n")
        Path("mine").mkdir(exist_ok=True)
        for split in ("train", "test"):
            Path("mine", f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
        for dataset in ("mine.csv", "mine"):
            config = quick(bert, dataset=dataset, train_examples="all", test_examples="all")
            hashes.append(prepare(config).dataset_hash)
            assert prepare(config).dataset_hash == hashes[-1]
    assert len(set(hashes)) == len(hashes)
