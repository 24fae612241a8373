"""Grids of strategies and of ways in which clients differ, and the rows of tables."""

from __future__ import annotations

from typing import Any

from as_tracked import in_memory
from synthetic import run_all
from worlds import skewed

from fedtune.analysis.grid import Grid
from fedtune.trial.identity import Trial

PLAIN: tuple[dict[str, Any], ...] = ({},)
DIRICHLET = {"partition": "dirichlet", "partition_alpha": 0.1}
SOME = ({}, {"strategy": "scaffold"}, {"strategy": "fedadam", "server_learning_rate": 0.1})


def grid_of(trials: list[Trial], **options: Any) -> Grid:
    return in_memory(run_all(trials, skewed), **options)


def rows_of(table: Any) -> list[dict[str, Any]]:
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]
