"""``fedtune status`` and ``fedtune sync``: what the store says, and telling MLflow about it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from fedtune.errors import first_line
from fedtune.sweep import closing
from fedtune.sweep.launch import Report
from fedtune.sweep.plan import Plan, load_plan, read_plan
from fedtune.tracking.names import run_name
from fedtune.tracking.projection import Projection
from fedtune.tracking.uri import resolve_uri
from fedtune.trial.folder import TrialFolder
from fedtune.trial.results import read_result


def print_status(store: Path, sweep: str | None, console: Console) -> None:
    """The table of a sweep's trials as far as they have got. Raises BadInput for an unknown one."""
    plan = load_plan(store, sweep)
    report = _report(store, plan)
    ended = sum(result.ended for result in report.results)
    console.print(
        f"Sweep [bold]{plan.name}[/]: {ended} of {len(report.results)} trials are complete",
        highlight=False,
    )
    console.print(closing.as_table(*closing.rows(plan, report)))


def sync_store(store: Path, sweep: str | None, uri: str | None, console: Console) -> int:
    """Project one sweep of the store, or all, into MLflow; the exit code (1: MLflow refused).

    A trial that MLflow does not take whole does not keep the others from it.
    """
    load_plan(store, sweep)  # says what is wrong where there is nothing to sync
    chosen = (
        [load_plan(store, sweep)]
        if sweep
        else [read_plan(path) for path in sorted((store / "sweeps").glob("*.yaml"))]
    )
    refused: list[str] = []
    try:
        for plan in chosen:
            added = _sync(store, plan, resolve_uri(uri), refused)
            console.print(f"{plan.name}: {added} rounds added", highlight=False)
    except Exception as error:  # whatever a database, a network or a store of artifacts raises
        refused.append(f"MLflow refused ({first_line(error)})")
    for line in refused:
        console.print(f"[red]problem:[/] {escape(line)}", soft_wrap=True, highlight=False)
    if refused:
        console.print("Run `fedtune sync` again when that is mended.")
    return int(bool(refused))


def _sync(store: Path, plan: Plan, uri: str, refused: list[str]) -> int:
    """How many rounds were added; ``refused`` gets a line for each trial that is not in whole."""
    from mlflow.exceptions import MlflowException

    projection = Projection(uri, plan.name, plan.axes, plan.tags(), inherit=False)
    projection.open_sweep()
    report, added = _report(store, plan), 0
    for result in report.results:
        if result.records:
            try:
                added += projection.project(result, "FINISHED" if result.ended else "KILLED")
            except MlflowException:
                raise  # it will not take the others either
            except Exception as error:  # what a store of artifacts raises is up to its library
                name = run_name(result.trial, plan.axes)
                refused.append(f"{name} is not in MLflow whole ({first_line(error)})")
        if result.trial.trial_id in report.failed:
            projection.set_outcome(result.trial, "failed")
        elif result.trial.trial_id in report.waiting:
            projection.set_outcome(result.trial, "waiting")
    projection.close_sweep("FINISHED", *closing.as_artifacts(plan, report))
    return added


def _report(store: Path, plan: Plan) -> Report:
    results = tuple(read_result(store, t, plan.baseline_of(t)) for t in plan.trials)
    failed = {
        result.trial.trial_id: str(TrialFolder(store, result.trial.trial_id).failure)
        for result in results
        if not result.ended and TrialFolder(store, result.trial.trial_id).failure.is_file()
    }
    stuck = failed.keys() | {r.trial.trial_id for r in results if r.diverged}
    waiting = {
        r.trial.trial_id: "its baseline failed"
        for r in results
        if not r.ended and r.trial.config.clients > 1 and r.trial.baseline_id in stuck
    }
    return Report(results, failed, waiting, {})
