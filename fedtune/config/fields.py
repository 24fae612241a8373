"""The settings of a trial, each with its default, what it accepts, and what else is said of it.

A field added here is an option of the command line, a YAML key and a tracked parameter at once.
Values of the paper are the defaults (Hilmkil et al. 2021, section 3.4), except where ``auto`` knows
better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from fedtune.config.kinds import (
    AMOUNT,
    SEED,
    THREADS,
    TURNS,
    Allowed,
    Auto,
    CommaIsValue,
    Count,
    Device,
    Follows,
    Fraction,
    Later,
    Mark,
    Name,
    Needs,
    NonNegative,
    OfClients,
    Positive,
    Rate,
    Seed,
    Share,
)
from fedtune.config.names import DISTILLING


class TrialFields(BaseModel):
    """What can be set. :class:`fedtune.config.TrialConfig` has the checks and what follows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=False)

    # What is trained on what
    model: Annotated[Name, Allowed("a short name, a hub id or a directory")] = Field(
        description="short name (see `fedtune list`), hub id, or directory in Hugging Face layout"
    )
    dataset: Annotated[Name, Allowed("a short name, a hub id, a directory or a file")] = Field(
        description="short name (see `fedtune list`), hub id, directory in Hugging Face layout, or "
        "file (csv, tsv, json, jsonl, parquet)"
    )
    dataset_config: Annotated[
        Name, Allowed("'none' or the name of a configuration"), Later("2026-11")
    ] = Field("none", description="configuration of a data set that has several, such as sst2")
    clients: Annotated[
        Positive | Literal["all"],
        Allowed("an integer of at least 1, or 'all' with partition natural"),
        AMOUNT,
    ] = Field(
        description="K, the number of clients the training data is spread over; all: one for each "
        "value of client_column"
    )
    seed: Annotated[Seed, Allowed("an integer of at least 0"), SEED] = Field(
        0, description="draws the head, the partition, the order of examples and dropout"
    )
    data_seed: Annotated[Seed, Allowed("an integer of at least 0"), SEED] = Field(
        0, description="draws subsets, what is set aside and, with test_fraction, the test set"
    )
    train_examples: Annotated[
        Positive | Literal["all"], Allowed("'all' or an integer of at least 1"), AMOUNT
    ] = Field("all", description="training examples in all, over all clients")
    validation_examples: Annotated[Count, Allowed("an integer of at least 0"), AMOUNT] = Field(
        0, description="examples set aside from the training data before it is partitioned"
    )
    distill_examples: Annotated[
        Count, Allowed("an integer of at least 0"), Later("2026-11"), AMOUNT
    ] = Field(
        0,
        description="texts set aside from the training data, without their labels, on which feddf "
        "and one-shot distil; the baseline does without them too",
    )
    test_examples: Annotated[
        Positive | Literal["all"], Allowed("'all' or an integer of at least 1"), AMOUNT
    ] = Field("all", description="test examples")
    test_split: Annotated[Name, Allowed("the name of a split"), Later("2026-11")] = Field(
        "test", description="split that is tested on; validation where test labels are hidden"
    )
    test_fraction: Annotated[
        Share | Literal["none"],
        Allowed("'none' or a number above 0, below 1"),
        Later("2026-11"),
    ] = Field(
        "none",
        description="share of the examples that is drawn for testing, by class, where there is no "
        "test split; none: 0.2 of a data set that is a single file",
    )
    balance_classes: Annotated[bool, Allowed("true or false"), Later("2026-11")] = Field(
        False, description="draw equally many examples of every class, in every split"
    )
    text_column: Annotated[
        Name,
        Allowed("'auto', a column's name, or two with a comma (premise,hypothesis)"),
        CommaIsValue(),
    ] = Field(
        "auto",
        description="column that holds the text; two with a comma are read as pairs; auto: found "
        "by name, then by type",
    )
    label_column: Annotated[Name, Allowed("'auto' or a column's name")] = Field(
        "auto", description="column that holds the label; auto: found by name, then by type"
    )
    max_length: Annotated[
        Annotated[int, Field(ge=3)],
        Allowed("an integer of at least 3 (two tokens are special)"),
        TURNS,
    ] = Field(128, description="tokens a text is cut to, special tokens included")

    # What a client does in a round
    local_epochs: Annotated[Positive, Allowed("an integer of at least 1"), TURNS] = Field(
        2, description="E, passes over a client's own data in one round"
    )
    batch_size: Annotated[Positive, Allowed("an integer of at least 1"), AMOUNT] = Field(
        32, description="B, examples in a local step"
    )
    client_optimizer: Annotated[Literal["sgd", "adamw"], Allowed("'sgd' or 'adamw'")] = Field(
        "sgd", description="optimiser on the clients, started anew every round"
    )
    learning_rate: Annotated[Rate | Auto, Allowed("'auto' or a number above 0")] = Field(
        "auto",
        description="of a step; auto: for SGD that on the model's card, else 2e-5 (the paper's)",
    )
    momentum: Annotated[
        Annotated[float, Field(ge=0, lt=1)], Allowed("a number from 0 to below 1")
    ] = Field(0.0, description="of SGD")
    weight_decay: Annotated[NonNegative, Allowed("a number of at least 0")] = Field(
        0.0, description="of either optimiser, on all parameters"
    )
    shuffle: Annotated[Literal["every_epoch", "once"], Allowed("'every_epoch' or 'once'")] = Field(
        "every_epoch", description="when the order of a client's examples is drawn"
    )
    drop_last: Annotated[bool, Allowed("true or false")] = Field(
        False, description="drop incomplete batches, and the remainder of N/K examples"
    )
    attention_mask: Annotated[bool, Allowed("true or false")] = Field(
        True, description="false pads to max_length and attends to the padding"
    )

    # How the clients differ
    partition: Annotated[
        Literal[
            "iid",
            "dirichlet",
            "dirichlet-per-class",
            "shards",
            "quantity",
            "natural",
            "fixed-per-client",
        ],
        Allowed(
            "'iid', 'dirichlet', 'dirichlet-per-class', 'shards', 'quantity', 'natural' or "
            "'fixed-per-client'"
        ),
        OfClients(("dirichlet", "dirichlet-per-class", "shards", "quantity", "natural")),
    ] = Field("iid", description="how examples are spread over clients")
    partition_alpha: Annotated[
        Rate,
        Allowed("a number above 0"),
        Later("2026-11"),
        Needs("partition", ("dirichlet", "dirichlet-per-class", "quantity")),
        OfClients(),
    ] = Field(0.5, description="of a Dirichlet distribution: the smaller, the more clients differ")
    shards_per_client: Annotated[
        Positive,
        Allowed("an integer of at least 1"),
        Later("2026-11"),
        Needs("partition", ("shards",)),
        OfClients(),
        AMOUNT,
    ] = Field(2, description="pieces of the examples sorted by class that a client is dealt")
    client_column: Annotated[
        Name,
        Allowed("'none' or a column's name"),
        Later("2026-11"),
        Needs("partition", ("natural",)),
        OfClients(),
    ] = Field("none", description="column that says whose a text is: author, user, hospital")
    examples_per_client: Annotated[
        Positive | Literal["none"],
        Allowed("'none' or an integer of at least 1"),
        Later("2026-11"),
        Needs("partition", ("fixed-per-client",)),
        OfClients(),
        AMOUNT,
    ] = Field("none", description="each client's examples, whatever K is")
    min_client_examples: Annotated[
        Positive,
        Allowed("an integer of at least 1"),
        Later("2026-11"),
        Needs("partition", ("dirichlet-per-class", "quantity")),
        OfClients(),
        AMOUNT,
    ] = Field(1, description="the fewest examples that a client may be drawn")
    participation: Annotated[
        Fraction, Allowed("a number above 0, at most 1"), Later("2026-11"), OfClients("all")
    ] = Field(1.0, description="share of the clients that is drawn to take part in a round")
    head_init: Annotated[
        Literal["shared", "per_client"], Allowed("'shared' or 'per_client'"), OfClients("all")
    ] = Field(
        "shared",
        description="per_client: each client starts its first round from a head of its own",
    )

    # How the clients are joined
    strategy: Annotated[
        Literal[
            "fedavg",
            "fedprox",
            "scaffold",
            "fednova",
            "afl",
            "feddf",
            "one-shot",
            "fedavgm",
            "fedadagrad",
            "fedadam",
            "fedyogi",
        ],
        Allowed(
            "'fedavg', 'fedprox', 'scaffold', 'fednova', 'afl', 'feddf', 'one-shot', or 'fedavgm', "
            "'fedadagrad', 'fedadam', 'fedyogi'"
        ),
        OfClients(("scaffold", "fednova", "afl")),
    ] = Field(
        "fedavg",
        description="how the server uses the clients' models; fedavgm, fedadagrad, fedadam and "
        "fedyogi are fedavg with a server_optimizer",
    )
    prox_mu: Annotated[
        NonNegative,
        Allowed("a number of at least 0"),
        Later("2026-11"),
        Needs("strategy", ("fedprox",)),
        OfClients(),
    ] = Field(0.01, description="mu of FedProx: how much clients are held to the server's model")
    afl_step_size: Annotated[
        Rate,
        Allowed("a number above 0"),
        Later("2026-11"),
        Needs("strategy", ("afl",)),
        OfClients(),
    ] = Field(0.1, description="of agnostic FL: how fast weight moves to clients with a high loss")
    one_shot_epochs: Annotated[
        Positive | Auto,
        Allowed("'auto' or an integer of at least 1"),
        Later("2026-11"),
        Needs("strategy", ("one-shot",)),
        Follows(("local_epochs",)),
        OfClients(),
        TURNS,
    ] = Field(
        "auto",
        description="local epochs of one-shot's only round; auto: local_epochs x budget_rounds, "
        "what the clients of other strategies do up to the budget",
    )
    distill_dataset: Annotated[
        Name,
        Allowed("'none', or a short name, a hub id, a directory or a file"),
        Later("2026-11"),
        Needs("strategy", DISTILLING),
        OfClients(),
    ] = Field(
        "none",
        description="data set whose training texts are distilled on, labels or none, in place of "
        "distill_examples",
    )
    distill_steps: Annotated[
        Positive | Auto,
        Allowed("'auto' or an integer of at least 1"),
        Later("2026-11"),
        Needs("strategy", DISTILLING),
        Follows(("distill_examples", "distill_dataset", "batch_size")),
        OfClients(),
        TURNS,
    ] = Field(
        "auto",
        description="steps of the server's training in a round, a batch of texts each; auto: three "
        "passes over the texts, and with one-shot as many as feddf takes up to the budget",
    )
    distill_learning_rate: Annotated[
        Rate | Auto,
        Allowed("'auto' or a number above 0"),
        Later("2026-11"),
        Needs("strategy", DISTILLING),
        Follows(("learning_rate",)),
        OfClients(),
    ] = Field("auto", description="of these steps; auto: learning_rate")
    server_optimizer: Annotated[
        Literal["none", "momentum", "adagrad", "adam", "yogi"],
        Allowed("'none', 'momentum', 'adagrad', 'adam' or 'yogi'"),
        Later("2026-11"),
        Needs(
            "strategy",
            ("fedavg", "fedprox", "scaffold", "fednova", "afl", "feddf"),
            "one-shot has one round, and distils into the model that its clients started from, not "
            "into their mean",
        ),
        OfClients(),
    ] = Field(
        "none",
        description="takes the clients' mean change as a gradient; joins any strategy but one-shot",
    )
    server_learning_rate: Annotated[
        Rate,
        Allowed("a number above 0"),
        Later("2026-11"),
        Needs("server_optimizer", ("momentum", "adagrad", "adam", "yogi")),
        OfClients(),
    ] = Field(1.0, description="of the server's optimiser")
    server_momentum: Annotated[
        Annotated[float, Field(ge=0, lt=1)],
        Allowed("a number from 0 to below 1"),
        Later("2026-11"),
        Needs("server_optimizer", ("momentum", "adam", "yogi")),
        OfClients(),
    ] = Field(0.9, description="momentum of the server's optimiser, beta 1 of adam and yogi")
    server_beta2: Annotated[
        Annotated[float, Field(ge=0, lt=1)],
        Allowed("a number from 0 to below 1"),
        Later("2026-11"),
        Needs("server_optimizer", ("adam", "yogi")),
        OfClients(),
    ] = Field(0.99, description="beta 2 of the server's optimiser")
    server_tau: Annotated[
        Rate,
        Allowed("a number above 0"),
        Later("2026-11"),
        Needs("server_optimizer", ("adagrad", "adam", "yogi")),
        OfClients(),
    ] = Field(1e-3, description="what keeps the server's adaptive steps small where little moves")

    # How long
    budget_rounds: Annotated[
        Positive | Auto, Allowed("'auto' or an integer of at least 1"), TURNS
    ] = Field("auto", description="rounds at which all trials are compared; auto: by data set")
    max_rounds: Annotated[Positive | Auto, Allowed("'auto' or an integer of at least 1"), TURNS] = (
        Field("auto", description="cap on the rounds of a trial; auto: twice the budget")
    )
    target_fraction: Annotated[Fraction, Allowed("a number above 0, at most 1")] = Field(
        0.9, description="the target as a fraction of the baseline's accuracy"
    )
    target_accuracy: Annotated[
        Fraction | Literal["none"], Allowed("'none' or a number above 0, at most 1")
    ] = Field("none", description="a target of your own, instead of the fraction of the baseline")
    stop: Annotated[
        Literal["target", "budget-then-target"], Allowed("'target' or 'budget-then-target'")
    ] = Field("target", description="may a trial that meets its target stop before the budget?")
    stop_on: Annotated[Literal["test", "validation"], Allowed("'test' or 'validation'")] = Field(
        "test", description="the split whose accuracy is held against the target"
    )
    eval_every: Annotated[Positive, Allowed("an integer of at least 1"), AMOUNT] = Field(
        1, description="rounds between evaluations; budget and last round are always evaluated"
    )

    # What it runs on
    precision: Annotated[Literal["auto", "fp32", "bf16"], Allowed("'auto', 'fp32' or 'bf16'")] = (
        Field("auto", description="of matrix products; auto: bf16 where the hardware has it")
    )
    device: Annotated[Device, Allowed("'auto', 'cpu', 'cuda' or 'cuda:N'")] = Field(
        "auto", description="what trials run on; auto: cuda where there is one, else cpu"
    )
    threads: Annotated[Positive | Auto, Allowed("'auto' or an integer of at least 1"), THREADS] = (
        Field(
            "auto", description="CPU threads of a trial; auto: cores / min(cores, federated trials)"
        )
    )
    system_metrics: Annotated[bool, Allowed("true or false")] = Field(
        False, description="sample what a trial's process takes: CPU, memory, GPU memory"
    )


FIELDS: tuple[str, ...] = tuple(TrialFields.model_fields)

#: Fields that may differ between two launches of one and the same trial: how long it runs, when it
#: is looked at, and what it runs on. Everything else is part of the trial's identity.
UNHASHED: frozenset[str] = frozenset(
    (
        *("budget_rounds", "max_rounds", "target_fraction", "target_accuracy", "stop", "stop_on"),
        *("eval_every", "device", "threads", "system_metrics"),
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
    "Model": ("model", "max_length", "attention_mask"),
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
        "eval_every",
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
