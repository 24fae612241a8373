"""Would a claim have had to come out otherwise at the sizes of this sweep? By steps alone.

One client's sequential steps to an accuracy, S*, are set against the steps that K clients take one
after another in their rounds. Where no K is known to have fewer than S*, that all get there says
nothing about the model. Nothing is read from the federated trials: a series of rounds 1, 1, 1, 1
may be a fact, or a lack of resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fedtune.analysis.cell import Cell, Series
from fedtune.analysis.grid import Grid
from fedtune.analysis.paper import claims
from fedtune.analysis.paper.evidence import Evidence
from fedtune.analysis.passage import Passage, steps_to, together
from fedtune.analysis.roles import role_of
from fedtune.analysis.tracked import TrackedTrial


@dataclass(frozen=True)
class Due:
    """Is something due by steps alone? ``why`` says so in numbers, behind those of a part."""

    truth: bool
    why: str


def steps_of_one(
    grid: Grid,
    series: Series,
    level: Callable[[TrackedTrial], float | None],
    metric: str | None = None,
) -> Passage | None:
    """One client's steps to a level: between the fewest and the most that the seeds leave open."""
    baselines = grid.alone(series, 1).trials.values()
    levels = [(trial, found) for trial in baselines if (found := level(trial)) is not None]
    return together([steps_to(trial, found, metric) for trial, found in levels])


def failure_is_due(evidence: Evidence, cells: list[Cell]) -> Due:
    """Is the target within the cap of some K and, by steps alone, beyond that of the largest?"""
    federated = [cell for cell in cells if cell.clients > 1]
    if not federated:
        return Due(False, "")
    needs = steps_of_one(evidence.grid, cells[0].series, evidence.aim.of)
    if needs is None:
        return Due(False, "")
    few, many = (_steps(cell, lambda t: t.rule.last) for cell in (federated[0], federated[-1]))
    why = f"; one client takes {told(needs)} steps, K = {federated[-1].clients} has {many:,}"
    if in_the_papers_setting(evidence, federated[0]):
        return Due(True, why)
    return Due(needs.by <= few and needs.after >= many, why)


def rise_is_due(evidence: Evidence, cells: list[Cell]) -> Due:
    """Does the largest K, by steps alone, need more rounds than the smallest?"""
    needs = steps_of_one(evidence.grid, cells[0].series, evidence.aim.of)
    if needs is None:
        return Due(False, "")
    few, many = (needs.rounds(_steps(cell, lambda t: 1)) for cell in (cells[0], cells[-1]))
    why = f"; by steps alone {many} at K = {cells[-1].clients}"
    return Due(many.after > few.by, why)


def chance_is_due(
    evidence: Evidence, cells: list[Cell], rounds: Callable[[TrackedTrial], float]
) -> Due:
    """Is one client, after the steps of the largest K in these rounds, still at chance?"""

    needs = _steps_to_keep(evidence, cells[0], claims.AT_CHANCE)
    if needs is None:
        return Due(False, "")
    has = _steps(cells[-1], rounds)
    why = f"; one client leaves chance after {told(needs)} steps"
    return Due(needs.after >= has, f"{why}, K = {cells[-1].clients} has {has:,}")


def loss_is_due(evidence: Evidence, cell: Cell, kept: float) -> Due:
    """Does one client, after the steps of these K up to the budget, keep less than this part?"""
    needs = _steps_to_keep(evidence, cell, kept)
    if needs is None:
        return Due(False, "")
    has = _steps(cell, lambda trial: trial.rule.budget)
    why = f"; one client takes {told(needs)} steps to that, K = {cell.clients} has {has:,}"
    return Due(in_the_papers_setting(evidence, cell) or needs.after >= has, why)


def _steps_to_keep(evidence: Evidence, cell: Cell, part: float) -> Passage | None:
    """One client's steps to this part of what it learns in the end."""

    def level(trial: TrackedTrial) -> float | None:
        return None if trial.headroom is None else trial.chance + part * trial.headroom

    return steps_of_one(evidence.grid, cell.series, level, "test/accuracy")


def in_the_papers_setting(evidence: Evidence, cell: Cell) -> bool:
    """Is it the original, trained on as much and for as long as in the paper? There the claim is
    about these very rounds.
    """
    trial = next(iter(cell.trials.values()))
    if not evidence.is_original(trial.model):
        return False
    settings = (
        float(trial.params["learning_rate"]),
        *(int(trial.params[name]) for name in ("batch_size", "local_epochs")),
    )
    sizes = (int(trial.facts["data/train_examples"]), trial.rule.budget, trial.rule.cap)
    there = claims.SIZES_OF_DATA.get(role_of(cell.series.dataset) or "")
    return (*settings, *sizes) == (claims.RATE, claims.BATCH, claims.EPOCHS, *(there or ()))


def _steps(cell: Cell, rounds: Callable[[TrackedTrial], float]) -> int:
    trial = next(iter(cell.trials.values()))
    return math.floor(trial.steps_per_round * rounds(trial))


def told(steps: Passage) -> str:
    """Steps for people: ``up to 512``."""
    if not steps.reached:
        return f"more than {steps.after:,}"
    return f"{steps.after + 1:,} to {steps.by:,}" if steps.after else f"up to {steps.by:,}"
