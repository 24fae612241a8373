"""Splits of random texts of unequal length, models as flat vectors, and a client's recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from fedtune.data.batches import DeviceSplit
from fedtune.data.token_arrays import Split
from fedtune.federated.clients import ModelClients, keep
from fedtune.federated.flat import FlatModel
from fedtune.federated.local import LocalTraining
from fedtune.federated.round import RoundResult, federated_round
from fedtune.federated.strategy import FedAvg, Server
from fedtune.models.classifier import load_classifier
from fedtune.models.forward import PaddedForward

LABELS = ("a", "b", "c")
NUM_CLASSES, PAD = len(LABELS), 0


def load_flat(directory: Path, seed: int = 0) -> FlatModel:
    return FlatModel(load_classifier(directory, label_names=LABELS, seed=seed))


def load_padded(directory: Path) -> FlatModel:
    """Rounds as the oracle does, so that what differs from it is not rounding.

    AdamW makes steps of full size of a gradient that is 0 but for rounding (a key's bias has one).
    """
    flat = load_flat(directory)
    flat.forward = PaddedForward(flat.model, "fp32")
    return flat


def fedavg_round(
    params: torch.Tensor,
    flat: FlatModel,
    data: DeviceSplit,
    examples: Sequence[torch.Tensor],
    how: LocalTraining,
    round_num: int,
    prepare: Callable[[int], None] = keep,
) -> tuple[torch.Tensor, RoundResult]:
    """A round of federated averaging with everybody, from parameters to parameters."""
    clients = ModelClients(flat, data, examples, how, prepare)
    everybody = range(len(examples))
    server, result = federated_round(Server(params), FedAvg(), clients, everybody, round_num)
    return server.params, result


def random_split(num_examples: int, seed: int = 0) -> Split:
    """Texts of 3 to 12 random tokens with random labels."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 13, num_examples)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    token_ids = rng.integers(5, 40, offsets[-1]).astype(np.int32)
    return Split(token_ids, offsets, rng.integers(0, NUM_CLASSES, num_examples))


def on_device(split: Split, pad_to: int | None = None) -> DeviceSplit:
    return DeviceSplit(
        split,
        num_classes=NUM_CLASSES,
        pad_token_id=PAD,
        pad_to=pad_to,
        device=torch.device("cpu"),
    )


def recipe(**changes: object) -> LocalTraining:
    values: dict[str, object] = {
        "local_epochs": 2,
        "batch_size": 4,
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "shuffle": "every_epoch",
        "drop_last": False,
        "seed": 0,
    }
    return LocalTraining(**values | changes)  # type: ignore[arg-type]
