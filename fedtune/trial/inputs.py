"""What a trial is computed from: its tokens, the part of them that it uses, and who has what.

Everything here is remembered in the process, since a plan asks several times for each trial.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from fedtune.config import TrialConfig
from fedtune.data.batches import DeviceSplit
from fedtune.data.lookup import resolve, state_on_disk
from fedtune.data.partition import Partition, partition
from fedtune.data.splits import Examples, select_examples
from fedtune.data.token_arrays import FILES, Split, Tokens, open_tokens
from fedtune.data.tokenization import tokenize, tokenize_unlabelled
from fedtune.data.tokenizer import TOKENIZER_FILES, pads_left
from fedtune.errors import BadInput, blaming
from fedtune.models.zoo import ModelSource, content_hash
from fedtune.paths import cache_root, states
from fedtune.trial.identity import Trial


def make_examples(
    config: TrialConfig, model: ModelSource, progress: bool
) -> tuple[Tokens, Examples]:
    """The tokens that ``config`` asks for, made where there are none yet, and the part that it
    uses. Raises BadInput where that cannot be had.
    """
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


def make_pool(config: TrialConfig, model: ModelSource, tokens: Tokens, progress: bool) -> Path:
    """The directory with the tokens of ``distill_dataset``, made where there are none yet.

    ``tokens`` are those of the data set: what its texts' column is called is so here too where
    there is one of that name. Raises BadInput where it cannot be had, and where its texts are those
    that are trained on, from wherever they are read.
    """
    dataset = config.distill_dataset
    with blaming("distill_dataset", dataset, ("dataset", "dataset_config", "text_column")):
        message = "is what is trained on; set some of it aside with distill_examples instead"
        trained_on = BadInput.of("distill_dataset", dataset, message)
        if resolve(dataset).origin == resolve(config.dataset).origin:
            raise trained_on
        tokenizer = states(model.directory / name for name in TOKENIZER_FILES)
        state = (state_on_disk(dataset), tokenizer, cache_root())
        asked = (dataset, state, str(model.directory), config.max_length, tokens.text_column)
        directory = _tokenize_pool(*asked, progress)
        if not Path(directory).is_dir():  # somebody has cleared the cache
            _tokenize_pool.cache_clear()
            directory = _tokenize_pool(*asked, progress)
        pools = map(open_texts, (Path(directory), tokens.directory))
        if len({*map(hash_texts, pools)}) == 1:
            raise trained_on
    return Path(directory)


def open_pool(trial: Trial) -> Split | None:
    """The texts that the server of a prepared trial distils on; None where it does not."""
    if not trial.config.distils:
        return None
    return open_texts(Path(trial.pool_dir)) if trial.pool_dir else open_examples(trial)[1].distill


def open_texts(directory: Path) -> Split:
    """The training texts of a tokens directory without their labels, memory-mapped."""
    return _open_texts(str(directory), states(directory / name for name in sorted(FILES)))


@lru_cache(maxsize=64)
def hash_texts(texts: Split) -> str:
    """SHA-256 (hex) of texts to distil on."""
    digest = hashlib.sha256()
    texts.add_to(digest, "pool")
    return digest.hexdigest()


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
    if trial.pool_dir and hash_texts(open_texts(Path(trial.pool_dir))) != trial.pool_hash:
        what = f"{trial.pool_dir} {changed}"
        raise BadInput.of("distill_dataset", trial.config.distill_dataset, what)
    if content_hash(Path(trial.model_dir)) != trial.model_hash:
        raise BadInput.of("model", trial.config.model, f"{trial.model_dir} {changed}")


def partition_of(trial: Trial) -> Partition:
    """Which training examples each client of a prepared trial has."""
    return partition_examples(open_examples(trial)[1], trial.config)


@lru_cache(maxsize=64)
def partition_examples(examples: Examples, config: TrialConfig) -> Partition:
    """Which training examples each client has. Raises BadInput where they cannot be spread so."""
    return partition(examples.train.labels, config, examples.train.groups)


def splits_of(trial: Trial) -> dict[str, Split]:
    """The splits that a prepared trial uses under their names, the texts to distil on among them
    where it does.
    """
    examples = open_examples(trial)[1]
    found = {
        "train": examples.train,
        "validation": examples.validation,
        "test": examples.test,
        "distill": open_pool(trial),
    }
    return {name: split for name, split in found.items() if split is not None}


def device_splits(trial: Trial) -> dict[str, DeviceSplit]:
    """The splits that a prepared trial uses, on its device, under their names."""
    tokens, examples = open_examples(trial)
    pad_to = None if trial.config.attention_mask else trial.config.max_length
    return {
        name: DeviceSplit(
            split,
            num_classes=examples.num_classes,
            pad_token_id=tokens.pad_token_id,
            pad_to=pad_to,
            pad_left=bool(pad_to) and pads_left(Path(trial.model_dir)),
            device=torch.device(trial.config.device),
        )
        for name, split in splits_of(trial).items()
    }


def _opened(directory: str, config: TrialConfig) -> tuple[Tokens, Examples]:
    state = states(Path(directory, name) for name in sorted(FILES))
    return _open_examples(directory, state, *_amounts(config))


def _amounts(config: TrialConfig) -> tuple[Any, ...]:
    """What decides which part of the tokens a trial uses, as ``_open_examples`` takes it."""
    return (
        config.train_examples,
        config.validation_examples,
        config.distill_examples,
        config.test_examples,
        config.test_fraction,
        config.data_seed,
        config.balance_classes,
    )


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


@lru_cache(maxsize=64)
def _open_texts(directory: str, state: object) -> Split:
    return open_tokens(Path(directory)).train.unlabelled()


@lru_cache(maxsize=64)
def _tokenize_pool(
    dataset: str, state: object, model_dir: str, max_length: int, columns: str, progress: bool
) -> str:
    made = tokenize_unlabelled(
        dataset,
        Path(model_dir),
        max_length=max_length,
        usual_columns=columns,
        progress=progress,
    )
    return str(made)


@lru_cache(maxsize=256)
def _open_examples(
    directory: str,
    state: object,
    train: Any,
    validation: int,
    distill: int,
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
        distill_examples=distill,
        test_examples=test,
        data_seed=data_seed,
        balance_classes=balance,
        test_fraction=None if test_fraction == "none" else test_fraction,
    )
    return tokens, examples
