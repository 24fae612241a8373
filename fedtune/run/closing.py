"""The table and the sentence a launch ends with."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from fedtune.plan.plan import Plan
from fedtune.run.launch import LaunchResult
from fedtune.run.progress import number
from fedtune.trial.results import Result
from fedtune.units import duration

_COLUMNS = (
    "K",
    "accuracy at budget",
    "of baseline",
    "rounds to target",
    "steps to target",
    "outcome",
    "time",
)


def rows(plan: Plan, report: LaunchResult) -> tuple[list[str], list[list[str]]]:
    """The closing table: its header and a row per trial. What varies beside K comes first."""
    varied: list[str] = [a for a in ("model", "dataset", "seed") if a in plan.axes]
    varied += [a for a in plan.axes if a not in ("clients", *varied)]
    table = []
    for result in sorted(report.results, key=lambda r: (_group(r, varied), r.trial.config.clients)):
        names = [str(getattr(result.trial.config, axis)) for axis in varied]
        table.append(names + _cells(result, report))
    return [*varied, *_COLUMNS], table


def _group(result: Result, varied: Sequence[str]) -> list[tuple[bool, Any]]:
    """Where a row comes: numbers by their size, before words (``all``)."""
    values = (getattr(result.trial.config, axis) for axis in varied)
    return [(isinstance(value, str), value) for value in values]


def _cells(result: Result, report: LaunchResult) -> list[str]:
    summary, rule = result.summary, result.trial.stop_rule
    trial_id = result.trial.trial_id
    seconds = sum(r.get("time/round_s", 0) + r.get("time/eval_s", 0) for r in result.records)
    outcome = outcome_of(result, report.failed, report.waiting)
    clients = str(result.trial.config.clients)
    if summary is None or trial_id in report.failed or trial_id in report.waiting:
        return [clients, "", "", "", "", outcome, duration(seconds) if seconds else ""]
    first, steps = summary.rounds_to_target, summary.steps_to_target
    missed = f"> {rule.last}" if summary.target_accuracy and outcome == "not_reached" else ""
    relative = summary.relative_accuracy
    return [
        clients,
        number(summary.accuracy_at_budget),
        "" if relative is None else f"{100 * relative:.0f} %",
        missed if first is None else str(first),
        ("> " + str(rule.last * result.facts["steps/per_round"]) if missed else "")
        if steps is None
        else str(steps),
        outcome + (", collapsed" if summary.collapsed else ""),
        duration(seconds),
    ]


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


def as_table(header: Sequence[str], body: Sequence[Sequence[str]]) -> Table:
    """For a terminal."""
    table = Table()
    for column in header:
        is_word = column in ("model", "dataset", "outcome")
        table.add_column(column, justify="left" if is_word else "right")
    for row in body:
        table.add_row(*map(escape, row))
    return table


def as_markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """For MLflow's note."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_csv(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """For a file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *body])
    return text.getvalue()


def hints(report: LaunchResult) -> list[str]:
    """Why the table has a gap, where that is the user's to close."""
    early = [r for r in report.results if r.ended and r.summary and r.summary.outcome == "reached"]
    if all(r.summary and r.summary.accuracy_at_budget is not None for r in early):
        return []
    return [
        "Where a trial stopped at its target, its accuracy at the budget is not known; the same "
        "command with --stop budget-then-target runs on to it."
    ]


def as_artifacts(plan: Plan, report: LaunchResult) -> tuple[str, str]:
    """What MLflow gets: the table and the sentence as Markdown, the table as CSV."""
    header, body = rows(plan, report)
    said = sentence(report)
    note = as_markdown(header, body) + (f"\n\n{said}" if said else "")
    return note, as_csv(header, body)


def sentence(report: LaunchResult) -> str:
    """What the comparison with the most clients shows, in words."""
    federated = [r for r in report.results if r.trial.config.clients > 1 and r.summary]
    if not federated:
        return ""
    result = max(federated, key=lambda r: r.trial.config.clients)
    summary, config = result.summary, result.trial.config
    assert summary is not None
    baseline_id = result.trial.baseline_id
    baseline = next((r for r in report.results if r.trial.trial_id == baseline_id), None)
    if baseline is None:  # in a Tune script of one's own
        return ""
    spread = f"Spread over {config.clients} clients, {config.model}"
    one = _rounds_and_steps(baseline)
    match outcome_of(result, report.failed, report.waiting):
        case "reached":
            text = (
                f"{spread} reaches the target of {number(summary.target_accuracy)} on "
                f"{config.dataset} after {_rounds_and_steps(result)}; one client needs {one}."
            )
        case "not_reached":
            text = (
                f"{spread} does not reach the target of {number(summary.target_accuracy)} on "
                f"{config.dataset} within {result.trial.stop_rule.last} rounds (it ends at "
                f"{number(result.records[-1].get(result.trial.stop_rule.metric))}); one client "
                f"needs {one}."
            )
        case "target_undefined":
            text = (
                f"The baseline on {config.dataset} ends at {number(summary.baseline_accuracy)}, "
                f"which is not clearly above chance ({number(summary.chance)}), so there is no "
                "target to reach: raise learning_rate, budget_rounds or train_examples."
            )
        case "diverged":
            text = (
                f"{spread} diverged on {config.dataset} ({result.diverged}): lower learning_rate."
            )
        case _:
            return ""
    return text


def _rounds_and_steps(result: Result) -> str:
    summary = result.summary
    if summary is None or summary.rounds_to_target is None:
        return "more rounds than its budget"
    rounds, steps = summary.rounds_to_target, summary.steps_to_target
    return f"{rounds} round{'s' if rounds > 1 else ''} ({steps:,} sequential steps)"
