"""``fedtune init``: a commented sweep file for a model and a data set, to begin a study with."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from fedtune.commands import completion
from fedtune.commands.help import Command
from fedtune.commands.options import read_settings
from fedtune.errors import BadInput, Fault, check_writable
from fedtune.paths import expanded

_TEMPLATE = """\
# What does it cost to spread the fine-tuning of {models} on {datasets} over more clients?
#
#   fedtune sweep {file} --dry-run    # the trials, and about how long they take
#   fedtune sweep {file}              # run what is missing; the same again goes on
#   fedtune report {file}             # figures and tables, also of a part of it
#
# Relative paths start at the folder in which a command is given.

# Every combination of these values is a trial. Any setting of `fedtune sweep --help` may be here,
# with underscores: learning_rate: [0.01, 0.05]
axes:
  model: [{model_list}]
  dataset: [{dataset_list}]
  # K, over how many clients the training data is spread. K = 1, the baseline, is always run.
  clients: [1, 2, 8, 32]
  # Each seed repeats all of it with another head, partition and order. Five give intervals.
  seed: [0, 1, 2]

# What is the same for every trial. The values are the defaults; without a # they hold.
set:
  local_epochs: 2
  batch_size: 32
  # learning_rate: auto   # the rate of plain SGD on the model's card: {rate}
  # budget_rounds: auto   # rounds at which trials are compared: {budget}
  # max_rounds: auto      # rounds after which a trial stops in any case: {cap}
  # train_examples: all   # a number takes as many of them, which is quicker
  # max_length: 128       # tokens a text is cut to

# What is different for some of the trials. Without the # it holds for those with 32 clients.
# overrides:
#   - when: {{clients: 32}}
#     set: {{max_rounds: {more}}}
"""


@click.command(cls=Command, short_help="Write a commented sweep file to begin with.")
@click.argument("file", metavar="[FILE]", required=False)
@click.option(
    "--model",
    required=True,
    metavar="TEXT",
    help="what is trained; a comma list compares several",
    shell_complete=completion.of_field("model"),
)
@click.option(
    "--dataset",
    required=True,
    metavar="TEXT",
    help="what it is trained on; a comma list compares several",
    shell_complete=completion.of_field("dataset"),
)
@click.option("--force", is_flag=True, help="replace FILE where it exists")
def init(file: str | None, model: str, dataset: str, force: bool) -> None:
    """Write a sweep file with comments for a model and a data set  [default: DATASET-clients.yaml].

    `fedtune sweep FILE --dry-run` then says what it would run and cost.
    """
    from fedtune.plan.sweepfile import read_sweep_file

    values, faults = read_settings({"model": model, "dataset": dataset, "pairs": ()})
    models, datasets = values.get("model", []), values.get("dataset", [])
    rates, budgets = _rates(models, faults), _budgets(datasets, faults)
    if faults:
        raise BadInput(faults)
    path = _path(file or _file_name(datasets), force)
    path.write_text(_text(path, rates, budgets), encoding="utf-8")
    trials = len(read_sweep_file(path).configs())
    how = f"`fedtune sweep {shlex.quote(str(path))} --dry-run` says what they would cost"
    click.echo(f"{path} has {trials} trials; {how}.")


def _rates(models: Sequence[str], faults: list[Fault]) -> dict[str, str]:
    """What `auto` is for the learning rate of each model."""
    from fedtune.models.zoo import PAPER_LEARNING_RATE, find_here

    rates = {}
    for model in models:
        try:
            found = find_here(model)
        except BadInput as bad:
            faults += bad.faults
            continue
        unknown = f"{PAPER_LEARNING_RATE:g} (unless its card, which is not here yet, has another)"
        rates[model] = f"{found.learning_rate:g}" if found else unknown
    return rates


def _budgets(datasets: Sequence[str], faults: list[Fault]) -> dict[str, int]:
    """What `auto` is for the budget of each data set."""
    from fedtune.data.lookup import default_budget, resolve

    budgets = {}
    for dataset in datasets:
        try:
            resolve(dataset)
        except BadInput as bad:
            faults += bad.faults
            continue
        budgets[dataset] = default_budget(dataset)
    return budgets


def _file_name(datasets: Sequence[str]) -> str:
    from fedtune.plan.naming import last_part, plain

    if len(datasets) > 1:
        return f"{len(datasets)}datasets-clients.yaml"
    name, is_file = last_part(datasets[0]), expanded(datasets[0]).is_file()
    return f"{plain(Path(name).stem if is_file else name)}-clients.yaml"


def _path(file: str, force: bool) -> Path:
    """Where to write. Raises BadInput where that cannot be, or has a file already."""
    from fedtune.plan.sweepfile import check_name

    path = expanded(file)
    if path.suffix not in (".yaml", ".yml"):
        path = path.with_name(f"{path.name}.yaml")
    check_name(path.stem, "file")  # the sweep has its name
    check_writable("file", path.parent)
    if not path.parent.is_dir():
        raise BadInput.of("file", str(path), f"there is no folder {path.parent}")
    if path.is_dir() or (path.exists() and not force):
        raise BadInput.of("file", str(path), "is there already; --force replaces a file")
    return path


def _text(path: Path, rates: Mapping[str, str], budgets: Mapping[str, int]) -> str:
    rounds = sorted(set(budgets.values()))
    return _TEMPLATE.format(
        models=_in_comment(rates),
        datasets=_in_comment(budgets),
        file=shlex.quote(str(path)),
        model_list=", ".join(map(_as_yaml, rates)),
        dataset_list=", ".join(map(_as_yaml, budgets)),
        rate=_told(rates),
        budget=_told(budgets),
        cap=_told({dataset: 2 * budget for dataset, budget in budgets.items()}),
        more=4 * rounds[-1],
    )


def _told(values: Mapping[str, object]) -> str:
    """``0.05``, where it is the same for all, else ``0.05 for mini-bert, 0.1 for mini-albert``."""
    if len(set(values.values())) == 1:
        return str(next(iter(values.values())))
    return ", ".join(f"{value} for {_in_comment([name])}" for name, value in values.items())


def _in_comment(names: Iterable[str]) -> str:
    return " and ".join(" ".join(name.split()) for name in names)


def _as_yaml(name: str) -> str:
    """``name`` in a YAML list, in quotes where it would be read as something else without them."""
    import yaml

    is_plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", name) and yaml.safe_load(name) == name
    return name if is_plain else json.dumps(name, ensure_ascii=False)
