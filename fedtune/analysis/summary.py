"""What a reader wants in a minute: what federation costs each model, in words and in a table."""

from __future__ import annotations

from collections.abc import Sequence

from fedtune.analysis import numbers
from fedtune.analysis.figures import labels
from fedtune.analysis.grid import TITLES, Cell, Grid, role_of
from fedtune.analysis.quantities import ACCURACY
from fedtune.analysis.samples import difference, paired
from fedtune.analysis.tables import Table, Value, lost, points, tenths
from fedtune.analysis.tracked import TrackedTrial


def cost(grid: Grid) -> Table:
    """Accuracy and rounds of each model and data set, at K = 1 and at its largest K."""
    rows: list[list[Value]] = []
    for series in grid.series:
        many = _most_clients(grid.cells(series))
        if many is None:
            continue
        alone = grid.cell(series, 1)
        one, other = alone.sample(ACCURACY), many.sample(ACCURACY)
        less = difference(one, other)
        if less.values:  # what is subtracted stands beside what is left
            one, other = paired((one, other))
        rows.append(
            [
                series.label,
                series.dataset,
                many.clients,
                one.mean if one.values else None,
                other.mean if other.values else None,
                points(less),
                alone.median_text(),
                many.median_text(),
                many.reached_text(),
            ]
        )
    return Table(
        "cost",
        "What federation costs",
        "Accuracies at the budget, means over seeds. Percentage points lost are paired by seed, "
        "with an interval; of fewer than five seeds ± is what the test set leaves open, and the "
        "range is over seeds. Rounds to target are medians, never means: what was not reached is "
        "> cap.",
        [
            *("model", "data set", "K", "accuracy, K = 1", "accuracy, this K", "points lost"),
            *("rounds, K = 1", "rounds, this K", "reached"),
        ],
        rows,
    )


def sentences(grid: Grid) -> list[str]:
    """One sentence for each model: accuracy lost at the budget at its largest K, and rounds."""
    found = (_sentence(grid, label) for label in labels(grid))
    return [sentence for sentence in found if sentence]


def _sentence(grid: Grid, label: str) -> str:
    rows = [grid.cells(series) for series in grid.series if series.label == label]
    many = [cell for cells in rows if (cell := _most_clients(cells)) is not None]
    if not many:
        return ""
    clients = max(cell.clients for cell in many)
    many = [cell for cell in many if cell.clients == clients]
    told = [part for part in (_loses(grid, many), _reaches(grid, many)) if part]
    return f"Spread over {clients} clients, {label} {', and '.join(told)}." if told else ""


def _loses(grid: Grid, many: Sequence[Cell]) -> str:
    """For example: is 1.2 (ag-news) to 4.5 (imdb) points less accurate at the budget."""
    means = [(less.mean, c.series.dataset) for c in many if (less := lost(grid, c)).values]
    if not means:
        return ""
    (least, here), (most, there) = min(means), max(means)
    if least == most:
        return f"is {_apart(most)} accurate at the budget than one client ({there})"
    if least >= 0:
        points = f"{tenths(least)} ({here}) to {tenths(most)} ({there}) points less"
    elif most <= 0:
        points = f"{tenths(-most)} ({there}) to {tenths(-least)} ({here}) points more"
    else:
        points = f"between {_apart(least)} ({here}) and {_apart(most)} ({there})"
    return f"is {points} accurate at the budget than one client"


def _apart(less: float) -> str:
    return f"{tenths(abs(less))} points {'less' if less >= 0 else 'more'}"


def _reaches(grid: Grid, many: Sequence[Cell]) -> str:
    reaches = [reach for cell in many for reach in cell.reaches.values()]
    met = sum(reach.rounds is not None for reach in reaches)
    trials = f"{len(reaches)} trial{'s' * (len(reaches) != 1)}"
    if not reaches:
        return ""
    alone = grid.cell(many[0].series, 1).median_text()
    rounds = f" (rounds: {many[0].median_text()}, with one client {alone})"
    return f"reaches its target in {met} of {trials}{rounds if len(many) == 1 and alone else ''}"


def _most_clients(cells: Sequence[Cell]) -> Cell | None:
    """The cell with the most clients of which something is known; None without a federated one."""
    federated = [c for c in cells if c.clients > 1 and (c.accuracies or c.reaches)]
    return federated[-1] if federated else None


def caveats(grid: Grid) -> list[str]:
    """What a reader has to know before believing any of it."""
    lines = []
    minis = [m for m in grid.models if m.startswith("mini-") and role_of(m)]
    if minis:
        stand = ", ".join(f"{model} for {TITLES[str(role_of(model))]}" for model in minis)
        lines.append(
            f"The models are miniatures that stand for the paper's: {stand}. Whether a shape "
            "appears on them says nothing certain about the originals."
        )
    if grid.most_seeds == 1:
        lines.append("One seed: no spread over seeds is known, and none is shown.")
    elif 1 < grid.most_seeds < numbers.SEEDS_FOR_INTERVAL:
        lines.append(f"{grid.most_seeds} seeds: points are shown rather than intervals.")
    if grid.clients and grid.clients[-1] < 32:
        lines.append(
            f"The largest K here is {grid.clients[-1]}, the paper's is 32: trends over K are "
            "judged as far as this sweep goes."
        )
    early = [t for t in grid.trials if t.ended and t.accuracy is None and t.state == "reached"]
    if early:
        lines.append(
            f"{len(early)} trial{'s' * (len(early) != 1)} stopped at the target before the budget "
            "(stop=target), so no accuracy at the budget is known; stop=budget-then-target runs "
            "on."
        )
    undefined = sorted(
        {f"{t.model} on {t.dataset}" for t in grid.trials if t.state == "target_undefined"}
    )
    if undefined:
        lines.append(
            f"The baseline is not clearly above chance for {', '.join(undefined)}: there is no "
            "target, and retention has no value."
        )
    diverged = [trial.name for trial in grid.trials if trial.state == "diverged"]
    if diverged:
        lines.append(
            f"Diverged, counted as not having reached the target and, where that was before the "
            f"budget, as keeping nothing of the baseline's accuracy: {', '.join(diverged)}."
        )
    disagree = [t.name for t in grid.trials if t.ended and not _agrees(t)]
    if disagree:
        lines.append(
            "MLflow's summary differs from what the rounds there amount to, so it is out of date "
            f"(`fedtune sync` mends that): {', '.join(disagree)}."
        )
    return lines


def _agrees(trial: TrackedTrial) -> bool:
    """Has MLflow's summary the rounds to target that follow from the rounds?"""
    told = trial.tracked.get("summary/rounds_to_target")
    return told == (trial.reach.rounds if trial.reach else None)
