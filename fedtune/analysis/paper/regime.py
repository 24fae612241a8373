"""Is the sweep in the paper's regime? Its sizes beside those of the paper."""

from __future__ import annotations

import math

from fedtune.analysis import numbers
from fedtune.analysis.cell import Cell
from fedtune.analysis.grid import Grid
from fedtune.analysis.roles import TITLES
from fedtune.analysis.table import Table, Value
from fedtune.analysis.tracked import TrackedTrial

#: The paper's training examples and budget in rounds by data set (section 3.3 and 3.4).
_PAPER = {"ag-news": (120_000, 100), "imdb": (25_000, 100), "yelp": (650_000, 50)}
#: The paper's learning rate, batch size, local epochs and numbers of clients (section 3.4).
_RATE, _BATCH, _EPOCHS, _CLIENTS = 2e-5, 32, 2, (1, 32)


def regime(grid: Grid) -> Table:
    """Local steps per round, the path of the rates, drift over update, and the baseline's speed."""
    rows: list[list[Value]] = []
    for series in grid.series:
        cells = grid.cells(series)
        for cell in [cells[0], *cells[-1:]] if len(cells) > 1 else cells:
            rows.append(_row(grid, cell))
    for dataset, (examples, budget) in _PAPER.items():
        for clients in _CLIENTS:
            steps = _EPOCHS * math.ceil(math.ceil(examples / clients) / _BATCH)
            path = _RATE * steps * budget
            rows.append(["the paper", TITLES[dataset], clients, steps, path, None, None])
    return Table(
        "regime",
        "The regime, beside the paper's",
        "At the smallest and the largest K. The sum of learning rates is the rate times the "
        "sequential steps up to the budget. Drift over update: how far a client moves against how "
        "far their mean moves, 1 where all move alike. The paper's steps follow from its sizes; "
        "the other figures are not in its text.",
        [
            *("model", "data set", "K", "local steps per round", "sum of learning rates"),
            *("drift over update", "rounds to target at K = 1, of the budget"),
        ],
        rows,
    )


def _row(grid: Grid, cell: Cell) -> list[Value]:
    trial = next(iter(cell.trials.values()))
    steps = int(trial.facts["steps/per_round"]) if "steps/per_round" in trial.facts else None
    rate = float(trial.params["learning_rate"])
    ratios = cell.values(_drift_over_update).values()
    alone = grid.cell(cell.series, 1).median_rounds()
    return [
        cell.series.label,
        cell.series.dataset,
        cell.clients,
        steps,
        rate * steps * trial.rule.budget if steps else None,
        numbers.mean(ratios) if ratios else None,
        alone / trial.rule.budget if alone is not None and alone < math.inf else None,
    ]


def _drift_over_update(trial: TrackedTrial) -> float | None:
    drift, update = trial.mean_of("clients/drift"), trial.mean_of("server/update_norm")
    return drift / update if drift is not None and update else None
