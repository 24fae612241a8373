"""``fedtune status`` and ``fedtune sync``: what the store says, and telling MLflow about it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from fedtune.errors import BadInput, Refusal, first_line
from fedtune.invocation import fedtune_command
from fedtune.plan.plan import Plan
from fedtune.plan.plan_file import OtherEngine, known_plans, load_plan, read_plan
from fedtune.run import closing
from fedtune.run.launch import LaunchResult
from fedtune.terminal import say, say_problem
from fedtune.tracking.names import run_name
from fedtune.tracking.projection import Projection
from fedtune.tracking.uri import writable_uri
from fedtune.trial.folder import TrialFolder
from fedtune.trial.locks import TrialInUse, launched
from fedtune.trial.round_log import DamagedFolder


def print_status(store: Path, sweep: str | None, console: Console) -> int:
    """The table of a sweep's trials as far as they have got; the exit code (2: the latest sweep
    cannot be read, and an earlier one is shown). Raises BadInput for an unknown one.
    """
    left_out: list[Refusal] = []
    plan = load_plan(store, sweep) if sweep else _latest(store, console, left_out)
    report = LaunchResult.of_store(store, plan)
    ended = sum(result.ended for result in report.results)
    whole = len(report.results)
    say(console, f"Sweep [bold]{plan.name}[/]: {ended} of {whole} trials are complete")
    console.print(closing.table(plan, report))
    return _code(left_out)


def sync_store(store: Path, sweep: str | None, uri: str | None, console: Console) -> int:
    """Project one sweep of the store, or all, into MLflow; the exit code (1: MLflow refused,
    2: something in the store is damaged).

    A trial that MLflow does not take whole does not keep the others from it. Of all sweeps, those
    of another engine and those that are damaged are named and left as they are. The latest comes
    last, in MLflow as in the store.
    """
    left_out: list[Refusal] = []
    chosen = [load_plan(store, sweep)] if sweep else _plans(store, console, left_out)
    address = writable_uri(uri)
    refused: list[str] = []
    try:
        for plan in chosen:
            try:
                told = _sync(store, plan, address, refused)
            except DamagedFolder as damage:
                if sweep:
                    raise
                _leave_out(damage, console, left_out)
            else:
                say(console, f"{plan.name}: {told}")
    except Refusal:
        raise
    except Exception as error:  # whatever a database, a network or a store of artifacts raises
        refused.append(f"MLflow refused ({first_line(error)})")
    for line in refused:
        say_problem(console, line)
    if refused:
        again = fedtune_command(*sys.argv[1:])
        say(console, f"Run `{escape(again)}` again when that is mended.")
    return _code(left_out) or int(bool(refused))


def _plans(store: Path, console: Console, left_out: list[Refusal]) -> list[Plan]:
    """Every plan of the store that can be read; the others are named."""
    plans = []
    for path in known_plans(store):
        try:
            plans.append(read_plan(path))
        except BadInput as other:
            _leave_out(other, console, left_out)
    return plans


def _latest(store: Path, console: Console, left_out: list[Refusal]) -> Plan:
    """The latest plan of the store that can be read; later ones are named."""
    later: list[BadInput] = []
    for path in reversed(known_plans(store)):
        try:
            plan = read_plan(path)
        except BadInput as other:
            later.append(other)
            continue
        for damaged in later:
            _leave_out(damaged, console, left_out)
        return plan
    raise later[0]


def _leave_out(why: Refusal, console: Console, left_out: list[Refusal]) -> None:
    left_out.append(why)
    say(console, f"left out: {escape(str(why))}")


def _code(left_out: Sequence[Refusal]) -> int:
    """A plan of another engine is nobody's fault; damage has to be mended."""
    return 0 if all(isinstance(why, OtherEngine) for why in left_out) else 2


def _sync(store: Path, plan: Plan, uri: str, refused: list[str]) -> str:
    """What was done, in words; ``refused`` gets a line for each trial that is not in whole."""
    from mlflow.exceptions import MlflowException

    in_use = {key for key in plan.by_id() if TrialFolder(store, key).in_use} | set(launched(store))
    report, added, at_work = LaunchResult.of_store(store, plan), 0, 0
    projection = Projection(
        uri,
        plan.name,
        plan.axes,
        plan.tags(),
        params=plan.params(),
        called=plan.called(),
        results=lambda: report.results,
        store=store,
        inherit=False,
    )
    projection.open_sweep()
    for result in report.results:
        trial_id = result.trial.trial_id
        if trial_id in in_use and not result.ended:
            at_work += 1
            continue
        if result.records:
            try:
                added += projection.project(result, "FINISHED" if result.ended else "KILLED")
            except TrialInUse:
                at_work += 1  # of another store, which tracks the same sweep
                continue
            except MlflowException:
                raise  # it will not take the others either
            except Exception as error:  # what a store of artifacts raises is up to its library
                name = run_name(result.trial, plan.axes)
                refused.append(f"{name} is not in MLflow whole ({first_line(error)})")
        if trial_id in report.failed:
            projection.set_outcome(result, "failed")
        elif trial_id in report.waiting:
            projection.set_outcome(result, "waiting")
    told = f"{added} rounds added"
    if projection.mended:
        told += f", {_trials(projection.mended)} made anew that stood there twice"
    if at_work:  # the sweep's end is theirs too
        return f"{told}, {_trials(at_work)} left to whoever is at work there"
    projection.close_sweep(report.status, *closing.as_artifacts(plan, report))
    return told


def _trials(number: int) -> str:
    return f"{number} trial{'s' * (number != 1)}"
