"""From a sweep to its closing table: what ``fedtune run`` and ``fedtune sweep`` do and print."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from fedtune.config import TrialConfig
from fedtune.cost.launch_cost import LaunchCost
from fedtune.cost.resources import this_machine
from fedtune.errors import BadInput, Fault, check_writable
from fedtune.invocation import command_beside, fedtune_command
from fedtune.machine import Machine, available_cores
from fedtune.models.classifier import drawn_anew
from fedtune.plan.plan import Plan, earlier_plan, make_plan, warnings_of
from fedtune.plan.sweepfile import SweepSpec
from fedtune.redaction import redacted
from fedtune.run import closing
from fedtune.run.launch import Launch, LaunchResult
from fedtune.run.progress import Lines, Progress, Screen, Silent
from fedtune.run.sentences import sentences
from fedtune.terminal import say, say_problem, say_whole
from fedtune.tracking.names import LAUNCHED, run_name, run_url
from fedtune.tracking.uri import resolve_uri, writable_uri
from fedtune.tracking.writer import Writer
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.prepare import data_facts, open_examples
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
    cost = _cost(launch, here, parallel=options.use_ray) if here else None
    if cost:
        launch.progress.expect(cost)
        _print_expectation(cost, console)
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
    expected = _cost(launch, _machine(launch, options), parallel=options.use_ray)
    console.print(expected.table())
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


def print_plan(plan: Plan, spec: SweepSpec, store: Path, console: Console) -> None:
    """What is about to be trained on what, what every ``auto`` became, and warnings."""
    federated = sum(trial.config.clients > 1 for trial in plan.trials)
    baselines = len(plan.trials) - federated
    say(
        console,
        f"Sweep [bold]{plan.name}[/]: {baselines} baseline{'s' * (baselines > 1)} (K = 1) and "
        f"{federated} federated trial{'s' * (federated != 1)}",
    )
    for line in dict.fromkeys(_describe(plan)):
        say(console, escape(line), indent=2)
    for line in warnings_of(plan, spec, store):
        say(console, f"[yellow]warning:[/] {escape(line)}")


def _describe(plan: Plan) -> list[str]:
    lines = []
    for trial in plan.trials:
        config, facts = trial.config, data_facts(trial)
        lines.append(
            f"{_dataset(config)}: {facts['data/train_examples']:,} training and "
            f"{facts['data/test_examples']:,} test {_texts(config)}, "
            f"{facts['data/num_classes']} classes, chance {facts['summary/chance']:.3f} "
            f"(columns {config.text_column}, {config.label_column}){_tested_on(config)}"
        )
        lines.append(
            f"{config.model}: {facts['model/layers']} layers, {_drawn(trial)}learning_rate "
            f"{config.learning_rate:g}, budget_rounds {config.budget_rounds}, max_rounds "
            f"{config.max_rounds}, precision {config.precision}, device {config.device}, "
            f"threads {config.threads}"
        )
    return sorted(dict.fromkeys(lines), key=lambda line: "layers" in line)


def _drawn(trial: Trial) -> str:
    """The layers that are not the model's own: all that its file lacks, and a former head."""
    layers = drawn_anew(Path(trial.model_dir), open_examples(trial)[1].num_classes)
    return f"{' and '.join(layers)} drawn anew, " if layers else ""


def _dataset(config: TrialConfig) -> str:
    part = config.dataset_config
    return config.dataset if part == "none" else f"{config.dataset} ({part})"


def _texts(config: TrialConfig) -> str:
    return "pairs of texts" if "," in config.text_column else "texts"


def _tested_on(config: TrialConfig) -> str:
    """Which examples are tested on, where that is not the split called test."""
    if config.test_fraction != "none":
        share = f"{100 * config.test_fraction:.3g} %"
        return f"; split here: {share} for testing, stratified, data_seed {config.data_seed}"
    return "" if config.test_split == "test" else f"; tested on the split {config.test_split}"


def _print_expectation(cost: LaunchCost, console: Console) -> None:
    """Say how long the launch may take and how many trials run at a time."""
    told = cost.time()
    expected = f"{told[0].upper()}{told[1:]} of computing on this machine."
    say(console, f"{expected} {cost.sharing()}")


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
    _print_links(projection, console)
    return True


def _log_models(store: Path, results: Sequence[Result], projection: Projection) -> None:
    from fedtune.tracking.model_logging import log_final_model

    for result in results:
        if result.ended:
            log_final_model(projection, store, result)


def _print_links(projection: Projection, console: Console) -> None:
    """Where MLflow shows the sweep: its run, at an address that can be copied whole, from which
    everything else is a click away; on a terminal the charts too, as links without their long
    addresses.
    """
    console.print()
    ui = escape(ui_command(projection.uri))
    how = f" (start it with `{ui}`)" if _is_local(projection.uri) else ""
    say(console, f"In MLflow{how}:")
    run = run_url(projection.uri, projection.experiment_id, projection.parent_id)
    say_whole(console, run, indent=2)
    if console.is_interactive:
        links = (f"[link={url}]{what}[/link]" for what, url in projection.urls().items())
        say(console, f"side by side: {', '.join(links)}", indent=2)


def _is_local(uri: str) -> bool:
    return uri.startswith("sqlite")


def ui_command(uri: str) -> str:
    """The command that shows a local tracking database."""
    here = f"sqlite:///{Path('mlflow.db').absolute()}"
    bare = uri == here and not _shows_another()
    where = "" if bare else f" --backend-store-uri {shlex.quote(uri)}"
    return f"{command_beside('mlflow')} ui{where}"


def _shows_another() -> bool:
    """Does a bare `mlflow ui` in this folder show something else than its mlflow.db? It takes an
    old ./mlruns that has an experiment, and what the environment tells it.
    """
    old = any(path.parent.name.isdigit() for path in Path("mlruns").glob("*/meta.yaml"))
    return old or bool(os.environ.get("MLFLOW_BACKEND_STORE_URI"))


def _short(by_id: Mapping[str, Trial], trial_id: str) -> str:
    return f"{run_name(by_id[trial_id])} ({trial_id})"
