"""Who has what, as a small picture: what `--dry-run` shows where clients differ."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape

from fedtune.config import fields_for
from fedtune.plan.plan import Plan
from fedtune.terminal import say
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import open_examples, partition_of

#: A class is shown by one of these; with more classes the last stands for all that are left.
_MARKS = string.digits + string.ascii_lowercase
#: Clients and characters that a picture has at the most.
_MOST_CLIENTS, _WIDTH = 8, 40


def print_spread(plan: Plan, console: Console) -> None:
    """A picture of each way in which clients differ: at the largest K, for the first seed."""
    shown: dict[tuple[object, ...], Trial] = {}
    for trial in plan.trials:
        config = trial.config
        if trial.is_baseline or config.partition == "iid":
            continue
        kind = (trial.dataset_hash, config.partition, config.client_column, *_settings(trial))
        other = shown.get(kind)
        if other is None or (-config.num_clients, config.seed) < (
            -other.config.num_clients,
            other.config.seed,
        ):
            shown[kind] = trial
    for trial in shown.values():
        for line in picture(trial):
            say(console, escape(line))


def picture(trial: Trial) -> list[str]:
    """A line that says how the training examples are spread, and a line for each client, whose bar
    is as long as its share of the largest client's and has a mark for each class.
    """
    config, examples = trial.config, open_examples(trial)[1]
    counts = partition_of(trial).label_counts(examples.train.labels, examples.num_classes)
    sizes = counts.sum(axis=1)
    classes, largest = (counts > 0).sum(axis=1), counts.max(axis=1) / sizes
    by = [f"by {config.client_column}"] if config.partition == "natural" else []
    what = ", ".join([config.partition, *by, *(f"{k} {v:g}" for k, v in _settings(trial))])
    lines = [
        f"{what}: {config.num_clients} clients of {config.dataset} (seed {config.seed}) with "
        f"{_range(sizes)} examples, {_range(classes)} of {examples.num_classes} classes, "
        f"{_range(largest, '.2f')} of a client's in its largest class"
    ]
    width = len(str(sizes.max()))
    for client_id, row in enumerate(counts[:_MOST_CLIENTS]):
        bar = _bar(row, max(round(_WIDTH * sizes[client_id] / sizes.max()), 1))
        lines.append(f"  client {client_id:<3} {sizes[client_id]:>{width}}  {bar}")
    left = len(counts) - _MOST_CLIENTS
    return [*lines, f"  and {left} more"] if left > 0 else lines


def _settings(trial: Trial) -> list[tuple[str, float]]:
    """What the partition goes by, in numbers."""
    config = trial.config
    fields = fields_for("partition", config.partition)
    return [(field, getattr(config, field)) for field in fields if field != "client_column"]


def _bar(counts: np.ndarray, width: int) -> str:
    """``width`` marks in the order of the classes, each class with its share of them."""
    bounds = np.round(np.cumsum(counts) / counts.sum() * width).astype(int)
    shares = np.diff(bounds, prepend=0)
    return "".join(_mark(label) * share for label, share in enumerate(shares))


def _mark(label: int) -> str:
    return _MARKS[min(label, len(_MARKS) - 1)]


def _range(values: Sequence[float] | np.ndarray, form: str = ",") -> str:
    least, most = (format(end, form) for end in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"
