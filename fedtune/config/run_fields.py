"""The settings of how long a trial runs, and on what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from fedtune.config.kinds import (
    AMOUNT,
    THREADS,
    TURNS,
    Allowed,
    Auto,
    CommaIsValue,
    Device,
    Fraction,
    Positive,
    StepList,
)


class RunFields(BaseModel):
    """How long, and what it runs on."""

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
    eval_steps: Annotated[
        Positive | Literal["none", "geometric"] | StepList,
        Allowed("'none', 'geometric', an integer of at least 1 or several with commas (8,16,32)"),
        CommaIsValue(),
        AMOUNT,
    ] = Field(
        "none",
        description="sequential steps after which a baseline is evaluated within its rounds too: "
        "every so many, those named, or geometric, which is 8 * 2^(i/3)",
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
