"""Options that say how a sweep is launched and where it is kept, and the launch itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedtune.commands import completion
from fedtune.commands.help import Option
from fedtune.errors import BadInput, Fault
from fedtune.garbage import uncollected
from fedtune.paths import expanded

if TYPE_CHECKING:
    from rich.console import Console

    from fedtune.plan.sweepfile import SweepSpec


def _given(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """``value``; raises BadInput where it is blank, as of a shell's variable that is not set."""
    if value is not None and not value.strip():
        message = "is blank; leave the option out, or give it a value"
        raise BadInput.of(str(option.name), value, message)
    return value


def _as_folder(context: click.Context, option: click.Parameter, value: str) -> Path:
    return expanded(_given(context, option, value) or "")


_machine = partial(click.option, cls=Option, group="Machine")
_tracking = partial(click.option, cls=Option, group="Tracking")

store_option = _tracking(
    "--store",
    default="trials",
    callback=_as_folder,
    metavar="DIR",
    help="where trials live  [default: ./trials]",
    shell_complete=completion.folders,
)
tracking_option = _tracking(
    "--tracking-uri",
    callback=_given,
    metavar="URI",
    help="MLflow  [default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db]",
)
out_option = click.option(
    "--out",
    default="report",
    callback=_as_folder,
    metavar="DIR",
    help="folder to write  [default: ./report]",
    shell_complete=completion.folders,
)


def launch_options(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that run and sweep share besides settings; ``name`` is the default of --name."""
    options = (
        _machine(
            "--address",
            callback=_given,
            metavar="ADDRESS",
            help="a Ray cluster  [default: this machine]",
        ),
        _machine("--no-ray", is_flag=True, help="one trial after another, in this process"),
        _tracking(
            "--name",
            callback=_given,
            metavar="NAME",
            help=f"the sweep's, in the store and in MLflow  [default: {name}]",
        ),
        store_option,
        tracking_option,
        _tracking("--log-model", is_flag=True, help="log each final model to MLflow"),
        # Told by fedtune's MLproject. A project of the user's own has a run of its own.
        click.option("--of-project", is_flag=True, hidden=True),
        click.option(
            "--set",
            "pairs",
            multiple=True,
            metavar="KEY=VALUE",
            help="a setting by its name in a sweep file",
            shell_complete=completion.settings,
        ),
        click.option("--dry-run", is_flag=True, help="print trials and costs, start nothing"),
    )

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def launch(
    spec: SweepSpec,
    faults: list[Fault],
    options: Mapping[str, Any],
    console: Console,
    say_why: Callable[[], None],
) -> int:
    """Launch a sweep, or say what it would cost; the exit code.

    ``say_why`` is called where the user or a scheduler ends it.
    Raises BadInput with the ``faults`` of the settings that were given and with every other that
    can be seen without reading models and data.
    """
    from fedtune.plan.sweepfile import check_name
    from fedtune.tracking.uri import experiment_name, resolve_uri

    if options["name"] is not None:
        spec = replace(spec, name=options["name"])
    if options["address"] is not None and options["no_ray"]:
        message = "names a Ray cluster, and --no-ray is without Ray; keep one"
        faults.append(Fault("address", options["address"], message))
    for check in (
        spec.configs,
        partial(check_name, spec.name),
        partial(resolve_uri, options["tracking_uri"]),
        experiment_name,
    ):
        try:
            check()
        except BadInput as bad:
            known = {fault.field for fault in faults}
            faults += [fault for fault in bad.faults if fault.field not in known]
    if faults:
        raise BadInput(faults)
    with uncollected():
        from fedtune.run.session import Options, dry_run, run_sweep

    chosen = Options(
        store=options["store"],
        tracking_uri=options["tracking_uri"],
        address=options["address"],
        use_ray=not options["no_ray"],
        log_model=options["log_model"],
        of_project=options["of_project"],
        say_why=say_why,
    )
    if options["dry_run"]:
        if options["log_model"]:
            click.echo("warning: log_model has no effect: a dry run trains no model", err=True)
        dry_run(spec, chosen, console)
        return 0
    return run_sweep(spec, chosen, console)
