"""``fedtune list``: everything that has a name here."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from fedtune.config import choices
from fedtune.data import lookup
from fedtune.models import zoo
from fedtune.plan.sweepfile import experiments


def print_catalogue(console: Console) -> None:
    """Print models, data sets, partitions, strategies, experiments, without a network."""
    models = _table("model", "what it is", "here")
    for name, entry in zoo.NAMES.items():
        hub = f" ({entry.hub_id})" if entry.hub_id else ""
        models.add_row(name, entry.description + hub, zoo.availability(name))
    console.print(models)
    datasets = _table("data set", "what it is", "budget", "here")
    for name, source in lookup.NAMES.items():
        hub = f" ({source.hub_id})" if source.hub_id else ""
        budget = f"{source.budget_rounds} rounds"
        datasets.add_row(name, source.description + hub, budget, lookup.offline_state(name))
    console.print(datasets)
    console.print("Any hub id or local directory in Hugging Face layout works as either.\n")
    console.print(f"partitions: {', '.join(choices('partition'))}", highlight=False)
    console.print(f"strategies: {', '.join(choices('strategy'))}", highlight=False)
    found = _table("experiment", "what it asks")
    for path in experiments():
        found.add_row(path.stem, first_comment(path))
    console.print(found)
    console.print("`fedtune sweep NAME --dry-run` says what one would cost; the files are in")
    console.print(f"{experiments()[0].parent}", highlight=False, soft_wrap=True)


def first_comment(path: Path) -> str:
    """The sweep file's first line, which says what it asks."""
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
