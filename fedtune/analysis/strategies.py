"""Strategies against how clients differ: what each one reaches, and what that takes."""

from __future__ import annotations

from fedtune.analysis import numbers
from fedtune.analysis.axis import OWN_FIELDS, counts, strategy_of, varied
from fedtune.analysis.cell import Cell
from fedtune.analysis.grid import Grid
from fedtune.analysis.quantities import ACCURACY
from fedtune.analysis.table import Table, Value
from fedtune.analysis.tables import effort
from fedtune.analysis.tracked import TrackedTrial
from fedtune.config import DISTILLING
from fedtune.tracking import names

#: Settings that the columns for strategy and clients tell.
_TOLD = (
    *OWN_FIELDS,
    *("strategy", "server_optimizer", "partition", "partition_alpha"),
    *("shards_per_client", "examples_per_client"),
)


def compares_strategies(grid: Grid) -> bool:
    """Has the sweep several strategies, or several ways in which clients differ?"""
    federated = [trial for trial in grid.trials if not trial.is_baseline]
    return len({(strategy_of(trial.params), trial.spread) for trial in federated}) > 1


def averages(grid: Grid) -> bool:
    """Is everything plain federated averaging?"""
    return all(strategy_of(trial.params) == "fedavg" for trial in grid.trials)


def by_strategy(grid: Grid) -> Table:
    """Each strategy with each way in which clients differ and each K."""
    rows = [_row(grid, cell) for cell in _cells(grid)]
    distils = any(trial.params["strategy"] in DISTILLING for trial in grid.trials)
    return Table(
        "strategies",
        "Strategies and how clients differ",
        "Accuracy at the budget, mean over seeds (the spread is the standard deviation). Rounds, "
        "steps and bytes to target are medians over seeds: where half or more did not reach it, "
        "rounds are > cap and the others empty. Worst client: the accuracy at the budget that the "
        "server's model has for the client that it serves worst, where clients differ."
        + " Steps are those of clients: the server's own, of distillation, are not counted."
        * distils,
        [
            *("model", "data set", "strategy", "clients", "K", "accuracy at budget", "spread"),
            *("95 % low", "95 % high", "reached", "rounds to target", "steps to target"),
            *("bytes to target", "worst client"),
        ],
        rows,
    )


def stages(grid: Grid) -> Table:
    """How accurate the models are on the way from the clients to the distilled one."""
    rows = [row for cell in _cells(grid) if (row := _stages_row(grid, cell))]
    return Table(
        "stages",
        "Stages of distillation",
        "Test accuracy, mean over seeds, in the last evaluated round up to the budget: of the "
        "clients' models, each by itself; of their ensemble, which gives the class with the "
        "highest mean score; of their mean, as federated averaging has it, with the server's "
        "optimiser where there is one; and of the model that was distilled. Centralised is the "
        "baseline at its budget.",
        [
            *("model", "data set", "strategy", "clients", "K", "round"),
            *names.STAGES.values(),
            "centralised",
        ],
        rows,
    )


def _stages_row(grid: Grid, cell: Cell) -> list[Value]:
    last = {id(t): _last_judged(t) for t in cell.trials.values()}
    trials = [trial for trial in cell.trials.values() if last[id(trial)]]
    if not trials:
        return []
    found = {
        metric: [value for t in trials if (value := t.at(last[id(t)], metric)) is not None]
        for metric in names.STAGES
    }
    alone = [t.baseline_test_accuracy for t in trials if t.baseline_test_accuracy is not None]
    trial, rounds = trials[0], sorted({str(last[id(t)]) for t in trials}, key=int)
    return [
        *_who(grid, trial),
        " or ".join(rounds),
        *(numbers.mean(values) if values else None for values in found.values()),
        numbers.mean(alone) if alone else None,
    ]


def _last_judged(trial: TrackedTrial) -> int | None:
    """The last round up to the budget in which the stages were looked at."""
    judged = [r["round"] for r in trial.records if "stages/ensemble" in r]
    return max((number for number in judged if number <= trial.rule.budget), default=None)


def _cells(grid: Grid) -> list[Cell]:
    """One strategy after another for each model, data set, K and way in which clients differ."""
    cells = [cell for cell in grid.every_cell() if not cell.is_baseline]
    trials = {id(cell): next(iter(cell.trials.values())) for cell in cells}

    def order(cell: Cell) -> tuple[int, int, int, float]:
        trial = trials[id(cell)]
        dataset = grid.datasets.index(trial.dataset)
        return grid.models.index(trial.model), dataset, trial.clients, cell.x

    return sorted(cells, key=order)


def _row(grid: Grid, cell: Cell) -> list[Value]:
    trial = next(iter(cell.trials.values()))
    accuracy = cell.sample(ACCURACY)
    seen = list(accuracy.values.values())
    with_target = [t for t in cell.trials.values() if t.reach]
    worst = cell.values(worst_client).values()
    return [
        *_who(grid, trial),
        numbers.mean(seen) if seen else None,
        numbers.spread(seen),
        *(accuracy.interval() or (None, None)),
        cell.reached_text(),
        cell.median_text(),
        *effort(with_target),
        numbers.mean(worst) if worst else None,
    ]


def worst_client(trial: TrackedTrial) -> float | None:
    """The accuracy at the budget of the client that is served worst."""
    return trial.at(trial.rule.budget, "clients/accuracy_worst")


def _who(grid: Grid, trial: TrackedTrial) -> list[Value]:
    """Model, data set, strategy, how clients differ, and K: what a row begins with."""
    dataset = trial.dataset.removesuffix(f", {trial.spread}")
    return [trial.model, dataset, _strategy(grid, trial), trial.spread, trial.clients]


def _strategy(grid: Grid, trial: TrackedTrial) -> str:
    """The strategy with whatever else varies."""
    fields = [f for f in varied(t.settings for t in grid.trials) if f not in _TOLD]
    others = [f"{f}={trial.params[f]}" for f in fields if counts(f, trial.settings)]
    return ", ".join([strategy_of(trial.params), *others])
