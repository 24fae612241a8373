"""The front door: read a command, call one function, print.

Heavy imports are inside the commands, so that ``fedtune --help`` answers at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedtune import __version__
from fedtune.commands.options import LISTS, read_settings, settings
from fedtune.errors import BadInput, Fault, Refusal
from fedtune.garbage import uncollected
from fedtune.paths import expanded

if TYPE_CHECKING:
    from rich.console import Console

    from fedtune.plan.sweepfile import SweepSpec

#: What a scheduler expects of a job that it ended, as a shell has it.
_TERMINATED = 128 + signal.SIGTERM

Command = Callable[..., Any]


def main() -> None:
    """The console script.

    Exit codes: 0 done, 1 something failed, 2 bad input, 130 interrupted (Ctrl-C), 143 terminated
    (SIGTERM); after the last two the same command goes on.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    atexit.register(gc.freeze)  # else Python looks at everything for garbage on its way out: 2 s
    terminated = False

    def terminate(*_: object) -> None:
        nonlocal terminated
        terminated = True
        sys.exit(_TERMINATED)

    # As a scheduler ends a job: what is open in MLflow is closed on the way out.
    signal.signal(signal.SIGTERM, terminate)
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _tell_how_to_go_on("Interrupted.")
        code = 130
    except SystemExit as ended:
        # Ray makes a 1 of any exit while it waits; its own handler exits with the bare number.
        if not terminated and ended.code != signal.SIGTERM:
            raise
        _tell_how_to_go_on("Terminated.")
        code = _TERMINATED
    except Refusal as error:
        for line in str(error).splitlines():
            click.echo(f"fedtune: {line}", err=True)
        code = 2
    sys.exit(code or 0)


def _tell_how_to_go_on(what: str) -> None:
    click.echo(f"\n{what}")
    if sys.argv[1:2] in (["run"], ["sweep"]):
        again = shlex.join(["fedtune", *sys.argv[1:]])
        click.echo(f"Complete rounds are kept; the same command goes on from there:\n  {again}")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fedtune")
def cli() -> None:
    """What does it cost to spread the fine-tuning of a transformer over K clients?

    Every trial is an in-process simulation of federated averaging, scheduled by Ray Tune and
    tracked round by round in MLflow. Running the same command again is how to resume.
    """


def _launching(command: Command) -> Command:
    """The options that run and sweep share."""
    for option in reversed(
        (
            click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="a setting"),
            click.option("--dry-run", is_flag=True, help="print trials and costs, start nothing"),
            click.option("--no-ray", is_flag=True, help="one trial after another, in this process"),
            click.option("--address", metavar="ADDRESS", help="a Ray cluster  [default: local]"),
            click.option("--log-model", is_flag=True, help="log each final model to MLflow"),
            _store_option,
            _tracking_option,
        )
    ):
        command = option(command)
    return command


def _expand(context: click.Context, option: click.Parameter, value: str) -> Path:
    return expanded(value)


_store_option = click.option(
    "--store",
    default="trials",
    callback=_expand,
    metavar="DIR",
    help="where trials live  [default: ./trials]",
)
_tracking_option = click.option(
    "--tracking-uri",
    "--tracking_uri",
    metavar="URI",
    help="MLflow  [default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db]",
)


@cli.command(short_help="One comparison: the baseline (K = 1) and each K asked for.")
@settings
@click.option("--name", help="of the sweep  [default: from model and data set]")
@_launching
def run(name: str | None, **options: Any) -> int:
    """One comparison: the baseline (K = 1) and each number of clients asked for.

    \b
    fedtune run --model mini-bert --dataset bbc-news --clients 8,32
    """
    from fedtune.plan.naming import name_from
    from fedtune.plan.sweepfile import SweepSpec, check_name

    values, axes, faults = read_settings(options)
    axes = {field: axes[field] for field in LISTS if field in axes}
    name = check_name(name or name_from(axes, values), "name")
    spec = SweepSpec(name, axes, command_line=values, grows=True)
    return _launch(spec, faults, options)


@cli.command(short_help="A whole grid, from a sweep file.")
@click.argument("file", metavar="FILE")
@settings
@_launching
def sweep(file: str, **options: Any) -> int:
    """A whole grid, from a sweep file; settings on the command line beat those in the file.

    FILE may be the name of one that comes with fedtune (`fedtune list`).

    \b
    fedtune sweep smoke --dry-run
    """
    from fedtune.plan.sweepfile import find_sweep_file, read_sweep_file

    values, axes, faults = read_settings(options)
    spec = read_sweep_file(find_sweep_file(file)).with_command_line(values, axes)
    return _launch(spec, faults, options)


def _launch(spec: SweepSpec, faults: list[Fault], options: Mapping[str, Any]) -> int:
    try:
        spec.configs()
    except BadInput as bad:
        wrong = {fault.field for fault in faults}
        faults += [fault for fault in bad.faults if fault.field not in wrong]
    if faults:
        raise BadInput(faults)
    with uncollected():
        from fedtune.run.session import Options, dry_run, run_sweep

    launch_options = Options(
        store=options["store"],
        tracking_uri=options["tracking_uri"],
        address=options["address"],
        use_ray=not options["no_ray"],
        log_model=options["log_model"],
    )
    if options["dry_run"]:
        dry_run(spec, launch_options, _console())
        return 0
    return run_sweep(spec, launch_options, _console())


@cli.command(short_help="A table of trials.")
@click.argument("sweep", required=False)
@_store_option
def status(sweep: str | None, store: Path) -> None:
    """A table of the trials of SWEEP, a name or a sweep file  [default: the latest]."""
    from fedtune.commands.status import print_status

    print_status(store, sweep, _console())


@cli.command(short_help="Bring MLflow up to date from the round logs.")
@click.argument("sweep", required=False)
@_store_option
@_tracking_option
def sync(sweep: str | None, store: Path, tracking_uri: str | None) -> int:
    """Bring MLflow up to date from the round logs of SWEEP  [default: every sweep of the store].

    Can be repeated at will: a round that is there already is not added again.
    """
    from fedtune.commands.status import sync_store

    return sync_store(store, sweep, tracking_uri, _console())


@cli.command(short_help="Figures, tables and claims of a sweep, as one page.")
@click.argument("sweep", required=False)
@click.option("--out", default="report", metavar="DIR", help="folder to write  [default: ./report]")
@_tracking_option
def report(sweep: str | None, out: str, tracking_uri: str | None) -> int:
    """Figures, tables, claims and a page of SWEEP, a name or a sweep file  [default: the latest].

    Reads MLflow alone, so `fedtune sync` first if rounds are missing there. A sweep that is not
    complete is reported as far as it has got.
    """
    from fedtune.analysis.report import print_report
    from fedtune.plan.sweepfile import name_of

    name = name_of(sweep) if sweep else None
    return print_report(name, Path(out), tracking_uri, _console())


@cli.command("list", short_help="Models, data sets, partitions, strategies, experiments.")
def list_command() -> None:
    """Models, data sets, partitions, strategies and experiments that have a name here."""
    from fedtune.commands.listing import print_catalogue

    print_catalogue(_console())


@cli.command(short_help="What this machine has, what is missing, and how to mend it.")
def doctor() -> int:
    """Device, precision, what is available offline, what is missing and what mends it."""
    from fedtune.commands.doctor import examine

    return examine(_console())


@cli.command(short_help="Write tokens that need no `datasets` package to be read.")
@click.option("--dataset", required=True)
@click.option("--model", required=True, help="whose tokenizer is used")
@click.option("--out", required=True, metavar="DIR")
@click.option("--max-length", "--max_length", default=128, show_default=True)
@click.option("--text-column", "--text_column", default="auto", show_default=True)
@click.option("--label-column", "--label_column", default="auto", show_default=True)
def tokens(
    dataset: str, model: str, out: str, max_length: int, text_column: str, label_column: str
) -> None:
    """Write the tokens of a data set to a directory, which ``--dataset DIR`` then reads.

    For machines that have neither the `datasets` package nor the texts.
    """
    from fedtune.data.tokenization import write_tokens
    from fedtune.models.zoo import find_model

    written = write_tokens(
        dataset,
        find_model(model).directory,
        Path(out),
        max_length=max_length,
        text_column=text_column,
        label_column=label_column,
        progress=sys.stderr.isatty(),
    )
    click.echo(f"{written}: use it with --dataset {written} --max-length {max_length}")


def _console() -> Console:
    from rich.console import Console

    # A pipe has no width; a table must not be folded to 80 columns in a log.
    return Console(width=None if sys.stdout.isatty() else 160)
