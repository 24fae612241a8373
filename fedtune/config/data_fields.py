"""The settings of model and data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from fedtune.config.kinds import (
    AMOUNT,
    SEED,
    TURNS,
    Allowed,
    CommaIsValue,
    Count,
    Later,
    Name,
    Positive,
    Seed,
    Share,
)


class DataFields(BaseModel):
    """What is trained on what."""

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
    head: Annotated[
        Literal["own", "pooler", "relu"],
        Allowed("'own', 'pooler' or 'relu'"),
        Later("2026-11"),
    ] = Field(
        "own",
        description="what stands between encoder and classifier: the architecture's own; or drawn "
        "anew, BERT's pooler (tanh, dropout 0.1) or DistilBERT's layer (ReLU, dropout 0.2)",
    )
