"""What a reader wants in a minute: what federation costs each model, in words and in a table."""

from __future__ import annotations

from collections.abc import Sequence

from fedtune.analysis import numbers
from fedtune.analysis.cell import Cell
from fedtune.analysis.drawing import labels
from fedtune.analysis.grid import Grid
from fedtune.analysis.levels import Comparison, Reached, comparisons, stopped_early
from fedtune.analysis.table import Table, Value
from fedtune.analysis.tables import points, tenths, x_columns, x_value
from fedtune.analysis.tracked import Reach, TrackedTrial


def cost(grid: Grid) -> Table:
    """Accuracy and rounds of each model and data set, at K = 1 and at its largest K, or at all that
    runs along x.
    """
    rows: list[list[Value]] = []
    early = False
    for series in grid.series:
        for found in comparisons(grid, series):
            early |= bool(found.many.rounds)
            rows.append(_cost_row(grid, found))
    note = _about_cost(grid.most_seeds)
    note += (
        " Accuracies with a round are the last ones of trials that ended before the budget, and "
        "points lost are up to that round, against K = 1 at the budget."
    ) * early
    return Table(
        "cost",
        "What federation costs",
        note,
        [
            *(
                "model",
                "data set",
                *x_columns(grid),
                "accuracy, K = 1",
                "accuracy, this K",
                "points lost",
            ),
            *("rounds, K = 1", "rounds, this K", "reached"),
        ],
        rows,
    )


def _cost_row(grid: Grid, found: Comparison) -> list[Value]:
    return [
        found.spread.series.label,
        found.spread.series.dataset,
        *x_value(grid, found.spread),
        _accuracy(found.one),
        _accuracy(found.many),
        _points(found),
        _rounds(found.alone),
        _rounds(found.spread),
        found.spread.reached_text() or _no_target(found.spread),
    ]


def _about_cost(num_seeds: int) -> str:
    rounds = "Rounds to target are medians; what was not reached is > cap."
    if num_seeds >= numbers.SEEDS_FOR_INTERVAL:
        return (
            "Means over seeds, at the budget. Percentage points lost are paired by seed, in "
            f"brackets the 95 % interval. {rounds}"
        )
    if num_seeds > 1:
        return (
            "Means over seeds, at the budget. Percentage points lost are paired by seed: ± is the "
            "95 % interval, over seeds and test texts; in brackets the range over seeds. "
            f"{rounds}"
        )
    return (
        "At the budget. Percentage points lost: ± is what the test set alone leaves open (95 %), "
        "since one seed does not tell how much another would differ. A target that was not "
        "reached is > cap."
    )


def _accuracy(reached: Reached) -> Value:
    """A plain number where there is nothing more to say of it."""
    mean = reached.sample.mean if reached.known else None
    text = reached.text()
    return mean if mean is not None and text == f"{mean:.3f}" else text or None


def _points(found: Comparison) -> str:
    if found.one.at_chance:
        return "nothing learned"
    return points(found.less) or ("diverged" if found.many.has_diverged else "")


def _rounds(cell: Cell) -> str:
    return cell.median_text() or _no_target(cell)


def _no_target(cell: Cell) -> str:
    """Said where the trials have ended, and there was nothing to reach."""
    return "no target" if cell.trials and all(t.ended for t in cell.trials.values()) else ""


def sentences(grid: Grid) -> list[str]:
    """One sentence for each model: accuracy lost at its largest K, and rounds to target."""
    found = (_sentence(grid, label) for label in labels(grid))
    return [sentence for sentence in found if sentence]


def _sentence(grid: Grid, label: str) -> str:
    of_label = [series for series in grid.series if series.label == label]
    found = [row for series in of_label for row in comparisons(grid, series)]
    if not found:
        return ""
    clients = max(row.spread.clients for row in found)
    found = [row for row in found if row.spread.clients == clients]
    compared = [row for row in found if not row.one.at_chance]
    told = [
        *_losses(compared),
        *(part for row in compared if (part := _fails(row))),
        *([reaches] if (reaches := _reaches(compared)) else []),
    ]
    parts = [f"spread over {clients} clients, {label} {_listed(told)}"] if told else []
    nothing = [row for row in found if row.one.at_chance]
    if nothing:
        where = _listed([_nothing(row) for row in nothing])
        start = "with one client it" if told else f"with one client, {label}"
        parts.append(f"{start} learns nothing on {where}, so there is no target to reach")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _nothing(row: Comparison) -> str:
    """For example: toy (0.310, which is chance; spread over 8 0.305)."""
    told, many = row.one.text(), row.many
    what = many.mean_text() if many.known else many.text()
    also = f"; spread over {row.spread.clients} {what}" if what else ""
    return f"{row.where} ({told}{also})"


def _fails(row: Comparison) -> str:
    """Said of trials that learned nothing, fell back to chance or diverged; else nothing."""
    dataset, many = row.where, row.many
    if many.has_diverged:
        return f"diverges on {dataset}{many.text().removeprefix('diverged')}"
    if not many.at_chance:
        return ""
    verb = "learns nothing" if many.never_learned else "ends at chance"
    return f"{verb} on {dataset} ({many.text() if many.never_learned else many.mean_text()})"


def _losses(found: Sequence[Comparison]) -> list[str]:
    """For example: is 1.2 (ag-news) to 4.5 (imdb) points less accurate at the budget.

    What ended before the budget is told by itself, with its round.
    """
    known = [row for row in found if row.less.values and not row.many.at_chance]
    whole = [(row.less.mean, row.where) for row in known if not row.many.rounds]
    early = [(row.less.mean, f"{row.where}, {row.many.rounds}") for row in known if row.many.rounds]
    told = []
    if whole:
        single = f" ({whole[0][1]})" if len(whole) == 1 else ""
        told.append(f"is {_than(whole, ' at the budget', '')}{single}")
    if early:
        single = f" ({early[0][1]})" if len(early) == 1 else ""
        told.append(f"ends {_than(early, single, ' at its budget')}")
    return told


def _than(losses: Sequence[tuple[float, str]], when: str, base: str) -> str:
    """For example: 1.2 points less accurate at the budget than one client."""
    if {tenths(abs(less)) for less, _ in losses} == {"0.0"}:
        return f"as accurate{when} as one client{base}"
    return f"{_span(losses)} accurate{when} than one client{base}"


def _span(losses: Sequence[tuple[float, str]]) -> str:
    (least, here), (most, there) = min(losses), max(losses)
    if tenths(least) == tenths(most):
        return _apart(most)
    if least >= 0:
        return f"{tenths(least)} ({here}) to {tenths(most)} ({there}) points less"
    if most <= 0:
        return f"{tenths(-most)} ({there}) to {tenths(-least)} ({here}) points more"
    return f"between {_apart(least)} ({here}) and {_apart(most)} ({there})"


def _apart(less: float) -> str:
    return f"{tenths(abs(less))} points {'less' if less >= 0 else 'more'}"


def _reaches(found: Sequence[Comparison]) -> str:
    reaches = [reach for row in found for reach in row.spread.reaches.values()]
    if not reaches:
        return ""
    alone = found[0].alone.median_text()
    if len(reaches) == 1:
        return _reaches_once(reaches[0], alone)
    met = sum(reach.rounds is not None for reach in reaches)
    rounds = f" (rounds: {found[0].spread.median_text()}, with one client {alone})"
    told = f"reaches its target in {met} of {len(reaches)} trials"
    return told + (rounds if len(found) == 1 and alone else "")


def _reaches_once(reach: Reach, alone: str) -> str:
    than = f" (one client: {alone})" if alone else ""
    if reach.rounds is None:
        return f"does not reach its target within {_count(reach.cap)}{than}"
    return f"reaches its target after {_count(reach.rounds)}{than}"


def _count(rounds: int) -> str:
    return f"{rounds} round{'s' * (rounds != 1)}"


def _listed(parts: Sequence[str]) -> str:
    """For example: this, that, and those."""
    return f"{', '.join(parts[:-1])}, and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def caveats(grid: Grid) -> list[str]:
    """What a reader has to know before believing any of it."""
    lines = []
    if grid.most_seeds == 1:
        lines.append(
            "One seed: no spread over seeds is known, so no difference here is shown to be more "
            "than chance."
        )
    elif 1 < grid.most_seeds < numbers.SEEDS_FOR_INTERVAL:
        lines.append(
            f"{grid.most_seeds} seeds: figures show every one; intervals in tables are wide, since "
            "so few hardly tell how much another would differ."
        )
    early = [trial for trial in grid.trials if stopped_early(trial)]
    if early:
        lines.append(
            f"{len(early)} trial{'s' * (len(early) != 1)} stopped before the budget "
            "(stop=target), so the accuracy shown is the last one, with its round. Ranks and "
            "retention need the budget's; stop=budget-then-target runs on to it."
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
