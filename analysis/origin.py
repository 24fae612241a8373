"""Where the numbers come from: settings, content hashes, code and hardware, as MLflow has them."""

from __future__ import annotations

from datetime import UTC, datetime

from fedtune.analysis.grid import Grid
from fedtune.analysis.tables import Table, Value
from fedtune.analysis.tracked import Sweep, TrackedTrial
from fedtune.tracking import names

#: Shown for each model and data set, because they follow from these.
_BY_SERIES = ("learning_rate", "budget_rounds", "max_rounds", "text_column", "label_column")
#: What names a trial, and what is told elsewhere on the page.
_TOLD = {
    *("clients", "model", "dataset", "seed", "sweep", "kind", "trial_id", "baseline_trial_id"),
    *("model_hash", "dataset_hash", "outcome", "collapsed", "diverged"),
}


def trained_on(grid: Grid) -> Table:
    """Models and data sets with their sizes, what belongs to each, and their content hashes."""
    rows: list[list[Value]] = []
    for series in grid.series:
        trials = [t for cell in grid.cells(series) for t in cell.trials.values()]
        trial = max(trials, key=lambda t: len(t.facts))
        facts = trial.facts
        rows.append(
            [
                series.label,
                series.dataset,
                _count(trial, "model/parameters"),
                _count(trial, "model/layers"),
                _count(trial, "data/train_examples"),
                _count(trial, "data/test_examples"),
                _count(trial, "data/num_classes"),
                facts["summary/chance"] or None,
                *(" / ".join(_values(trials, field)) for field in _BY_SERIES[:3]),
                trial.tags["fedtune.model_hash"][:12],
                trial.tags["fedtune.dataset_hash"][:12],
            ]
        )
    return Table(
        "trained-on",
        "Models and data sets",
        "Hashes are SHA-256, cut to 12 digits: of the initial weights and the configuration, and "
        "of the tokens and labels used.",
        [
            *("model", "data set", "parameters", "layers", "training examples", "test examples"),
            *("classes", "chance", "learning rate", "budget (rounds)", "cap (rounds)"),
            *("model hash", "data hash"),
        ],
        rows,
    )


def _count(trial: TrackedTrial, fact: str) -> int | None:
    return int(trial.facts[fact]) if fact in trial.facts else None


def settings(grid: Grid) -> list[tuple[str, str]]:
    """Every other setting and whatever else the trials' tags tell, with the values that occur."""
    fields = dict.fromkeys(
        field
        for trial in grid.trials
        for field in (*trial.params, *sorted(_own_tags(trial)))
        if field not in (*_BY_SERIES, *_TOLD)
    )
    return [(field, ", ".join(_values(grid.trials, field))) for field in fields]


def _own_tags(trial: TrackedTrial) -> dict[str, str]:
    prefix = "fedtune."
    return {k.removeprefix(prefix): v for k, v in trial.tags.items() if k.startswith(prefix)}


def _values(trials: list[TrackedTrial] | tuple[TrackedTrial, ...], field: str) -> list[str]:
    found = (t.params.get(field, _own_tags(t).get(field)) for t in trials)
    return sorted({value for value in found if value is not None})


def history(sweep: Sweep, grid: Grid) -> list[tuple[str, str]]:
    """When it was run, on what, and how long it took."""
    if not grid.trials:
        return []
    federated = [trial.started_ms for trial in grid.trials if trial.clients > 1]
    hours = sum(trial.seconds for trial in grid.trials) / 3600
    lines = [
        ("trials", f"{sum(t.ended for t in grid.trials)} of {len(grid.trials)} to their end"),
        ("first trial begun", _moment(min(trial.started_ms for trial in grid.trials))),
    ]
    if federated:
        lines.append(("first federated trial begun", _moment(min(federated))))
    lines.append(("computing, all trials", f"{hours:.2f} h"))
    commit = sweep.tags.get(names.GIT_COMMIT)
    return lines + ([("code of the last launch", commit)] if commit else [])


def _moment(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
