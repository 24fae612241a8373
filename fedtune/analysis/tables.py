"""The report's tables: every trial, every cell, ranks, and what reaching the target takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fedtune.analysis import numbers
from fedtune.analysis.cell import Cell
from fedtune.analysis.drawing import labels
from fedtune.analysis.grid import Grid
from fedtune.analysis.levels import Reached, level, stopped_early
from fedtune.analysis.passage import steps_to, together
from fedtune.analysis.quantities import ACCURACY, RETENTION
from fedtune.analysis.samples import Sample, difference, paired
from fedtune.analysis.table import Early, Table, Value
from fedtune.analysis.tracked import TrackedTrial


def per_trial(grid: Grid) -> Table:
    """Every trial with what it amounts to."""
    header = [
        *("model", "data set", *x_columns(grid), "seed", "outcome", "rounds run"),
        *("accuracy at budget",),
        *("of baseline", "retention", "rounds to target", "steps to target", "bytes to target"),
        *("final accuracy", "minutes", "trial"),
    ]
    return Table(
        "trials",
        "Every trial",
        "Retention is the part of the baseline's accuracy above chance that is kept at the budget. "
        "Minutes are those of computing rounds and evaluations." + _about_early(grid),
        header,
        [_trial_row(grid, cell, t) for cell in grid.every_cell() for t in cell.trials.values()],
    )


def _trial_row(grid: Grid, cell: Cell, trial: TrackedTrial) -> list[Value]:
    summary, reach = trial.summary, trial.reach
    base = trial.baseline_test_accuracy
    missed = reach is not None and reach.rounds is None
    collapsed = ", collapsed" if summary is not None and summary.collapsed else ""
    return [
        cell.series.label,
        cell.series.dataset,
        *x_value(grid, cell),
        trial.seed,
        trial.state + collapsed,
        trial.records[-1]["round"] if trial.records else None,
        _at_budget(trial, 1.0),
        _at_budget(trial, base) if base else None,
        trial.retention,
        reach.rounds if reach is not None and not missed else str(reach or ""),
        _steps(trial),
        _bytes(trial),
        summary.final_accuracy if summary is not None else None,
        round(trial.seconds / 60, 2),
        trial.trial_id,
    ]


def _at_budget(trial: TrackedTrial, of: float) -> Value:
    """Accuracy as a part of ``of``, at the budget or where the trial ended before."""
    found = level(trial)
    if found is None or trial.accuracy is not None:
        return None if found is None else found.accuracy / of
    return Early(found.accuracy / of, f"round {found.round_num}")


def _about_early(grid: Grid) -> str:
    if not any(map(stopped_early, grid.trials)):
        return ""
    return (
        " A round in brackets: trials ended before the budget, and this is of their last round; "
        "the CSV has nothing there."
    )


def _total(trial: TrackedTrial, metric: str) -> int | None:
    """What a total had come to when the target was met."""
    found = trial.at(trial.reach.rounds, metric) if trial.reach is not None else None
    return None if found is None else int(found)


def _steps(trial: TrackedTrial) -> int | None:
    return _total(trial, "steps/sequential")


def _bytes(trial: TrackedTrial) -> int | None:
    """What clients and server have sent until the target was met."""
    return _total(trial, "comm/bytes")


def per_cell(grid: Grid) -> Table:
    """Means over seeds of every model, data set and K."""
    header = [
        *(
            "model",
            "data set",
            *x_columns(grid),
            "seeds at budget",
            "accuracy at budget",
            "spread",
            "95 % low",
        ),
        *("95 % high", "lost to K = 1", "lost, 95 % low", "lost, 95 % high", "retention"),
        *("median rounds to target", "reached", "peak memory (MB)"),
    ]
    return Table(
        "by-clients",
        "Every model, data set and K",
        "Means over seeds; the spread is the standard deviation. Intervals only with "
        "two seeds or more: Student's t over seeds, and what the test texts add. Lost: the mean "
        "difference to K = 1, paired by seed and by test example. Peak memory is that of "
        "trials that had a process of their own." + _about_early(grid),
        header,
        [_cell_row(grid, cell) for cell in grid.every_cell()],
    )


def lost(grid: Grid, cell: Cell) -> Sample:
    """How much lower than at K = 1 the accuracy at the budget is."""
    return difference(grid.alone(cell.series, cell.x).sample(ACCURACY), cell.sample(ACCURACY))


def x_columns(grid: Grid) -> list[str]:
    """K, and beside it what else runs along x."""
    return ["K"] if grid.axis.is_clients else ["K", grid.axis.field]


def x_value(grid: Grid, cell: Cell) -> list[Value]:
    """What stands in these columns."""
    return [cell.clients] if grid.axis.is_clients else [cell.clients, cell.text]


def x_text(grid: Grid, x: float) -> Value:
    """A value along x by itself: K as a number."""
    return int(x) if grid.axis.is_clients else grid.axis.text(x)


def points(sample: Sample) -> str:
    """Percentage points: the mean over seeds with its 95 % interval.

    Of a few seeds as ±, with their range, since they can be looked at one by one; of one seed ± is
    what the test set alone leaves open.
    """
    seen = sample.values.values()
    if not seen:
        return ""
    if len(seen) >= numbers.SEEDS_FOR_INTERVAL:
        return sample.shown(tenths)
    if len(seen) == 1:
        return f"{tenths(sample.mean)} ± {tenths(numbers.NORMAL_95 * sample.test_error)}"
    half = sample.estimate.half_width()
    return f"{tenths(sample.mean)} ± {tenths(half)} ({tenths(min(seen))} to {tenths(max(seen))})"


def tenths(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:.1f}"  # the sum makes a zero of a negative zero


def _cell_row(grid: Grid, cell: Cell) -> list[Value]:
    accuracy, less = cell.sample(ACCURACY), lost(grid, cell)
    seen, kept = list(accuracy.values.values()), cell.sample(RETENTION).values.values()
    peaks = cell.values(lambda trial: trial.peak_memory_mb).values()
    federated = less.values and not cell.is_baseline
    mean: Value = numbers.mean(seen) if seen else None
    lost_mean: Value = less.mean if federated else None
    early = Reached(cell)
    if not seen and early.rounds:
        mean = Early(early.sample.mean, early.rounds)
        below = difference(grid.alone(cell.series, cell.x).sample(ACCURACY), early.sample)
        lost_mean = Early(below.mean, early.rounds) if below.values else None
    return [
        cell.series.label,
        cell.series.dataset,
        *x_value(grid, cell),
        len(seen),
        mean,
        numbers.spread(seen),
        *(accuracy.interval() or (None, None)),
        lost_mean,
        *((less.interval() if federated else None) or (None, None)),
        numbers.mean(kept) if kept else None,
        cell.median_text(),
        cell.reached_text(),
        round(numbers.mean(peaks)) if peaks else None,
    ]


def ranks(grid: Grid) -> Table:
    """Which model is best at each K, and by how much."""
    names = labels(grid)
    several = len(grid.models) < len(names)
    rows: list[list[Value]] = []
    for dataset in grid.datasets if len(names) > 1 else ():
        for x in grid.xs:
            found = {
                series.label: sample
                for series in grid.series
                if series.dataset == dataset
                and (sample := grid.cell(series, x).sample(ACCURACY)).values
            }
            # Baselines that all share are no contest.
            if found and not (len(found) > 1 and _same(grid, dataset, x)):
                rows.append([dataset, x_text(grid, x), *_ranked(found, names)])
    return Table(
        "ranks",
        f"Rank{'s' if several else ' of models'} at each {grid.axis.title}",
        "By mean accuracy at the budget, which stands in brackets, over the seeds that all models "
        "of the row have. The lead is that of the first over the second in percentage points, with "
        "its 95 % interval, over seeds and test texts; of one seed ± is what the test set alone "
        "leaves open. A range is over seeds.",
        ["data set", grid.axis.column, *names, "lead"],
        rows,
    )


def _same(grid: Grid, dataset: str, x: float) -> bool:
    """Have all series of a data set the same trials here?"""
    cells = [grid.cell(series, x) for series in grid.series if series.dataset == dataset]
    ids = {tuple(trial.trial_id for trial in cell.trials.values()) for cell in cells}
    return len(ids - {()}) == 1


def _ranked(found: Mapping[str, Sample], names: Sequence[str]) -> list[Value]:
    """The rank and the mean of each model, and by how many points the first one leads."""
    same_seeds = dict(zip(found, paired(found.values()), strict=True))
    if not next(iter(same_seeds.values())).values:
        return [*(None for _ in names), "no seed in common"]
    order = sorted(same_seeds.values(), key=lambda sample: -sample.mean)
    shown = {
        name: f"{1 + sum(s.mean > sample.mean for s in order)} ({sample.mean:.3f})"
        for name, sample in same_seeds.items()
    }
    lead = points(difference(order[0], order[1])) if len(order) > 1 else None
    return [*(shown.get(name) for name in names), lead]


def to_target(grid: Grid) -> Table:
    """What reaching the target takes: rounds, steps, bytes, and what steps alone would predict."""
    rows: list[list[Value]] = []
    for cell in grid.every_cell():
        with_target = [trial for trial in cell.trials.values() if trial.reach]
        if not with_target:
            continue
        alone = grid.alone(cell.series, cell.x).trials.values()
        per_round = max(trial.steps_per_round for trial in with_target)
        needed = together([steps_to(trial, trial.target) for trial in alone if trial.reach])
        rows.append(
            [
                cell.series.label,
                cell.series.dataset,
                *x_value(grid, cell),
                cell.reached_text(),
                cell.median_text(),
                str(needed.rounds(per_round)) if needed is not None else None,
                *effort(with_target),
            ]
        )
    return Table(
        "to-target",
        "Rounds, steps and bytes to target",
        "Medians over seeds, empty where half or more did not reach it. By steps alone: the "
        "rounds in which a client takes as many steps, one after another, as K = 1 needs, as far "
        "as its evaluations and seeds tell.",
        [
            *(
                "model",
                "data set",
                *x_columns(grid),
                "reached",
                "median rounds",
                "rounds by steps alone",
            ),
            *("median steps", "bytes (median)"),
        ],
        rows,
    )


def effort(with_target: Sequence[TrackedTrial]) -> list[Value]:
    """The medians of steps and bytes to target."""
    steps = _median([_steps(trial) for trial in with_target])
    sent = _median([_bytes(trial) for trial in with_target])
    return [round(steps) if steps else None, round(sent) if sent is not None else None]


def _median(values: Sequence[int | None]) -> float | None:
    """The median, where None stands for a target that was not met; None where it is not met."""
    if not values:
        return None
    middle = numbers.median(math.inf if value is None else value for value in values)
    return None if middle == math.inf else middle
