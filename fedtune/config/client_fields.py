"""The settings of what sets clients apart: their data, who takes part, their heads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from fedtune.config.kinds import (
    AMOUNT,
    Allowed,
    Fraction,
    Later,
    Name,
    Needs,
    OfClients,
    Positive,
    Rate,
)


class ClientFields(BaseModel):
    """How the clients differ."""

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
