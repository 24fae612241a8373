"""The one definition of a trial: strict types, words for the command line, all faults at once."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from fedtune.config import (
    FIELDS,
    SERVER_OPTIMIZERS,
    UNHASHED,
    TrialConfig,
    allowed,
    check_value,
    choices,
    comma_is_value,
    find_faults,
    mark_of,
    parse_text,
)
from fedtune.config.kinds import Needs
from fedtune.errors import BadInput, did_you_mean
from fedtune.plan.forewarnings import settings_without_effect

BASE: dict[str, Any] = {"model": "m", "dataset": "d", "clients": 4}

NAMES = (
    *("model", "dataset", "dataset_config", "test_split", "text_column", "label_column"),
    *("client_column", "distill_dataset"),
)
COUNTS = (
    *("max_length", "local_epochs", "batch_size", "eval_every"),
    *("shards_per_client", "min_client_examples"),
)
COUNTS_OR_NONE = ("examples_per_client",)
COUNTS_FROM_ZERO = ("seed", "data_seed", "validation_examples", "distill_examples")
COUNTS_OR_ALL = ("clients", "train_examples", "test_examples")
COUNTS_OR_AUTO = ("budget_rounds", "max_rounds", "threads", "one_shot_epochs", "distill_steps")
RATES_OR_AUTO = ("learning_rate", "distill_learning_rate")
NUMBERS = (
    *("momentum", "weight_decay", "target_fraction", "partition_alpha", "participation"),
    *("prox_mu", "afl_step_size", "server_learning_rate", "server_momentum", "server_beta2"),
    "server_tau",
)
FLAGS = ("drop_last", "attention_mask", "balance_classes", "system_metrics")
WORDS: dict[str, tuple[str, ...]] = {
    "client_optimizer": ("sgd", "adamw"),
    "shuffle": ("every_epoch", "once"),
    "strategy": (
        *("fedavg", "fedprox", "scaffold", "fednova", "afl", "feddf", "one-shot"),
        *("fedavgm", "fedadagrad", "fedadam", "fedyogi"),
    ),
    "server_optimizer": ("none", "momentum", "adagrad", "adam", "yogi"),
    "partition": (
        *("iid", "dirichlet", "dirichlet-per-class", "shards", "quantity", "natural"),
        "fixed-per-client",
    ),
    "head_init": ("shared", "per_client"),
    "head": ("own", "pooler", "relu"),
    "stop": ("target", "budget-then-target"),
    "stop_on": ("test", "validation"),
    "precision": ("auto", "fp32", "bf16"),
}


def config(**changes: Any) -> TrialConfig:
    return TrialConfig(**BASE | changes)


def faults_of(**values: Any) -> list[str]:
    with pytest.raises(BadInput) as bad:
        config(**values)
    return [fault.field for fault in bad.value.faults]


def test_every_field_has_a_kind_in_this_file() -> None:
    """So that a new field comes with the tests below."""
    others = (*RATES_OR_AUTO, "target_accuracy", "test_fraction", "device", "eval_steps")
    counts = (*COUNTS, *COUNTS_FROM_ZERO, *COUNTS_OR_ALL, *COUNTS_OR_AUTO, *COUNTS_OR_NONE)
    assert {*NAMES, *counts, *NUMBERS, *FLAGS, *WORDS, *others} == set(FIELDS)


def test_settings_stand_topic_by_topic_wherever_they_are_listed() -> None:
    topics = ("model", "local_epochs", "partition", "strategy", "budget_rounds", "system_metrics")
    assert sorted(topics, key=FIELDS.index) == list(topics)
    assert (FIELDS[0], FIELDS[-1]) == ("model", "system_metrics")


def test_defaults_are_the_contracts() -> None:
    defaults = config().model_dump()
    for field in BASE:
        del defaults[field]
    assert defaults == {
        "seed": 0,
        "data_seed": 0,
        "train_examples": "all",
        "validation_examples": 0,
        "distill_examples": 0,
        "test_examples": "all",
        "dataset_config": "none",
        "test_split": "test",
        "test_fraction": "none",
        "balance_classes": False,
        "text_column": "auto",
        "label_column": "auto",
        "max_length": 128,
        "head": "own",
        "local_epochs": 2,
        "batch_size": 32,
        "client_optimizer": "sgd",
        "learning_rate": "auto",
        "momentum": 0.0,
        "weight_decay": 0.0,
        "shuffle": "every_epoch",
        "drop_last": False,
        "attention_mask": True,
        "strategy": "fedavg",
        "partition": "iid",
        "partition_alpha": 0.5,
        "shards_per_client": 2,
        "client_column": "none",
        "examples_per_client": "none",
        "min_client_examples": 1,
        "participation": 1.0,
        "prox_mu": 0.01,
        "afl_step_size": 0.1,
        "one_shot_epochs": "auto",
        "distill_dataset": "none",
        "distill_steps": "auto",
        "distill_learning_rate": "auto",
        "server_optimizer": "none",
        "server_learning_rate": 1.0,
        "server_momentum": 0.9,
        "server_beta2": 0.99,
        "server_tau": 1e-3,
        "head_init": "shared",
        "budget_rounds": "auto",
        "max_rounds": "auto",
        "target_fraction": 0.9,
        "target_accuracy": "none",
        "stop": "target",
        "stop_on": "test",
        "eval_every": 1,
        "eval_steps": "none",
        "precision": "auto",
        "device": "auto",
        "threads": "auto",
        "system_metrics": False,
    }


def test_fields_outside_the_identity_are_the_contracts() -> None:
    assert {
        "budget_rounds",
        "max_rounds",
        "target_fraction",
        "target_accuracy",
        "stop",
        "stop_on",
        "eval_every",
        "eval_steps",
        "device",
        "threads",
        "system_metrics",
    } == UNHASHED


WRONG: list[tuple[str, Any]] = [
    *((field, value) for field in NAMES for value in ("", 3, None, ["a"])),
    *(
        (field, value)
        for field in (
            *(*COUNTS, *COUNTS_FROM_ZERO, *COUNTS_OR_ALL, *COUNTS_OR_AUTO, *COUNTS_OR_NONE),
        )
        for value in ("32", True, False, 32.0, 1.5, -1, None, [32], "", "Auto")
    ),
    *((field, 0) for field in (*COUNTS, *COUNTS_OR_ALL, *COUNTS_OR_AUTO, *COUNTS_OR_NONE)),
    *((field, "auto") for field in (*COUNTS, *COUNTS_FROM_ZERO, *COUNTS_OR_ALL)),
    *((field, "all") for field in (*COUNTS, *COUNTS_FROM_ZERO, *COUNTS_OR_AUTO)),
    ("seed", 2**63),
    ("data_seed", 2**63),
    ("max_length", 2),
    *(
        (field, value)
        for field in (*NUMBERS, *RATES_OR_AUTO, "target_accuracy")
        for value in ("0.5", "2e-5", True, None, -0.1, float("nan"), float("inf"), [0.5])
    ),
    *((field, 0.0) for field in (*RATES_OR_AUTO, "target_fraction", "target_accuracy")),
    *((field, 0.0) for field in ("partition_alpha", "participation", "server_learning_rate")),
    *((field, 0.0) for field in ("afl_step_size", "server_tau")),
    *((field, 1.01) for field in ("target_fraction", "target_accuracy", "participation")),
    *((field, 1.0) for field in ("momentum", "server_momentum", "server_beta2")),
    *(("test_fraction", value) for value in (0, 0.0, 1, 1.0, -0.1, "0.5", "auto", True, None)),
    ("test_fraction", float("nan")),
    ("learning_rate", "none"),
    ("target_accuracy", "auto"),
    *((field, value) for field in FLAGS for value in ("true", "false", 1, 0, None)),
    *((field, value) for field in WORDS for value in ("", "no such word", True, 1, None)),
    *((field, words[0].upper()) for field, words in WORDS.items()),
    *(("device", value) for value in ("gpu", "cuda:", "cuda:a", "cpu:0", "", 0, None)),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda value: repr(value))
def test_a_wrong_value_is_refused_and_says_what_is_allowed(field: str, value: Any) -> None:
    with pytest.raises(BadInput) as bad:
        config(**{field: value})
    (fault,) = bad.value.faults
    assert (fault.field, fault.value) == (field, value) or value != value  # nan is not itself
    assert str(fault).startswith(field)
    assert "allowed" in str(fault)
    with pytest.raises(BadInput, match=field):
        check_value(field, value)


RIGHT: list[tuple[str, Any]] = [
    *((field, value) for field in NAMES for value in ("a", "32", "with space/and/slash")),
    *((field, value) for field in COUNTS for value in (3, 1000)),
    *((field, value) for field in COUNTS_FROM_ZERO for value in (0, 3)),
    *((field, value) for field in COUNTS_OR_ALL for value in ("all", 5)),
    *((field, value) for field in COUNTS_OR_AUTO for value in ("auto", 1)),
    *((field, value) for field in COUNTS_OR_NONE for value in ("none", 1)),
    ("seed", 2**63 - 1),
    ("momentum", 0.9),
    ("weight_decay", 2.5),
    ("target_fraction", 1.0),
    *((field, value) for field in RATES_OR_AUTO for value in ("auto", 2e-5, 1e10)),
    *(("target_accuracy", value) for value in ("none", 0.87, 1.0)),
    *(("test_fraction", value) for value in ("none", 0.001, 0.999)),
    ("text_column", "premise,hypothesis"),
    *((field, value) for field in FLAGS for value in (True, False)),
    *((field, word) for field, words in WORDS.items() for word in words),
    *(("device", value) for value in ("auto", "cpu", "cuda", "cuda:3")),
]


@pytest.mark.parametrize(("field", "value"), RIGHT, ids=lambda value: repr(value))
def test_a_value_is_kept_as_it_is_and_its_text_means_the_same(field: str, value: Any) -> None:
    check_value(field, value)
    assert not [fault for fault in find_faults(BASE | {field: value}) if "is missing" in str(fault)]
    text = str(value).lower() if isinstance(value, bool) else str(value)
    parsed = parse_text(field, f" {text} ")
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("field", [*RATES_OR_AUTO, *NUMBERS, "target_accuracy"])
def test_a_whole_number_will_do_where_a_fraction_may_stand(field: str) -> None:
    below_one = ("momentum", "weight_decay", "server_momentum", "server_beta2")
    whole = 0 if field in below_one else 1
    value = getattr(config(**{field: whole}), field)
    assert value == whole
    assert type(value) is float
    assert type(parse_text(field, str(whole))) is float


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("learning_rate", "2e-5", 2e-5),
        ("learning_rate", ".05", 0.05),
        ("drop_last", "True", True),
        ("drop_last", "FALSE", False),
        ("drop_last", "yes", True),
        ("attention_mask", "0", False),
        ("clients", "032", 32),
    ],
)
def test_other_spellings_on_the_command_line(field: str, text: str, value: Any) -> None:
    parsed = parse_text(field, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *((field, text) for field in COUNTS for text in ("many", "1.5", "", "0", "-3", "true")),
        *((field, "nan") for field in ("learning_rate", *NUMBERS, "target_accuracy")),
        *((field, "maybe") for field in FLAGS),
        *((field, "no such word") for field in WORDS),
        ("learning_rate", "none"),
        ("train_examples", "auto"),
        *(("clients", text) for text in ("many", "1.5", "", "0", "-3", "ALL")),
        ("device", "gpu"),
    ],
)
def test_text_without_a_meaning_is_refused_with_what_is_allowed(field: str, text: str) -> None:
    with pytest.raises(BadInput) as bad:
        parse_text(field, text)
    (fault,) = bad.value.faults
    assert (fault.field, fault.value) == (field, text)
    assert "allowed" in fault.message


@pytest.mark.parametrize("use", [lambda n: config(**{n: 1}), lambda n: parse_text(n, "1")])
def test_an_unknown_setting_is_refused_with_the_one_that_was_meant(use: Any) -> None:
    with pytest.raises(BadInput, match=r"^learning_rat: .*did you mean 'learning_rate'\?"):
        use("learning_rat")
    with pytest.raises(BadInput) as bad:
        use("zzz")
    assert "did you mean" not in str(bad.value)


def test_did_you_mean_names_what_is_close_and_nothing_else() -> None:
    assert did_you_mean("mini-brt", ["bert", "mini-bert"]) == " (did you mean 'mini-bert'?)"
    assert did_you_mean("xyz", ["bert", "mini-bert"]) == ""


def test_all_faults_are_found_at_once_a_line_each() -> None:
    with pytest.raises(BadInput) as bad:
        TrialConfig(
            model="m",
            clients="32",
            learning_rate=0,
            batchsize=8,
            budget_rounds=9,
            max_rounds=3,
            stop_on="validation",
        )
    fields = sorted(fault.field for fault in bad.value.faults)
    assert fields == sorted(
        ["dataset", "clients", "learning_rate", "batchsize", "max_rounds", "stop_on"]
    )
    lines = str(bad.value).splitlines()
    assert len(lines) == 6
    assert any(
        line.startswith("clients='32': allowed is an integer of at least 1") for line in lines
    )
    assert any("did you mean 'batch_size'" in line for line in lines)
    assert any(line.startswith("dataset: missing; allowed is") for line in lines)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"budget_rounds": 5, "max_rounds": 4}, "max_rounds", "at least budget_rounds, which is 5"),
        ({"stop_on": "validation"}, "stop_on", "validation_examples"),
        ({"clients": 9, "train_examples": 8}, "clients", "at most train_examples, which is 8"),
        ({"strategy": "scaffold", "client_optimizer": "adamw"}, "strategy", "plain SGD alone"),
        ({"strategy": "scaffold", "momentum": 0.9}, "strategy", "momentum is 0.9"),
        ({"strategy": "fednova", "weight_decay": 0.1}, "strategy", "weight_decay is 0.1"),
        ({"strategy": "fednova", "client_optimizer": "adamw"}, "strategy", "plain SGD alone"),
        ({"strategy": "fedadam", "server_optimizer": "yogi"}, "server_optimizer", "keep one"),
        ({"strategy": "fedavgm", "server_optimizer": "adam"}, "server_optimizer", "keep one"),
        ({"participation": 0.1}, "participation", "of 4 clients is nobody.* at least 0.25"),
        ({"partition": "fixed-per-client"}, "examples_per_client", "missing; .*fixed-per-client"),
        ({"partition": "natural"}, "client_column", "missing; partition=natural needs the column"),
        ({"clients": "all"}, "clients", "needs partition=natural, which is iid; allowed is an int"),
        ({"clients": "all", "partition": "shards"}, "clients", "natural, which is shards"),
        ({"clients": "all", "client_column": "author"}, "clients", "natural, which is iid"),
        ({"strategy": "feddf"}, "strategy", "aside with distill_examples, or name .*dataset"),
        ({"strategy": "one-shot"}, "strategy", "distils on texts without labels, and there are"),
        (
            {"strategy": "feddf", "distill_examples": 5, "distill_dataset": "imdb"},
            "distill_dataset",
            "sets 5 texts aside already; keep one of the two",
        ),
    ],
)
def test_impossible_combinations_are_refused(
    changes: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(BadInput, match=words) as bad:
        config(**changes)
    assert [fault.field for fault in bad.value.faults] == [field]


@pytest.mark.parametrize(
    "changes",
    [
        {"budget_rounds": 5, "max_rounds": 5},
        {"budget_rounds": 5, "max_rounds": "auto"},
        {"stop_on": "validation", "validation_examples": 1},
        {"clients": 8, "train_examples": 8},
        {"participation": 0.125},
        {"clients": 1, "participation": 0.1},
        {"strategy": "fedprox", "client_optimizer": "adamw", "momentum": 0.9},
        {"partition": "fixed-per-client", "examples_per_client": 3},
        {"strategy": "feddf", "distill_examples": 1},
        {"strategy": "one-shot", "distill_dataset": "imdb", "clients": 1},
        {"strategy": "fedavg", "distill_dataset": "imdb", "distill_examples": 5},
        {"partition": "natural", "client_column": "author", "clients": "all"},
        {"partition": "natural", "client_column": "author", "clients": "all", "train_examples": 1},
        {"partition": "natural", "client_column": "author", "clients": "all", "participation": 0.1},
    ],
)
def test_combinations_at_the_border_are_accepted(changes: dict[str, Any]) -> None:
    assert {field: getattr(config(**changes), field) for field in changes} == changes


def test_without_the_required_fields_only_what_is_there_is_checked() -> None:
    assert find_faults({"seed": 1}, require_all=False) == []
    assert [fault.field for fault in find_faults({"seed": -1}, require_all=False)] == ["seed"]
    assert {fault.field for fault in find_faults({"seed": 1})} == {"model", "dataset", "clients"}


def test_a_configuration_cannot_be_changed_and_a_copy_is_checked_again() -> None:
    first = config(seed=3)
    with pytest.raises(ValidationError, match="frozen"):
        first.seed = 4  # type: ignore[misc]
    assert first.replace(seed=4).model_dump() == first.model_dump() | {"seed": 4}
    assert first.seed == 3
    with pytest.raises(BadInput, match="seed=-1"):
        first.replace(seed=-1)


def test_yaml_and_pickle_give_the_configuration_back() -> None:
    first = config(learning_rate=2e-5, target_accuracy=0.5, train_examples=64)
    assert TrialConfig(**yaml.safe_load(yaml.safe_dump(first.model_dump()))) == first
    assert pickle.loads(pickle.dumps(first)) == first


def test_bad_input_crosses_process_borders_with_its_faults() -> None:
    bad = pickle.loads(pickle.dumps(BadInput.of("clients", 0, "allowed is more")))
    assert isinstance(bad, BadInput)
    assert str(bad) == "clients=0: allowed is more"
    assert bad.faults[0].field == "clients"


def test_where_a_comma_belongs_to_the_value() -> None:
    assert [f for f in FIELDS if comma_is_value(f)] == ["text_column", "eval_steps"]
    assert parse_text("text_column", "premise,hypothesis") == "premise,hypothesis"
    assert parse_text("eval_steps", "8,16,32") == "8,16,32"


def test_evaluations_between_rounds_are_asked_for_in_three_ways() -> None:
    for text, value in (
        ("none", "none"),
        ("geometric", "geometric"),
        ("100", 100),
        ("8, 16", "8, 16"),
    ):
        assert parse_text("eval_steps", text) == value
        assert config(eval_steps=value).eval_steps == value
    for wrong in ("", "8,", ",8", "8;16", "8,0", "0", "-8", "1.5", "geometric,8", "none,8", "1e3"):
        with pytest.raises(BadInput, match="eval_steps"):
            parse_text("eval_steps", wrong)
    for wrong in (0, -1, 1.5, True, None, [8, 16], (8,), "auto"):
        assert faults_of(eval_steps=wrong) == ["eval_steps"]


def test_choices_are_known_for_fields_of_words_only() -> None:
    for field in FIELDS:
        assert choices(field) == WORDS.get(field, ())
        assert allowed(field)


def test_the_servers_optimiser_says_which_strategies_it_does_not_join() -> None:
    needs = mark_of("server_optimizer", Needs)
    assert needs is not None
    plain = set(choices("strategy")) - set(SERVER_OPTIMIZERS)
    description = str(TrialConfig.model_fields["server_optimizer"].description)
    assert {name for name in plain if name in description} == plain - set(needs.values)


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"client_optimizer": "adamw", "momentum": 0.9}, "momentum=0.9 has no effect"),
        (
            {"target_accuracy": 0.8, "target_fraction": 0.5},
            "target_fraction=0.5 has no effect: target_accuracy=0.8",
        ),
        ({"data_seed": 7}, "data_seed=7 has no effect"),
    ],
)
def test_a_setting_without_effect_is_named(changes: dict[str, Any], start: str) -> None:
    (line,) = settings_without_effect(config(**changes))
    assert line.startswith(start)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"momentum": 0.9},
        {"client_optimizer": "adamw"},
        {"target_accuracy": 0.8},
        {"target_fraction": 0.5},
        {"data_seed": 7, "train_examples": 8},
        {"data_seed": 7, "test_examples": 8},
        {"data_seed": 7, "validation_examples": 8},
        {"data_seed": 7, "test_fraction": 0.3},
    ],
)
def test_nothing_is_said_where_every_setting_has_its_effect(changes: dict[str, Any]) -> None:
    assert settings_without_effect(config(**changes)) == []


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("fedavgm", "momentum"), ("fedadagrad", "adagrad"), ("fedadam", "adam"), ("fedyogi", "yogi")],
)
def test_a_name_for_fedavg_with_a_server_optimizer_is_that(name: str, optimizer: str) -> None:
    asked = config(strategy=name, server_learning_rate=0.1)
    assert asked == config(strategy="fedavg", server_optimizer=optimizer, server_learning_rate=0.1)
    assert asked.without_effect() == {}
    assert asked == config(strategy=name, server_optimizer=optimizer, server_learning_rate=0.1)


@pytest.mark.parametrize(
    ("changes", "without"),
    [
        ({"prox_mu": 0.1}, {"prox_mu"}),
        ({"prox_mu": 0.1, "strategy": "fedprox"}, set()),
        ({"partition_alpha": 0.1}, {"partition_alpha"}),
        ({"partition_alpha": 0.1, "partition": "shards"}, {"partition_alpha"}),
        ({"partition_alpha": 0.1, "partition": "quantity"}, set()),
        ({"min_client_examples": 3, "partition": "dirichlet"}, {"min_client_examples"}),
        ({"client_column": "author"}, {"client_column"}),
        ({"client_column": "author", "partition": "dirichlet"}, {"client_column"}),
        ({"client_column": "author", "partition": "natural"}, set()),
        ({"client_column": "author", "partition": "natural", "clients": "all"}, set()),
        ({"server_momentum": 0.5}, {"server_momentum"}),
        ({"server_momentum": 0.5, "strategy": "fedadagrad"}, {"server_momentum"}),
        ({"server_beta2": 0.5, "strategy": "fedavgm"}, {"server_beta2"}),
        ({"server_tau": 0.5, "strategy": "fedyogi"}, set()),
        # With one client: what only several can show, and what that alone had a use for.
        ({"clients": 1, "partition": "dirichlet", "partition_alpha": 0.1}, "both"),
        ({"clients": 1, "partition": "natural", "client_column": "author"}, "both"),
        ({"clients": 1, "participation": 0.5, "head_init": "per_client"}, "both"),
        ({"clients": 1, "strategy": "scaffold"}, {"strategy"}),
        ({"clients": 1, "strategy": "afl", "afl_step_size": 1.0}, "both"),
        # These do something there too.
        ({"clients": 1, "strategy": "fedprox", "prox_mu": 1.0}, set()),
        ({"clients": 1, "strategy": "fedadam"}, set()),
        ({"clients": 1, "partition": "fixed-per-client", "examples_per_client": 3}, set()),
    ],
)
def test_settings_that_do_nothing_are_named_and_put_back(
    changes: dict[str, Any], without: Any
) -> None:
    asked = config(**changes)
    expected = set(changes) - {"clients"} if without == "both" else without
    assert set(asked.without_effect()) == expected
    rest = {key: value for key, value in changes.items() if key not in expected}
    assert asked.effective() == config(**rest)
    assert asked.effective().without_effect() == {}


@pytest.mark.parametrize(
    ("changes", "is_baseline"),
    [
        ({}, False),
        ({"clients": 1}, True),
        ({"clients": 1, "momentum": 0.5, "drop_last": True}, True),
        ({"clients": 1, "strategy": "fedprox"}, False),
        ({"clients": "all", "partition": "natural", "client_column": "author"}, False),
        ({"clients": 1, "strategy": "fedavgm"}, False),
        ({"clients": 1, "partition": "fixed-per-client", "examples_per_client": 3}, False),
    ],
)
def test_a_baseline_is_one_client_and_nothing_federated(
    changes: dict[str, Any], is_baseline: bool
) -> None:
    asked = config(**changes)
    assert asked.is_baseline == is_baseline
    assert asked.baseline().is_baseline
    local = {key: value for key, value in changes.items() if key in ("momentum", "drop_last")}
    assert asked.baseline() == config(clients=1, **local)


def test_paths_and_numbers_of_numpy_are_what_they_stand_for() -> None:
    asked = TrialConfig(
        model=Path("a/b"), dataset=Path("c"), clients=np.int64(4), momentum=np.float32(0.5)
    )
    assert asked == TrialConfig(model="a/b", dataset="c", clients=4, momentum=0.5)
    assert type(asked.clients) is int
    with pytest.raises(BadInput, match="clients"):
        TrialConfig(model="m", dataset="d", clients=np.arange(3))
