"""From a sweep to its closing table: what ``fedtune run`` and ``fedtune sweep`` do and print."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from fedtune.cost.launch_cost import LaunchCost
from fedtune.cost.resources import this_machine
from fedtune.errors import BadInput, Fault, check_writable
from fedtune.invocation import fedtune_command
from fedtune.machine import Machine, available_cores
from fedtune.plan.plan import Plan, make_plan
from fedtune.plan.plan_file import earlier_plan
from fedtune.plan.sweepfile import SweepSpec
from fedtune.redaction import redacted
from fedtune.run import closing
from fedtune.run.announcing import measuring, print_expectation, print_plan
from fedtune.run.launch import Launch, LaunchResult
from fedtune.run.links import print_links
from fedtune.run.progress import Lines, Progress, Silent
from fedtune.run.screen import Screen
from fedtune.run.sentences import sentences
from fedtune.run.spread import print_spread
from fedtune.terminal import say, say_problem
from fedtune.tracking.names import LAUNCHED, run_name
from fedtune.tracking.uri import resolve_uri, writable_uri
from fedtune.tracking.writer import Writer
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.results import Result
from fedtune.trial.round_log import DamagedFolder

if TYPE_CHECKING:
    from fedtune.tracking.projection import Projection

#: Seconds that MLflow has for a model, of which nothing is heard while it travels.
MODELS_S = 180.0


@dataclass(frozen=True)
class Options:
    """How a sweep is launched, apart from what it computes.

    ``of_project`` is told by fedtune's MLproject: the run of `mlflow run` is the sweep's.
    ``say_why`` is called where the user or a scheduler ends it, before what there is is shown.
    """

    store: Path
    tracking_uri: str | None = None
    address: str | None = None
    use_ray: bool = True
    log_model: bool = False
    of_project: bool = False
    say_why: Callable[[], None] = lambda: None

    @property
    def on_cluster(self) -> bool:
        return self.address is not None


def run_sweep(spec: SweepSpec, options: Options, console: Console) -> int:
    """Plan, run and close a sweep; the exit code. Raises BadInput before anything has started.

    Whatever interrupts it goes through, with everything complete kept and the sweep's run in
    MLflow closed.
    """
    store, uri = options.store.absolute(), writable_uri(options.tracking_uri)
    check_writable("store", store)
    plan = make_plan(spec, store, elsewhere=options.on_cluster, progress=console.is_terminal)
    stopped = partial(_print_partial, plan, store, console, options)
    progress: Progress = (
        Screen(plan, store, console, stopped)
        if console.is_interactive  # not a pipe, and not a terminal that cannot move its cursor
        else Lines(plan, console, stopped)
    )
    launch = Launch(plan, store, progress, None)
    if not options.on_cluster:
        _check_threads(launch)
    print_plan(plan, spec, store, console)
    launched = {LAUNCHED: str(round(1000 * time.time()))}

    def whole_plan() -> Plan:
        # With earlier launches of a sweep that grows, unless the store was removed meanwhile.
        return earlier_plan(store, plan.name) or plan

    def connect(on_step: Callable[[], None]) -> Projection:
        from fedtune.tracking.projection import Projection

        projection = Projection(
            uri,
            plan.name,
            results=lambda: LaunchResult.of_store(store, whole_plan()).results,
            store=store,
            of_project=options.of_project,
            on_step=on_step,
        )
        projection.check_free(launch.begun_ms())
        return projection

    def describe(projection: Projection) -> None:
        whole = whole_plan()
        tags = whole.tags() | launched
        projection.describe(whole.axes, whole.params(), whole.called(), tags)

    launch.writer = writer = Writer(connect, store, plan.by_id(), describe)
    try:
        report = _run(launch, options, console)
        print_closing(plan, report, console)
        whole, told = _whole(plan, report, store)
    except BaseException as ended:  # Ctrl-C, and SystemExit, which Ray makes of a SIGTERM
        _conclude(writer, "FAILED" if isinstance(ended, Exception) else "KILLED", console)
        raise
    models = partial(_log_models, store, report.results) if options.log_model else None
    tracked = _conclude(writer, told.status, console, closing.as_artifacts(whole, told), models)
    return report.exit_code or (0 if tracked else 1)


def _whole(plan: Plan, report: LaunchResult, store: Path) -> tuple[Plan, LaunchResult]:
    """What MLflow is told of at the end: of a sweep that grows the trials of earlier launches too,
    as `fedtune sync` tells it.
    """
    whole = earlier_plan(store, plan.name) if plan.grows else None
    if whole is None:  # or the store was removed meanwhile
        return plan, report
    stored = LaunchResult.of_store(store, whole)
    failed, waiting = ({**stored.failed, **report.failed}, {**stored.waiting, **report.waiting})
    return whole, replace(stored, failed=failed, waiting=waiting)


def _run(launch: Launch, options: Options, console: Console) -> LaunchResult:
    from fedtune.run.in_process import run_here

    if not launch.todo:
        console.print("Every trial has all its rounds already; nothing to run.")
        _await_mlflow(launch, options, console)
        return launch.run(run_here)
    here = _machine(launch, options)
    # Before anything else of the launch runs, or it would be found slower than it is.
    with measuring(console):
        cost = _cost(launch, here, parallel=options.use_ray) if here else None
    if cost:
        launch.progress.expect(cost)
        print_expectation(cost, console)
    if not options.use_ray:
        _await_mlflow(launch, options, console)
        return launch.run(run_here)
    console.print("Starting Ray …")
    if launch.writer:
        launch.writer.begin()  # Ray takes seconds to start, and so does MLflow
    from fedtune.run.tuner import ray_cluster, requests_of, run_with_ray

    with ray_cluster(options.address, here) as machine:
        requests = requests_of(launch, machine)
        _await_mlflow(launch, options, console)
        reuse = not (cost and cost.trials_are_long)
        own = machine is not None
        return launch.run(partial(run_with_ray, requests=requests, own=own, reuse=reuse))


def _await_mlflow(launch: Launch, options: Options, console: Console) -> None:
    """Look whether MLflow can be written to, before the first round. Raises BadInput where that
    will not pass by itself, and TrialInUse where another store tracks the same trials.
    """
    problem = launch.writer.ready() if launch.writer else None
    if problem:
        sync = fedtune_command("sync")
        where = redacted(resolve_uri(options.tracking_uri))
        say(
            console,
            f"[yellow]warning:[/] MLflow at {escape(where)} does not answer ({escape(problem)}). "
            "Trials run all the same; what is not tracked when they have ended, "
            f"`{escape(sync)}` brings in.",
        )


def _cost(launch: Launch, machine: Machine | None, *, parallel: bool) -> LaunchCost:
    return LaunchCost.of(launch.plan, launch.todo, launch.store, machine, parallel=parallel)


def _machine(launch: Launch, options: Options) -> Machine | None:
    """This machine as the launch finds it; None where that runs on a cluster."""
    if options.on_cluster:
        return None
    return this_machine(launch.todo, with_ray=options.use_ray)


def dry_run(spec: SweepSpec, options: Options, console: Console) -> None:
    """Print what a sweep would run and cost. Runs nothing but a short calibration."""
    store = options.store.absolute()
    plan = make_plan(spec, store, elsewhere=options.on_cluster, progress=console.is_terminal)
    launch = Launch(plan, store, Silent(), None)
    if not options.on_cluster:
        _check_threads(launch)
    print_plan(plan, spec, store, console)
    with measuring(console):
        expected = _cost(launch, _machine(launch, options), parallel=options.use_ray)
    console.print(expected.table())
    print_spread(plan, console)
    for line in [*expected.lines(), "Nothing was started."]:
        say(console, escape(line))


def _check_threads(launch: Launch) -> None:
    """Raise BadInput where a trial that lacks rounds has more threads than this machine cores, and
    DamagedFolder where its rounds were computed with others than it is said to have.
    """
    cores = available_cores()
    faults: dict[tuple[int, bool], Fault] = {}
    for trial in launch.todo:
        threads = int(trial.config.threads)
        begun = TrialFolder(launch.store, trial.trial_id).has_rounds
        message = (
            f"trial {trial.trial_id} was begun with so many, and this machine has {cores} cores; "
            "go on where there are more, or begin anew in another --store"
            if begun
            else f"allowed is at most {cores}, the cores of this machine"
        )
        if threads > cores:
            faults.setdefault((threads, begun), Fault("threads", threads, message))
    if faults:
        raise BadInput(faults.values())
    for trial in launch.todo:
        TrialFolder(launch.store, trial.trial_id).check_machine()


def print_closing(plan: Plan, report: LaunchResult, console: Console) -> None:
    """The closing table, what it shows, and what went wrong."""
    console.print(closing.table(plan, report))
    for said in sentences(plan, report):
        say(console, escape(said))
    by_id = plan.by_id()
    for trial_id, reason in report.failed.items():
        say_problem(console, f"{_short(by_id, trial_id)} failed: {reason}")
    for trial_id, reason in report.waiting.items():
        say_problem(console, f"{_short(by_id, trial_id)} could not start: {reason}")
    for trial_id, reason in report.not_tracked.items():
        say_problem(console, f"{_short(by_id, trial_id)} is not in MLflow whole ({reason})")
    if report.not_tracked:
        sync = fedtune_command("sync")
        say(console, f"Its rounds are on disk; `{escape(sync)}` brings MLflow up to date.")


def _print_partial(plan: Plan, store: Path, console: Console, options: Options) -> None:
    """Why a launch ended before its time, and the table as far as it has got."""
    options.say_why()
    with suppress(DamagedFolder):  # it would hide what ended the launch
        report = LaunchResult.of_store(store, plan)
        if any(result.records for result in report.results):
            console.print(closing.table(plan, report))


def _conclude(
    writer: Writer,
    status: str,
    console: Console,
    table: tuple[str, str] = ("", ""),
    models: Callable[[Projection], None] | None = None,
) -> bool:
    """End the sweep's run in MLflow and say where the curves are; False where MLflow refused, or
    did not answer in time.
    """
    projection = writer.projection
    if projection is None:
        return True  # nothing reached MLflow, and the report says so
    why = writer.conclude(models, MODELS_S) if models else None
    why = why or writer.conclude(lambda opened: opened.close_sweep(status, *table))
    if why:
        sync = fedtune_command("sync")
        text = f"the sweep's run in MLflow is not complete ({why}); `{sync}` completes it"
        say_problem(console, text)
        return False
    if table[0] and status != "FAILED":
        console.print()
        report = fedtune_command("report")
        say(console, f"`{escape(report)}` makes figures, tables and verdicts of it.")
    print_links(projection, console)
    return True


def _log_models(store: Path, results: Sequence[Result], projection: Projection) -> None:
    from fedtune.tracking.model_logging import log_final_model

    for result in results:
        if result.ended:
            log_final_model(projection, store, result)


def _short(by_id: Mapping[str, Trial], trial_id: str) -> str:
    return f"{run_name(by_id[trial_id])} ({trial_id})"
