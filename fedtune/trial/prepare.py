"""From what was asked to what is run: find model and data, settle every ``auto``, check it all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedtune.config import TrialConfig
from fedtune.config.kinds import MOST_ROUNDS
from fedtune.data.lookup import default_budget, state_on_disk
from fedtune.data.partition import Partition, partition
from fedtune.data.splits import Examples, select_examples
from fedtune.data.token_arrays import FILES, Tokens, open_tokens
from fedtune.data.tokenization import tokenize
from fedtune.data.tokenizer import TOKENIZER_FILES
from fedtune.errors import BadInput, Fault, Refusal
from fedtune.federated.local import LocalTraining
from fedtune.machine import available_cores, device_exists, has_bf16
from fedtune.models.classifier import drawn_anew
from fedtune.models.configuration import WITHOUT_BF16, architecture_fault, describe, read_config
from fedtune.models.zoo import (
    PAPER_LEARNING_RATE,
    ModelSource,
    content_hash,
    find_model,
)
from fedtune.paths import cache_root, states
from fedtune.trial.identity import Trial


def prepare(
    config: TrialConfig,
    *,
    num_federated: int = 1,
    elsewhere: bool = False,
    progress: bool = False,
) -> Trial:
    """Settle ``config``: find and check model and data, tokenise where needed, replace every
    ``auto``.

    ``num_federated`` is the number of federated trials in the launch, which share the cores.
    ``elsewhere`` says that it will run on other machines, such that ``cuda`` is taken for there.
    Raises BadInput with every fault that could be found. Writes nothing but caches.
    """
    if sys.flags.optimize > 1:
        what = "Python runs without docstrings (PYTHONOPTIMIZE=2 or python -OO), and transformers"
        raise Refusal(f"{what} cannot be imported then; unset PYTHONOPTIMIZE, or set it to 1")
    config = config.effective()
    model = find_model(config.model)
    fault = architecture_fault(model.directory)
    if fault:
        raise BadInput.of("model", config.model, fault)
    drawn_anew(model.directory)  # looks at what there is, before texts are read
    tokens, examples = _examples(config, model, progress)
    config = _settle_clients(config, examples)
    faults = _data_faults(config, tokens, examples, model)
    device, device_faults = _settle_device(config.device, elsewhere)
    if faults or device_faults:
        raise BadInput(faults + device_faults)
    budget = config.budget_rounds
    if budget == "auto":
        cap = config.max_rounds
        budget = default_budget(config.dataset)
        if isinstance(cap, int) and cap < budget:
            raise BadInput.of(
                "max_rounds",
                cap,
                f"allowed is at least budget_rounds, which is {budget} for {config.dataset}; "
                "set budget_rounds too",
            )
    cores = available_cores()
    settled = config.replace(
        dataset_config=tokens.dataset_config,
        test_split=tokens.test_split,
        test_fraction=examples.test_fraction or "none",
        text_column=tokens.text_column,
        label_column=tokens.label_column,
        learning_rate=_settle_rate(config, model),
        budget_rounds=budget,
        max_rounds=min(2 * budget, MOST_ROUNDS)
        if config.max_rounds == "auto"
        else config.max_rounds,
        precision=_settle_precision(config.precision, device, model),
        device=device,
        threads=max(cores // max(min(cores, num_federated), 1), 1)
        if config.threads == "auto"
        else config.threads,
    )
    return Trial(
        config=settled,
        asked_precision=config.precision,
        model_hash=content_hash(model.directory),
        dataset_hash=examples.content_hash,
        model_dir=str(model.directory),
        tokens_dir=str(tokens.directory),
        groups_hash=examples.groups_hash if config.partition == "natural" else "",
    )


def prepare_all(configs: Sequence[TrialConfig], **how: Any) -> list[Trial]:
    """``prepare`` for a whole launch; BadInput carries the faults of all trials, each line once."""
    trials: list[Trial] = []
    faults: dict[str, Fault] = {}
    for config in configs:
        try:
            trials.append(prepare(config, **how))
        except BadInput as bad:
            faults |= {str(fault): fault for fault in bad.faults}
    if faults:
        raise BadInput(faults.values())
    return trials


def partition_of(trial: Trial) -> Partition:
    """Which training examples each client of a prepared trial has."""
    return _partition(open_examples(trial)[1], trial.config)


@lru_cache(maxsize=64)  # a plan asks several times for each trial
def _partition(examples: Examples, config: TrialConfig) -> Partition:
    return partition(examples.train.labels, config, examples.train.groups)


def open_examples(trial: Trial) -> tuple[Tokens, Examples]:
    """The tokens of a prepared trial, memory-mapped, and the part of them that it uses."""
    return _opened(trial.tokens_dir, trial.config)


def check_unchanged(trial: Trial) -> None:
    """Raise BadInput where tokens or model are others by now than those the trial is named by."""
    changed = "has changed since this trial was planned; launch it again"
    examples = open_examples(trial)[1]
    groups = examples.groups_hash if trial.groups_hash else ""
    if (examples.content_hash, groups) != (trial.dataset_hash, trial.groups_hash):
        raise BadInput.of("dataset", trial.config.dataset, f"{trial.tokens_dir} {changed}")
    if content_hash(Path(trial.model_dir)) != trial.model_hash:
        raise BadInput.of("model", trial.config.model, f"{trial.model_dir} {changed}")


def _opened(directory: str, config: TrialConfig) -> tuple[Tokens, Examples]:
    state = states(Path(directory, name) for name in sorted(FILES))
    return _open_examples(directory, state, *_amounts(config))


def _amounts(config: TrialConfig) -> tuple[Any, ...]:
    """What decides which part of the tokens a trial uses, as ``_open_examples`` takes it."""
    return (
        config.train_examples,
        config.validation_examples,
        config.test_examples,
        config.test_fraction,
        config.data_seed,
        config.balance_classes,
    )


def _examples(config: TrialConfig, model: ModelSource, progress: bool) -> tuple[Tokens, Examples]:
    tokenizer = states(model.directory / name for name in TOKENIZER_FILES)
    asked = (
        config.dataset,
        (state_on_disk(config.dataset), tokenizer, cache_root()),
        str(model.directory),
        config.max_length,
        config.text_column,
        config.label_column,
        config.client_column,
        config.dataset_config,
        config.test_split,
        config.test_fraction != "none",
        progress,
    )
    directory = _tokenize(*asked)
    if not Path(directory).is_dir():  # somebody has cleared the cache
        _tokenize.cache_clear()
        directory = _tokenize(*asked)
    return _opened(directory, config)


@lru_cache(maxsize=256)  # a launch asks for each once for every configuration
def _tokenize(
    dataset: str,
    state: object,
    model_dir: str,
    max_length: int,
    text: str,
    label: str,
    client: str,
    dataset_config: str,
    test_split: str,
    may_lack_test: bool,
    progress: bool,
) -> str:
    return str(
        tokenize(
            dataset,
            Path(model_dir),
            max_length=max_length,
            text_column=text,
            label_column=label,
            client_column=client,
            dataset_config=dataset_config,
            test_split=test_split,
            may_lack_test=may_lack_test,
            progress=progress,
        )
    )


@lru_cache(maxsize=256)
def _open_examples(
    directory: str,
    state: object,
    train: Any,
    validation: int,
    test: Any,
    test_fraction: Any,
    data_seed: int,
    balance: bool,
) -> tuple[Tokens, Examples]:
    tokens = open_tokens(Path(directory))
    examples = select_examples(
        tokens,
        train_examples=train,
        validation_examples=validation,
        test_examples=test,
        data_seed=data_seed,
        balance_classes=balance,
        test_fraction=None if test_fraction == "none" else test_fraction,
    )
    return tokens, examples


def _data_faults(
    config: TrialConfig, tokens: Tokens, examples: Examples, model: ModelSource
) -> list[Fault]:
    faults = _partition_faults(config, examples)
    shape = describe(model.directory)
    if shape["max_positions"] and config.max_length > shape["max_positions"]:
        faults.append(
            Fault(
                "max_length",
                config.max_length,
                f"allowed is at most {shape['max_positions']}, the positions that "
                f"{config.model} has",
            )
        )
    if shape["vocab_size"] and tokens.vocab_size > shape["vocab_size"]:
        faults.append(
            Fault(
                "model",
                config.model,
                f"its tokenizer has {tokens.vocab_size} pieces, its embedding only "
                f"{shape['vocab_size']}; they do not belong together; where tokens were added, "
                "`model.resize_token_embeddings(len(tokenizer))` and save both",
            )
        )
    return faults


def _partition_faults(config: TrialConfig, examples: Examples) -> list[Fault]:
    """What is wrong with how the examples are spread over the clients."""
    available = len(examples.train)
    if config.num_clients > available:
        message = f"allowed is at most the number of training examples, which is {available}"
        return [Fault("clients", config.clients, message)]
    try:
        least = min(_partition(examples, config).sizes)
    except BadInput as bad:
        return list(bad.faults)
    if config.drop_last and least < config.batch_size:
        everybody = config.partition == "iid"
        what = (
            f"would drop everything: {least} examples per client do not fill"
            if everybody
            else f"would leave a client without a step: its {least} examples do not fill"
        )
        way_out = f"{what} one batch of {config.batch_size}; lower batch_size or clients"
        return [Fault("drop_last", True, way_out)]
    return []


def _settle_clients(config: TrialConfig, examples: Examples) -> TrialConfig:
    """One client for each group that there is to train on, where ``all`` are asked for."""
    if config.clients != "all":
        return config
    assert examples.train.groups is not None  # `all` needs a column
    groups = np.unique(examples.train.groups)
    if len(groups) < 2:
        name = examples.group_names[groups[0]]
        message = f"has one value in all training examples, {name!r}; name another column"
        raise BadInput.of("client_column", config.client_column, message)
    return config.replace(clients=len(groups))


def _settle_rate(config: TrialConfig, model: ModelSource) -> float:
    if config.learning_rate != "auto":
        return float(config.learning_rate)
    return model.learning_rate if config.client_optimizer == "sgd" else PAPER_LEARNING_RATE


def _settle_precision(asked: str, device: str, model: ModelSource) -> Literal["fp32", "bf16"]:
    kind = read_config(model.directory)["model_type"]
    if kind in WITHOUT_BF16:
        if asked != "bf16":
            return "fp32"
        why = f"transformers' code of {kind} fails in bf16; allowed is 'fp32' or 'auto'"
        raise BadInput.of("precision", asked, why)
    if asked == "auto":  # a GPU that is not here is taken for one of the last years
        return "bf16" if not device_exists(device) or has_bf16(device) else "fp32"
    return "bf16" if asked == "bf16" else "fp32"


def _settle_device(asked: str, elsewhere: bool) -> tuple[str, list[Fault]]:
    if asked == "auto":
        return ("cuda" if device_exists("cuda") else "cpu"), []
    if elsewhere or device_exists(asked):
        return asked, []
    message = "this machine has no such device; allowed is 'auto' or 'cpu' (see `fedtune doctor`)"
    return asked, [Fault("device", asked, message)]


def recipe_of(config: TrialConfig) -> LocalTraining:
    """What every client of this (settled) trial does in a round."""
    assert isinstance(config.learning_rate, float)
    return LocalTraining(
        local_epochs=config.local_epochs,
        batch_size=config.batch_size,
        optimizer=config.client_optimizer,
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        shuffle=config.shuffle,
        drop_last=config.drop_last,
        seed=config.seed,
    )


def data_facts(trial: Trial) -> dict[str, Any]:
    """What is tracked once about a trial and can be told without its model, under its tracked
    names.

    ``steps/per_round`` is the number of sequential steps of a round: those of the largest client.
    """
    _, examples = open_examples(trial)
    config = trial.config
    sizes = _partition(examples, config).sizes
    counts = np.bincount(examples.test.labels, minlength=examples.num_classes)
    facts = {
        "data/num_classes": examples.num_classes,
        "data/train_examples": _trained_on(examples, config, sizes),
        "data/test_examples": len(examples.test),
        "model/layers": describe(Path(trial.model_dir))["layers"],
        "steps/per_round": recipe_of(config).steps(max(sizes)),
        "summary/chance": max(1 / examples.num_classes, float(counts.max() / counts.sum())),
        "summary/clients": config.num_clients,
    }
    if examples.validation is not None:
        facts["data/validation_examples"] = len(examples.validation)
    return facts


def _trained_on(examples: Examples, config: TrialConfig, sizes: Sequence[int]) -> int:
    """The examples that clients have; with drop_last what it drops of an IID draw counts too."""
    return len(examples.train) if config.partition == "iid" else sum(sizes)
