"""The table that a launch ends with: on a screen, in MLflow's note, and as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedtune.plan.plan import Plan
from fedtune.run.launch import LaunchResult
from fedtune.run.sentences import sentences
from fedtune.tables import Column, FittedTable, Kind
from fedtune.tracking.names import brief
from fedtune.trial.results import Result
from fedtune.units import duration, number

#: What a narrow screen keeps longest: K and the accuracy, which it always has, then by this order.
_RANKS = {"rounds to target": 1, "outcome": 2, "of baseline": 3, "time": 4, "steps to target": 5}
_KINDS: Mapping[str, Kind] = {"model": "name", "dataset": "name", "outcome": "text"}
_COLUMNS = (
    *("K", "accuracy at budget", "of baseline", "rounds to target", "steps to target"),
    *("outcome", "time"),
)
_CSV_COLUMNS = (
    *("clients", "accuracy", "accuracy_round", "relative_accuracy", "target_accuracy"),
    *("rounds_to_target", "steps_to_target", "outcome", "collapsed", "last_round", "seconds"),
)


def table(plan: Plan, report: LaunchResult) -> FittedTable:
    """For a terminal."""
    header, body = rows(plan, report)
    columns = []
    for name, *cells in zip(header, *body, strict=True):
        short = None
        if name in ("model", "dataset"):
            short = [brief(Path(cell).name) for cell in cells]
        elif name in ("accuracy at budget", "of baseline"):
            short = [cell.replace(" (", "\n(") for cell in cells]
        columns.append(
            Column(
                name,
                cells,
                kind=_KINDS.get(name, "number"),
                rank=_RANKS.get(name, 0),
                key=name not in _COLUMNS or name == "K",
                short=short,
            )
        )
    return FittedTable(columns)


def rows(plan: Plan, report: LaunchResult) -> tuple[list[str], list[list[str]]]:
    """The closing table: its header and a row per trial. What varies beside K comes first."""
    varied, results = _ordered(plan, report)
    body = [_axes(result, varied) + _cells(result, report) for result in results]
    return [*varied, *_COLUMNS], body


def as_artifacts(plan: Plan, report: LaunchResult) -> tuple[str, str]:
    """What MLflow gets: the table and the sentences as Markdown, the numbers as CSV."""
    note = as_markdown(*rows(plan, report))
    said = sentences(plan, report)
    return "\n\n".join([note, *said]), as_csv(plan, report)


def as_markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """For MLflow's note."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_csv(plan: Plan, report: LaunchResult) -> str:
    """For programs: one number in a cell, nothing where there is none."""
    varied, results = _ordered(plan, report)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*varied, *_CSV_COLUMNS])
    for result in results:
        writer.writerow([*_axes(result, varied), *_numbers(result, report)])
    return text.getvalue()


def outcome_of(result: Result, failed: Mapping[str, str], waiting: Mapping[str, str]) -> str:
    """One word for how a trial stands."""
    trial_id = result.trial.trial_id
    if trial_id in failed:
        return "failed"
    if trial_id in waiting:
        return "waiting"
    if result.diverged:
        return "diverged"
    if result.summary is None:
        return "not started"
    if result.summary.outcome is not None:
        return result.summary.outcome
    return "done" if result.ended else f"at round {result.records[-1]['round']}"


def _ordered(plan: Plan, report: LaunchResult) -> tuple[list[str], list[Result]]:
    """The axes that vary beside K, and the results sorted by them and by K."""
    varied: list[str] = [a for a in ("model", "dataset", "seed") if a in plan.axes]
    varied += [a for a in plan.axes if a not in ("clients", *varied)]
    return varied, sorted(
        report.results, key=lambda r: (_group(r, varied), r.trial.config.num_clients)
    )


def _group(result: Result, varied: Sequence[str]) -> list[tuple[bool, Any]]:
    """Where a row comes: numbers by their size, before words (``all``)."""
    values = (result.trial.config.called(axis) for axis in varied)
    return [(isinstance(value, str), value) for value in values]


def _axes(result: Result, varied: Sequence[str]) -> list[str]:
    return [str(result.trial.config.called(axis)) for axis in varied]


def _cells(result: Result, report: LaunchResult) -> list[str]:
    summary, rule = result.summary, result.trial.stop_rule
    outcome = outcome_of(result, report.failed, report.waiting)
    clients, seconds = str(result.trial.config.num_clients), _seconds(result)
    if summary is None or not _counts(result, report):
        return [clients, "", "", "", "", outcome, duration(seconds) if seconds else ""]
    first, steps, shown = summary.rounds_to_target, summary.steps_to_target, summary.shown
    missed = f"> {rule.last}" if summary.target_accuracy and outcome == "not_reached" else ""
    relative = shown.relative if shown else None
    return [
        clients,
        number(shown.accuracy) + shown.mark if shown else "",
        "" if relative is None or shown is None else f"{100 * relative:.0f} %{shown.mark}",
        missed if first is None else str(first),
        (f"> {result.records[-1]['steps/sequential']}" if missed else "")
        if steps is None
        else str(steps),
        outcome + (", collapsed" if summary.collapsed else ""),
        duration(seconds),
    ]


def _numbers(result: Result, report: LaunchResult) -> list[Any]:
    """A row of the CSV file."""
    summary = result.summary if _counts(result, report) else None
    shown = summary.shown if summary else None
    return [
        result.trial.config.num_clients,
        *((shown.accuracy, shown.round_num, shown.relative) if shown else (None, None, None)),
        *(
            (summary.target_accuracy, summary.rounds_to_target, summary.steps_to_target)
            if summary
            else (None, None, None)
        ),
        outcome_of(result, report.failed, report.waiting),
        str(summary.collapsed).lower() if summary else None,
        result.records[-1]["round"] if result.records else None,
        round(_seconds(result), 1),
    ]


def _counts(result: Result, report: LaunchResult) -> bool:
    """Do its rounds mean something? Not of a trial that failed, or whose baseline did."""
    return result.trial.trial_id not in (report.failed.keys() | report.waiting.keys())


def _seconds(result: Result) -> float:
    return float(sum(r.get("time/round_s", 0) + r.get("time/eval_s", 0) for r in result.records))
