"""The report's tables, as rows of plain values that become CSV, Markdown or HTML."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedtune.analysis import numbers
from fedtune.analysis.curves import size
from fedtune.analysis.figures import labels
from fedtune.analysis.grid import Cell, Grid
from fedtune.analysis.tracked import TrackedTrial

Value = str | int | float | None


@dataclass(frozen=True)
class Table:
    """``rows`` hold plain values; a column whose name begins with ``bytes`` is shown in units."""

    name: str
    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[Value]]

    def shown(self) -> list[list[str]]:
        """The rows for people."""
        return [
            [_shown(name, value) for name, value in zip(self.header, row, strict=True)]
            for row in self.rows
        ]

    def as_csv(self) -> str:
        text = io.StringIO()
        rows = [[_plain(value) for value in row] for row in self.rows]
        csv.writer(text, lineterminator="\n").writerows([self.header, *rows])
        return text.getvalue()

    def as_markdown(self) -> str:
        lines = [list(self.header), ["---"] * len(self.header), *self.shown()]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _shown(name: str, value: Value) -> str:
    if value is None:
        return ""
    if name.startswith("bytes") and not isinstance(value, str):
        return size(value)
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value


def _plain(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def per_trial(grid: Grid) -> Table:
    """Every trial with what it amounts to."""
    header = [
        *("model", "data set", "K", "seed", "outcome", "rounds run", "accuracy at budget"),
        *("of baseline", "retention", "rounds to target", "steps to target", "bytes to target"),
        *("final accuracy", "minutes", "trial"),
    ]
    order = [t for s in grid.series for c in grid.cells(s) for t in c.trials.values()]
    return Table(
        "trials",
        "Every trial",
        "Retention is the part of the baseline's accuracy above chance that is kept at the budget. "
        "Minutes are those of computing rounds and evaluations.",
        header,
        [_trial_row(trial) for trial in order],
    )


def _trial_row(trial: TrackedTrial) -> list[Value]:
    summary, reach = trial.summary, trial.reach
    label = f"{trial.model} ({trial.variant})" if trial.variant else trial.model
    base = trial.baseline_test_accuracy
    missed = reach is not None and reach.rounds is None
    collapsed = ", collapsed" if summary is not None and summary.collapsed else ""
    return [
        label,
        trial.dataset,
        trial.clients,
        trial.seed,
        trial.state + collapsed,
        trial.records[-1]["round"] if trial.records else None,
        trial.accuracy,
        trial.accuracy / base if trial.accuracy is not None and base else None,
        trial.retention,
        reach.rounds if reach is not None and not missed else str(reach or ""),
        _steps(trial),
        _bytes(trial),
        summary.final_accuracy if summary is not None else None,
        round(trial.seconds / 60, 2),
        trial.trial_id,
    ]


def _steps(trial: TrackedTrial) -> int | None:
    reach = trial.reach
    return None if reach is None or reach.rounds is None else reach.rounds * trial.steps_per_round


def _bytes(trial: TrackedTrial) -> int | None:
    """What clients and server have sent until the target was met."""
    reach = trial.reach
    if reach is None or reach.rounds is None:
        return None
    return next(int(r["comm/bytes"]) for r in trial.records if r["round"] == reach.rounds)


def per_cell(grid: Grid) -> Table:
    """Means over seeds of every model, data set and K."""
    header = [
        *("model", "data set", "K", "seeds at budget", "accuracy at budget", "spread", "95 % low"),
        *("95 % high", "lost to K = 1", "retention", "median rounds to target", "reached"),
    ]
    return Table(
        "by-clients",
        "Every model, data set and K",
        "Means over seeds; the spread is the standard deviation. Intervals (Student's t) only with "
        f"{numbers.SEEDS_FOR_INTERVAL} seeds or more. Lost: the mean difference to K = 1, paired "
        "by seed.",
        header,
        [_cell_row(grid, cell) for series in grid.series for cell in grid.cells(series)],
    )


def lost(grid: Grid, cell: Cell) -> dict[int, float]:
    """How much lower than at K = 1 the accuracy at the budget is, by seed."""
    alone = grid.cell(cell.series, 1).accuracies
    return {s: alone[s] - accuracy for s, accuracy in cell.accuracies.items() if s in alone}


def _cell_row(grid: Grid, cell: Cell) -> list[Value]:
    seen = list(cell.accuracies.values())
    low: Value = None
    high: Value = None
    if len(seen) >= numbers.SEEDS_FOR_INTERVAL:
        low, high = numbers.interval(seen)
    less, kept = lost(grid, cell), cell.retentions
    return [
        cell.series.label,
        cell.series.dataset,
        cell.clients,
        len(seen),
        numbers.mean(seen) if seen else None,
        numbers.spread(seen),
        low,
        high,
        numbers.mean(less.values()) if less and cell.clients > 1 else None,
        numbers.mean(kept.values()) if kept else None,
        cell.median_text(),
        cell.reached_text(),
    ]


def ranks(grid: Grid) -> Table:
    """Which model is best at each K."""
    names = labels(grid)
    rows: list[list[Value]] = []
    for dataset in grid.datasets:
        for clients in grid.clients:
            found = {
                series.label: numbers.mean(cell.accuracies.values())
                for series in grid.series
                if series.dataset == dataset and (cell := grid.cell(series, clients)).accuracies
            }
            order = sorted(found.values(), reverse=True)
            shown = {name: f"{order.index(mean) + 1} ({mean:.3f})" for name, mean in found.items()}
            if found:
                rows.append([dataset, clients, *(shown.get(name) for name in names)])
    return Table(
        "ranks",
        "Rank of models at each K",
        "By mean accuracy at the budget, which stands in brackets.",
        ["data set", "K", *names],
        rows,
    )


def to_target(grid: Grid) -> Table:
    """What reaching the target takes: rounds, steps, bytes, and what steps alone would predict."""
    rows: list[list[Value]] = []
    for series in grid.series:
        alone = grid.cell(series, 1)
        for cell in grid.cells(series):
            if not cell.reaches:
                continue
            steps = _median([_steps(trial) for trial in cell.trials.values() if trial.reach])
            sent = _median([_bytes(trial) for trial in cell.trials.values() if trial.reach])
            per_round = max(trial.steps_per_round for trial in cell.trials.values() if trial.reach)
            needed = _median([_steps(trial) for trial in alone.trials.values() if trial.reach])
            rows.append(
                [
                    series.label,
                    series.dataset,
                    cell.clients,
                    cell.reached_text(),
                    cell.median_text(),
                    math.ceil(needed / per_round) if needed else None,
                    round(steps) if steps else None,
                    round(sent) if sent is not None else None,
                ]
            )
    return Table(
        "to-target",
        "Rounds, steps and bytes to target",
        "Medians over seeds, empty where more than half did not reach it. By steps alone: the "
        "rounds that would take as many sequential steps as K = 1 needs (hypothesis H1).",
        [
            *("model", "data set", "K", "reached", "median rounds", "rounds by steps alone"),
            *("median steps", "bytes (median)"),
        ],
        rows,
    )


def _median(values: Sequence[int | None]) -> float | None:
    """The median, where None stands for a target that was not met; None where it is not met."""
    if not values:
        return None
    middle = numbers.median(math.inf if value is None else value for value in values)
    return None if middle == math.inf else middle
