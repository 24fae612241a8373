"""The settings of the strategies and of the server's optimiser."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from fedtune.config.kinds import (
    TURNS,
    Allowed,
    Auto,
    Follows,
    Later,
    Name,
    Needs,
    NonNegative,
    OfClients,
    Positive,
    Rate,
)
from fedtune.config.names import DISTILLING


class StrategyFields(BaseModel):
    """How the clients are joined."""

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
