"""Where MLflow shows a sweep, and the command that starts it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from fedtune.invocation import command_beside
from fedtune.terminal import say, say_whole
from fedtune.tracking.names import run_url

if TYPE_CHECKING:
    from fedtune.tracking.projection import Projection


def print_links(projection: Projection, console: Console) -> None:
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
