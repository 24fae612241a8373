"""Is the sweep in the paper's regime? Its sizes beside those of the paper."""

from __future__ import annotations

import math

from fedtune.analysis import numbers
from fedtune.analysis.cell import Cell
from fedtune.analysis.grid import Grid
from fedtune.analysis.paper import claims
from fedtune.analysis.paper.rounds import OWN
from fedtune.analysis.paper.testable import steps_of_one, told
from fedtune.analysis.passage import Passage
from fedtune.analysis.roles import TITLES
from fedtune.analysis.table import Table, Value
from fedtune.analysis.tracked import TrackedTrial

#: The smallest and the largest number of clients there.
_CLIENTS = (1, 32)
#: What its figures say of the steps to the target, by model and data set: reached with the first of
#: these numbers of clients, and not with the second (section 4.2).
_BETWEEN = {
    ("DistilBERT", "imdb"): claims.IMDB_BETWEEN,
    ("DistilBERT", "yelp"): claims.YELP_BETWEEN,
    ("BERT, ALBERT", "imdb"): (claims.REACHES_UNTIL, claims.FAILS_AT),
}


def regime(grid: Grid) -> Table:
    """Local steps per round, the path of the rates, drift over update, and the steps that one
    client needs beside those that K clients have.
    """
    rows: list[list[Value]] = []
    for series in grid.series:
        cells = grid.cells(series)
        for cell in [cells[0], *cells[-1:]] if len(cells) > 1 else cells:
            rows.append(_row(grid, cell))
    for (model, dataset), between in _BETWEEN.items():
        rows += [_papers_row(model, dataset, between, clients) for clients in _CLIENTS]
    return Table(
        "regime",
        "The regime, beside the paper's",
        "At the smallest and the largest K. The sum of learning rates is the rate times the "
        "sequential steps up to the budget. Drift over update: how far a client moves against how "
        "far their mean moves, 1 where all move alike. One client needs so many steps to its "
        "target; steps it has: the sequential steps up to the budget as a part of that. Where "
        "this is well above 1 for every K, no K can miss the target for want of steps. The "
        "paper's steps follow from its sizes, what one client needs from the K at which its "
        "figures show the target met and missed.",
        [
            *("model", "data set", "K", "local steps per round", "sum of learning rates"),
            *("drift over update", "steps one client needs", "steps it has, as a part"),
        ],
        rows,
    )


def _row(grid: Grid, cell: Cell) -> list[Value]:
    trial = next(iter(cell.trials.values()))
    steps = int(trial.facts["steps/per_round"]) if "steps/per_round" in trial.facts else None
    rate = float(trial.params["learning_rate"])
    ratios = cell.values(_drift_over_update).values()
    needs = steps_of_one(grid, cell.series, OWN.of)
    has = steps * trial.rule.budget if steps else None
    return [
        cell.series.label,
        cell.series.dataset,
        cell.clients,
        steps,
        rate * has if has else None,
        numbers.mean(ratios) if ratios else None,
        told(needs) if needs is not None else None,
        _part(has, needs) if has and needs is not None else None,
    ]


def _papers_row(model: str, dataset: str, between: tuple[int, int], clients: int) -> list[Value]:
    examples, budget, cap = claims.SIZES_OF_DATA[dataset]

    def steps(k: int) -> int:
        return claims.EPOCHS * math.ceil(math.ceil(examples / k) / claims.BATCH)

    needs = Passage(cap * steps(between[1]), cap * steps(between[0]))
    has = budget * steps(clients)
    return [
        f"the paper: {model}",
        TITLES[dataset],
        clients,
        steps(clients),
        claims.RATE * has,
        None,
        told(needs),
        _part(has, needs),
    ]


def _part(has: int, needs: Passage) -> str:
    """The steps that there are over those that it takes, as far as the latter is known."""
    most = f"{has / needs.after:.2g}" if needs.after else ""
    if not needs.reached:
        return f"at most {most}" if most else ""
    least = f"{has / needs.by:.2g}"
    return f"{least} to {most}" if most else f"at least {least}"


def _drift_over_update(trial: TrackedTrial) -> float | None:
    drift, update = trial.mean_of("clients/drift"), trial.mean_of("server/update_norm")
    return drift / update if drift is not None and update else None
