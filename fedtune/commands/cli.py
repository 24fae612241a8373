"""The commands: read one, call one function, print.

Heavy imports are inside the commands, so that ``fedtune --help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedtune import __version__
from fedtune.commands import completion as shell
from fedtune.commands.ending import Ending
from fedtune.commands.help import Group
from fedtune.commands.init import init
from fedtune.commands.launching import (
    launch,
    launch_options,
    out_option,
    store_option,
    tracking_option,
)
from fedtune.commands.options import SettingsCommand, read_settings, settings
from fedtune.config import TrialConfig, parse_text

if TYPE_CHECKING:
    from rich.console import Console

#: A comparison in which nothing has to be downloaded.
_QUICK = "fedtune run --model mini-bert --dataset bbc-news"


@click.group(
    cls=Group,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "token_normalize_func": lambda word: word.replace("_", "-"),  # --learning_rate too
    },
    examples=[
        ("one client against 8 and 32", f"{_QUICK} --clients 8,32"),
        ("what a grid would run and cost", "fedtune sweep bbc-clients --dry-run"),
        ("figures and tables of the latest sweep", "fedtune report"),
    ],
)
@click.version_option(__version__, prog_name="fedtune")
def cli() -> None:
    """What does it cost to spread the fine-tuning of a transformer over K clients?

    Every trial is an in-process simulation of federated averaging, scheduled by Ray Tune and
    tracked round by round in MLflow. Running the same command again is how to resume.
    """


@cli.command(
    cls=SettingsCommand,
    short_help="One comparison: the baseline (K = 1) and each K asked for.",
    options_metavar="--model M --dataset D --clients K [OPTIONS]",
    examples=[
        ("one client against 8 and 32", f"{_QUICK} --clients 8,32"),
        (
            "two models, three seeds",
            "fedtune run --model mini-bert,mini-albert --dataset toy --clients 8 --seed 0,1,2",
        ),
        (
            "what two learning rates would cost",
            f"{_QUICK} --clients 8 --learning-rate 0.025,0.05 --dry-run",
        ),
    ],
)
@settings
@launch_options(name="from model, data and settings")
@click.pass_obj
def run(ending: Ending, /, **options: Any) -> int:
    """One comparison: the baseline (K = 1) and each number of clients asked for.

    A setting takes one value or a comma list, and every combination of values is a trial. Running
    the same command again goes on where it stopped.
    """
    from fedtune.plan.naming import name_from
    from fedtune.plan.sweepfile import SweepSpec

    values, faults = read_settings(options, require=True)
    spec = SweepSpec(name_from(values), values, grows=True)
    return launch(spec, faults, options, _console(), ending.say_why)


@cli.command(
    cls=SettingsCommand,
    short_help="A whole grid, from a sweep file.",
    examples=[
        ("what a grid that comes with fedtune would cost", "fedtune sweep smoke --dry-run"),
        ("a part of one", "fedtune sweep bbc-clients --seed 0 --clients 2,8"),
        (
            "a file of your own, with two learning rates",
            "fedtune sweep grid.yaml --learning-rate 0.025,0.05 --name rates",
        ),
    ],
)
@click.argument("file", metavar="FILE", shell_complete=shell.sweep_files)
@settings
@launch_options(name="the file's")
@click.pass_obj
def sweep(ending: Ending, /, file: str, **options: Any) -> int:
    """A whole grid, from a sweep file. Settings given here beat those in the file.

    FILE may be the name of one that comes with fedtune (see `fedtune list`); `fedtune init` writes
    one. A setting takes one value or a comma list, and every combination of values is a trial.
    """
    from fedtune.plan.sweepfile import find_sweep_file, read_sweep_file

    values, faults = read_settings(options)
    spec = read_sweep_file(find_sweep_file(file)).with_command_line(values)
    return launch(spec, faults, options, _console(), ending.say_why)


cli.add_command(init)


@cli.command(short_help="A table of trials.")
@click.argument("sweep", required=False, shell_complete=shell.sweeps)
@store_option
def status(sweep: str | None, store: Path) -> int:
    """A table of the trials of SWEEP, a name or a sweep file  [default: the latest]."""
    from fedtune.commands.status import print_status

    return print_status(store, sweep, _console())


@cli.command(short_help="Bring MLflow up to date from the round logs.")
@click.argument("sweep", required=False, shell_complete=shell.sweeps)
@store_option
@tracking_option
def sync(sweep: str | None, store: Path, tracking_uri: str | None) -> int:
    """Bring MLflow up to date from the round logs of SWEEP  [default: every sweep of the store].

    Can be repeated at will: a round that is there already is not added again.
    """
    from fedtune.commands.status import sync_store

    return sync_store(store, sweep, tracking_uri, _console())


@cli.command(short_help="Figures, tables and claims of a sweep, as one page.")
@click.argument("sweep", required=False, shell_complete=shell.sweeps)
@out_option
@tracking_option
def report(sweep: str | None, out: Path, tracking_uri: str | None) -> int:
    """Figures, tables, claims and a page of SWEEP, a name or a sweep file  [default: the latest].

    Reads MLflow alone, so `fedtune sync` first if rounds are missing there. A sweep that is not
    complete is reported as far as it has got.
    """
    from fedtune.analysis.report import print_report
    from fedtune.plan.sweepfile import name_of

    name = name_of(sweep) if sweep else None
    return print_report(name, out, tracking_uri, _console())


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


cli.add_command(shell.completion)


def _setting(field: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A setting of a trial as an option of another command."""
    info = TrialConfig.model_fields[field]
    return click.option(
        f"--{field.replace('_', '-')}",
        field,
        default=str(info.default),
        callback=lambda context, option, text: parse_text(field, text),
        show_default=True,
        help=info.description,
    )


@cli.command(short_help="Write tokens that need no `datasets` package to be read.")
@click.option("--dataset", required=True)
@click.option("--model", required=True, help="whose tokenizer is used")
@click.option("--out", required=True, metavar="DIR")
@_setting("dataset_config")
@_setting("test_split")
@_setting("test_fraction")
@_setting("text_column")
@_setting("label_column")
@_setting("client_column")
@_setting("max_length")
def tokens(dataset: str, model: str, out: str, **asked: Any) -> None:
    """Write the tokens of a data set to a directory, which ``--dataset DIR`` then reads.

    For machines that have neither the `datasets` package nor the texts.
    """
    from fedtune.data.token_arrays import open_tokens
    from fedtune.data.tokenization import write_tokens
    from fedtune.models.zoo import find_model

    fraction, length = asked["test_fraction"], asked["max_length"]
    asked["test_fraction"] = None if fraction == "none" else fraction
    directory, shown = find_model(model).directory, sys.stderr.isatty()
    written = write_tokens(dataset, directory, Path(out), progress=shown, **asked)
    click.echo(f"{written}: use it with --dataset {written} --max-length {length}")
    made = open_tokens(written)
    if made.test is None:
        click.echo(f"It has no test split: trials draw {made.test_fraction:.0%} of it for testing.")
    elif asked["test_fraction"]:
        click.echo(f"test_fraction={fraction} has no effect: there is a test split.")


def _console() -> Console:
    from fedtune.terminal import new_console

    return new_console()
