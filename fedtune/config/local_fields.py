"""The settings of local training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from fedtune.config.kinds import AMOUNT, TURNS, Allowed, Auto, NonNegative, Positive, Rate


class LocalFields(BaseModel):
    """What a client does in a round."""

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
