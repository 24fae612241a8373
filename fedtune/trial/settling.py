"""What every ``auto`` of a trial becomes, with this model, these data and this machine."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from fedtune.config import TrialConfig
from fedtune.config.kinds import MOST_ROUNDS
from fedtune.data.lookup import default_budget
from fedtune.data.splits import Examples
from fedtune.errors import BadInput, Fault
from fedtune.machine import available_cores, device_exists, has_bf16
from fedtune.models.configuration import WITHOUT_BF16, read_config
from fedtune.models.zoo import PAPER_LEARNING_RATE, ModelSource

#: Passes over the texts in a round where nothing else is asked for, as FedID has for text.
DISTILLATION_PASSES = 3


def settle_clients(config: TrialConfig, examples: Examples) -> TrialConfig:
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


def settle_rounds(config: TrialConfig) -> tuple[int, int]:
    """The budget and the cap, in rounds. Raises BadInput for a cap below the data set's budget."""
    budget, cap = config.budget_rounds, config.max_rounds
    if budget == "auto":
        budget = default_budget(config.dataset)
        if isinstance(cap, int) and cap < budget:
            raise BadInput.of(
                "max_rounds",
                cap,
                f"allowed is at least budget_rounds, which is {budget} for {config.dataset}; "
                "set budget_rounds too",
            )
    return budget, min(2 * budget, MOST_ROUNDS) if cap == "auto" else cap


def settle_distillation(config: TrialConfig, num_texts: int, rate: float) -> dict[str, Any]:
    """What the server does after a round of a trial that distils on ``num_texts``, and one-shot's
    only round, whose clients train to the end in it; nothing for any other.

    ``config`` has its learning rate of ``rate``, and its rounds, settled.
    """
    if not config.distils:
        return {}
    budget = config.budget_rounds
    assert isinstance(budget, int)
    rounds = budget if config.is_one_shot else 1  # of the others that its only round stands for
    steps, own_rate = config.distill_steps, config.distill_learning_rate
    if steps == "auto":
        steps = rounds * DISTILLATION_PASSES * math.ceil(num_texts / config.batch_size)
    settled: dict[str, Any] = {
        "distill_steps": min(steps, MOST_ROUNDS),
        "distill_learning_rate": rate if own_rate == "auto" else own_rate,
    }
    if config.is_one_shot:
        epochs = config.one_shot_epochs
        epochs = rounds * config.local_epochs if epochs == "auto" else epochs
        settled["one_shot_epochs"] = min(epochs, MOST_ROUNDS)
        settled |= {"budget_rounds": 1, "max_rounds": 1}
    return settled


def settle_threads(config: TrialConfig, num_federated: int) -> int:
    """Threads of a trial of a launch in which ``num_federated`` trials share the cores."""
    if config.threads != "auto":
        return config.threads
    cores = available_cores()
    return max(cores // max(min(cores, num_federated), 1), 1)


def settle_rate(config: TrialConfig, model: ModelSource) -> float:
    if config.learning_rate != "auto":
        return float(config.learning_rate)
    return model.learning_rate if config.client_optimizer == "sgd" else PAPER_LEARNING_RATE


def settle_precision(asked: str, device: str, model: ModelSource) -> Literal["fp32", "bf16"]:
    kind = read_config(model.directory)["model_type"]
    if kind in WITHOUT_BF16:
        if asked != "bf16":
            return "fp32"
        why = f"transformers' code of {kind} fails in bf16; allowed is 'fp32' or 'auto'"
        raise BadInput.of("precision", asked, why)
    if asked == "auto":  # a GPU that is not here is taken for one of the last years
        return "bf16" if not device_exists(device) or has_bf16(device) else "fp32"
    return "bf16" if asked == "bf16" else "fp32"


def settle_device(asked: str, elsewhere: bool) -> tuple[str, list[Fault]]:
    if asked == "auto":
        return ("cuda" if device_exists("cuda") else "cpu"), []
    if elsewhere or device_exists(asked):
        return asked, []
    message = "this machine has no such device; allowed is 'auto' or 'cpu' (see `fedtune doctor`)"
    return asked, [Fault("device", asked, message)]
