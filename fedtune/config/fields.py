"""The settings of a trial, each with its default, what it accepts, and what else is said of it.

A field added to one of the classes here is an option of the command line, a YAML key and a tracked
parameter at once. Values of the paper are the defaults (Hilmkil et al. 2021, section 3.4), except
where ``auto`` knows better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict

from fedtune.config.client_fields import ClientFields
from fedtune.config.data_fields import DataFields
from fedtune.config.kinds import Later, Mark, Needs, OfClients
from fedtune.config.local_fields import LocalFields
from fedtune.config.run_fields import RunFields
from fedtune.config.strategy_fields import StrategyFields


# pydantic has the fields of the last base first.
class TrialFields(RunFields, StrategyFields, ClientFields, LocalFields, DataFields):
    """What can be set. :class:`fedtune.config.TrialConfig` has the checks and what follows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=False)


FIELDS: tuple[str, ...] = tuple(TrialFields.model_fields)

#: Fields that may differ between two launches of one and the same trial: how long it runs, when it
#: is looked at, and what it runs on. Everything else is part of the trial's identity.
UNHASHED: frozenset[str] = frozenset(
    (
        *("budget_rounds", "max_rounds", "target_fraction", "target_accuracy", "stop", "stop_on"),
        *("eval_every", "eval_steps", "device", "threads", "system_metrics"),
    )
)

#: The fields as `fedtune run --help` shows them. A field that is in no group comes last there, and
#: fails a test.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Data": (
        *("dataset", "dataset_config", "text_column", "label_column", "train_examples"),
        *("validation_examples", "distill_examples", "test_examples", "test_split"),
        *("test_fraction", "balance_classes", "data_seed"),
    ),
    "Model": ("model", "head", "max_length", "attention_mask"),
    "Clients": (
        *("clients", "seed", "partition", "partition_alpha", "shards_per_client"),
        *("client_column", "examples_per_client", "min_client_examples", "participation"),
        "head_init",
    ),
    "Strategy": (
        *("strategy", "prox_mu", "afl_step_size", "one_shot_epochs", "distill_dataset"),
        *("distill_steps", "distill_learning_rate", "server_optimizer", "server_learning_rate"),
        *("server_momentum", "server_beta2", "server_tau"),
    ),
    "Local training": (
        *("local_epochs", "batch_size", "learning_rate", "client_optimizer", "momentum"),
        *("weight_decay", "shuffle", "drop_last"),
    ),
    "Stopping": (
        *("budget_rounds", "max_rounds", "target_fraction", "target_accuracy", "stop", "stop_on"),
        *("eval_every", "eval_steps"),
    ),
    "Machine": ("device", "precision", "threads"),
    "Tracking": ("system_metrics",),
}

_M = TypeVar("_M", bound=Mark)


def mark_of(field: str, kind: type[_M]) -> _M | None:
    """What is said of a field in metadata of a kind; None where nothing is, or there is no such
    field.
    """
    info = TrialFields.model_fields.get(field)
    entries = info.metadata if info else []
    return next((entry for entry in entries if isinstance(entry, kind)), None)


def fields_for(field: str, value: str) -> list[str]:
    """The fields that matter where ``field`` has this value, and not with every other."""
    return [
        name
        for name in TrialFields.model_fields
        if (needs := mark_of(name, Needs)) and needs.field == field and value in needs.values
    ]


#: Fields that came after engine 3 with their defaults, which trials from before have.
LATER: Mapping[str, Any] = {
    field: info.default for field, info in TrialFields.model_fields.items() if mark_of(field, Later)
}

#: Fields that are about several clients; a field that needs another one comes after it.
OF_CLIENTS: Mapping[str, OfClients] = {
    field: mark for field in TrialFields.model_fields if (mark := mark_of(field, OfClients))
}
