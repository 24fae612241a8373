"""``fedtune list``: everything that has a name here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from rich.console import Console

from fedtune.config import choices
from fedtune.data import lookup
from fedtune.invocation import fedtune_command
from fedtune.models import short_names, zoo
from fedtune.plan.sweepfile import experiments
from fedtune.tables import Column, FittedTable
from fedtune.terminal import say, say_whole


def print_catalogue(console: Console) -> None:
    """Print models, data sets, partitions, strategies, experiments, without a network."""
    models = [
        (name, _with_hub(entry.description, entry.hub_id), zoo.availability(name))
        for name, entry in short_names.NAMES.items()
    ]
    console.print(_table(("model", "what it is", "here"), models))
    datasets = [
        (
            name,
            _with_hub(source.description, source.hub_id),
            f"{source.budget_rounds} rounds",
            lookup.offline_state(name),
        )
        for name, source in lookup.NAMES.items()
    ]
    console.print(_table(("data set", "what it is", "budget", "here"), datasets))
    say(console, "Any hub id or local directory in Hugging Face layout works as either.")
    console.print()
    say(console, f"partitions: {', '.join(choices('partition'))}")
    say(console, f"strategies: {', '.join(choices('strategy'))}")
    found = [(name, first_sentence(path)) for name, path in experiments().items()]
    console.print(_table(("experiment", "what it asks"), found))
    dry_run = fedtune_command("sweep", "NAME", "--dry-run")
    say(console, f"`{dry_run}` says what one would cost; the files are in")
    say_whole(console, str(next(iter(experiments().values())).parent))


def first_sentence(path: Path) -> str:
    """What the comment at the head of a sweep file begins with, which says what it asks.

    To the end of the sentence in which its first line ends.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines)]
    said = " ".join(comment)
    end = re.compile(r"[.?!](?= |$)").search(said, len(comment[0]) - 1)
    return said[: end.end()] if end else said


def _with_hub(description: str, hub_id: str | None) -> str:
    return f"{description} ({hub_id})" if hub_id else description


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> FittedTable:
    """The first column is a name; the others are text that wraps between words."""
    first, *others = zip(*rows, strict=True)
    texts = zip(headers[1:], others, strict=True)
    return FittedTable(
        [
            Column(headers[0], first, "name", key=True),
            *(Column(header, cells, "text", least=18) for header, cells in texts),
        ]
    )
