"""``fedtune list``: everything that has a name here."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

import fedtune
from fedtune.config import choices
from fedtune.data import catalog
from fedtune.models import zoo


def experiments() -> list[Path]:
    """The sweep files that come with fedtune."""
    return sorted((Path(fedtune.__file__).parent / "experiments").glob("*.yaml"))


def print_catalogue(console: Console) -> None:
    """Print models, data sets, partitions, strategies, experiments, without a network."""
    models = _table("model", "what it is", "here")
    for name, entry in zoo.NAMES.items():
        hub = f" ({entry.hub_id})" if entry.hub_id else ""
        models.add_row(name, entry.description + hub, zoo.availability(name))
    console.print(models)
    datasets = _table("data set", "what it is", "budget", "here")
    for name, source in catalog.NAMES.items():
        hub = f" ({source.hub_id})" if source.hub_id else ""
        budget = f"{source.budget_rounds} rounds"
        datasets.add_row(name, source.description + hub, budget, catalog.offline_state(name))
    console.print(datasets)
    console.print("Any hub id or local directory in Hugging Face layout works as either.\n")
    console.print(f"partitions: {', '.join(choices('partition'))}", highlight=False)
    console.print(f"strategies: {', '.join(choices('strategy'))}", highlight=False)
    found = _table("experiment", "what it asks")
    for path in experiments():
        found.add_row(str(_shown(path)), first_comment(path))
    console.print(found)


def _shown(path: Path) -> Path:
    """``experiments/x.yaml`` in a clone, else where the package keeps it."""
    local = Path("experiments") / path.name
    return local if local.is_file() else path


def first_comment(path: Path) -> str:
    """The sweep file's first line, which says what it asks."""
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
