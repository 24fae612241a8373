"""From a sweep to its closing table: what ``fedtune run`` and ``fedtune sweep`` do and print."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fedtune.sweep import closing, estimate
from fedtune.sweep.launch import Launch, Report
from fedtune.sweep.plan import Plan, make_plan, warnings_of
from fedtune.sweep.progress import Lines, Progress, Screen, duration
from fedtune.sweep.sweepfile import SweepSpec
from fedtune.tracking.names import run_name
from fedtune.tracking.projection import Projection, resolve_uri
from fedtune.tracking.writer import Writer
from fedtune.trial.prepare import Trial, data_facts


@dataclass(frozen=True)
class Options:
    """How a sweep is launched, apart from what it computes."""

    store: Path
    tracking_uri: str | None = None
    address: str | None = None
    use_ray: bool = True
    log_model: bool = False


def run_sweep(spec: SweepSpec, options: Options, console: Console) -> int:
    """Plan, run and close a sweep; the exit code. Raises BadInput before anything has started.

    A KeyboardInterrupt ends in 130 with everything that is complete kept, and the command that
    resumes is printed.
    """
    plan = make_plan(spec, progress=console.is_terminal)
    print_plan(plan, spec, console)
    launch_store = options.store.absolute()
    uri = resolve_uri(options.tracking_uri)
    progress: Progress = Screen(plan, console) if console.is_terminal else Lines(plan, console)
    writer = Writer(lambda: Projection(uri, plan.name, plan.axes), launch_store, plan.by_id())
    launch = Launch(plan, launch_store, progress, writer)
    if launch.todo:
        _print_expectation(plan, launch, options, console)
    else:
        console.print("Every trial has all its rounds already; nothing to run.")
    try:
        report = launch.run(_runner(options))
    except KeyboardInterrupt:
        if writer.projection:
            writer.projection.close_sweep("KILLED")
        console.print(
            "\nInterrupted. Every complete round is kept; the same command goes on from there:\n"
            f"  {shlex.join(['fedtune', *sys.argv[1:]])}",
            soft_wrap=True,
        )
        return 130
    if options.log_model and writer.projection:
        from fedtune.tracking.model_logging import log_final_model

        for trial in plan.trials:
            log_final_model(writer.projection, launch_store, trial)
    close(plan, report, writer, console)
    return report.exit_code


def dry_run(spec: SweepSpec, console: Console) -> None:
    """Print what a sweep would run and cost. Runs nothing but a short calibration."""
    plan = make_plan(spec, progress=console.is_terminal)
    print_plan(plan, spec, console)
    rates = estimate.calibrate(plan.trials)
    costs = [estimate.cost(trial, rates) for trial in plan.trials]
    table = Table()
    for column in ("trial", "id"):
        table.add_column(column, no_wrap=True)
    for column in ("rounds", "steps", "traffic", "memory", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for trial, cost in zip(plan.trials, costs, strict=True):
        most = "" if trial.config.clients == 1 else "≤ "
        table.add_row(
            run_name(trial, plan.axes),
            trial.trial_id,
            f"{most}{cost.rounds}",
            f"{most}{cost.steps:,}",
            f"{most}{_size(cost.traffic_bytes)}" if cost.traffic_bytes else "0",
            _size(cost.memory_bytes),
            f"{most}{duration(cost.seconds or 0)}",
        )
    console.print(table)
    total = estimate.wall_time(plan.trials, costs)
    console.print(f"At most about {duration(total)} on this machine. Nothing was started.")


def print_plan(plan: Plan, spec: SweepSpec, console: Console) -> None:
    """What is about to be trained on what, what every ``auto`` became, and warnings."""
    federated = sum(trial.config.clients > 1 for trial in plan.trials)
    baselines = len(plan.trials) - federated
    console.print(
        f"Sweep [bold]{plan.name}[/]: {baselines} baseline{'s' * (baselines > 1)} (K = 1) and "
        f"{federated} federated trial{'s' * (federated != 1)}",
        highlight=False,
    )
    for line in dict.fromkeys(_describe(plan)):
        console.print(f"  {line}", soft_wrap=True, highlight=False)
    for line in warnings_of(plan, spec):
        console.print(f"[yellow]warning:[/] {line}", soft_wrap=True, highlight=False)


def _describe(plan: Plan) -> list[str]:
    lines = []
    for trial in plan.trials:
        config, facts = trial.config, data_facts(trial)
        lines.append(
            f"{config.dataset}: {facts['data/train_examples']:,} training and "
            f"{facts['data/test_examples']:,} test texts, {facts['data/num_classes']} classes, "
            f"chance {facts['summary/chance']:.3f}"
        )
        lines.append(
            f"{config.model}: {facts['model/layers']} layers, learning_rate "
            f"{config.learning_rate:g}, budget_rounds {config.budget_rounds}, max_rounds "
            f"{config.max_rounds}, precision {config.precision}, device {config.device}, "
            f"threads {config.threads}"
        )
    return sorted(dict.fromkeys(lines), key=lambda line: "layers" in line)


def _print_expectation(plan: Plan, launch: Launch, options: Options, console: Console) -> None:
    if options.address is None:
        rates = estimate.calibrate(launch.todo)
        costs = [estimate.cost(trial, rates) for trial in launch.todo]
        expected = duration(estimate.wall_time(launch.todo, costs))
        console.print(f"At most about {expected} of computing on this machine.", highlight=False)


def _runner(options: Options) -> Callable[[Launch], None]:
    if not options.use_ray:
        from fedtune.sweep.local import run_here

        return run_here

    def run(launch: Launch) -> None:
        from fedtune.sweep.tuner import run_with_ray

        run_with_ray(launch, options.address)

    return run


def close(plan: Plan, report: Report, writer: Writer, console: Console) -> None:
    """Print the closing table, what it shows, what went wrong, and where MLflow has the curves."""
    header, body = closing.rows(plan, report)
    console.print(closing.as_table(header, body))
    said = closing.sentence(plan, report)
    if said:
        console.print(said, soft_wrap=True, highlight=False)
    by_id = plan.by_id()
    for trial_id, reason in report.failed.items():
        _problem(console, f"{_short(by_id, trial_id)} failed: {reason}")
    for trial_id in report.waiting:
        _problem(console, f"{_short(by_id, trial_id)} could not start: its baseline failed")
    for trial_id, reason in report.not_tracked.items():
        _problem(console, f"{_short(by_id, trial_id)} is not in MLflow whole ({reason})")
    if report.not_tracked:
        console.print("Its rounds are on disk; `fedtune sync` brings MLflow up to date.")
    projection = writer.projection
    if projection is None:
        return
    status = "FAILED" if report.failed or report.waiting else "FINISHED"
    markdown = closing.as_markdown(header, body) + (f"\n\n{said}" if said else "")
    projection.close_sweep(status, markdown, closing.as_csv(header, body))
    console.print(f"\nCurves, side by side: {projection.charts_url}", soft_wrap=True)
    if projection.uri.startswith("sqlite"):
        console.print(f"  (start MLflow first: {ui_command(projection.uri)})", soft_wrap=True)


def ui_command(uri: str) -> str:
    """The command that shows a local tracking database."""
    here = f"sqlite:///{Path('mlflow.db').absolute()}"
    return "mlflow ui" if uri == here else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"


def _short(by_id: Mapping[str, Trial], trial_id: str) -> str:
    return f"{run_name(by_id[trial_id])} ({trial_id})"


def _problem(console: Console, text: str) -> None:
    console.print(f"[red]problem:[/] {text}", soft_wrap=True, highlight=False)


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"
