"""Where the numbers come from: settings, content hashes, code and hardware, as MLflow has them."""

from __future__ import annotations

from datetime import UTC, datetime

from fedtune.analysis.grid import Grid
from fedtune.analysis.table import Table, Value
from fedtune.analysis.tracked import Sweep, TrackedTrial
from fedtune.tracking import names

#: Shown for each model and data set, because they follow from these.
_BY_SERIES = ("learning_rate", "budget_rounds", "max_rounds", "text_column", "label_column")
#: What names a trial, and what is told elsewhere on the page.
_TOLD = {
    *("clients", "seed", "sweep", "kind", "trial_id", "baseline_trial_id"),
    *("model_hash", "dataset_hash", "pool_hash", "outcome", "collapsed", "diverged"),
    *("predictions", "logged_model", "hardware", "libraries", "writer", "partition_file"),
}


def trained_on(grid: Grid) -> Table:
    """Models and data sets with their sizes, what belongs to each, and their content hashes; a row
    for all series in which these are the same.
    """
    labels: dict[tuple[Value, ...], list[str]] = {}
    pools = any(names.POOL_HASH in trial.tags for trial in grid.trials)
    for series in grid.series:
        trials = [t for cell in grid.cells(series) for t in cell.trials.values()]
        dataset = trials[0].dataset.removesuffix(f", {trials[0].spread}")
        pool = [" / ".join(v[:12] for v in _values(trials, "pool_hash"))] if pools else []
        row = (series.model, dataset, *_sizes(trials), *pool)
        labels.setdefault(row, []).append(series.label)
    rows: list[list[Value]] = [
        [of[0] if len(of) == 1 else model, *rest] for (model, *rest), of in labels.items()
    ]
    return Table(
        "trained-on",
        "Models and data sets",
        "Hashes are SHA-256, cut to 12 digits: of the initial weights and the configuration, and "
        f"of the tokens and labels used{' and of the texts distilled on' if pools else ''}.",
        [
            *("model", "data set", "parameters", "layers", "training examples", "test examples"),
            *("classes", "chance", "learning rate", "budget (rounds)", "cap (rounds)"),
            *("model hash", "data hash", *(["hash of texts distilled on"] if pools else [])),
        ],
        rows,
    )


def _sizes(trials: list[TrackedTrial]) -> list[Value]:
    trial = max(trials, key=lambda t: len(t.facts))
    return [
        _count(trial, "model/parameters"),
        _count(trial, "model/layers"),
        _count(trial, "data/train_examples"),
        _count(trial, "data/test_examples"),
        _count(trial, "data/num_classes"),
        trial.facts["summary/chance"] or None,
        *(" / ".join(_values(trials, field)) for field in _BY_SERIES[:3]),
        trial.tags["fedtune.model_hash"][:12],
        trial.tags["fedtune.dataset_hash"][:12],
    ]


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
    lines = [("settings fixed", settings_age(sweep, grid))]
    sha = sweep.tags.get(names.SWEEP_FILE_SHA256)
    if sha:
        lines.append(("SHA-256 of the sweep file", sha))
    if grid.trials:
        hours = sum(trial.seconds for trial in grid.trials) / 3600
        answered = sum(trial.tested is not None for trial in grid.trials)
        lines += [
            ("trials", f"{sum(t.ended for t in grid.trials)} of {len(grid.trials)} to their end"),
            ("first trial begun", _moment(min(trial.started_ms for trial in grid.trials))),
            ("computing, all trials", f"{hours:.2f} h"),
            ("test predictions at the budget", f"known of {answered} of {len(grid.trials)} trials"),
        ]
    for what in ("hardware", "libraries"):
        values = _values(grid.trials, what)
        lines.append((what, "; ".join(values) if values else "not tracked"))
    commit = sweep.tags.get(names.GIT_COMMIT)
    lines += [("code of the last launch", commit)] if commit else []
    if sweep.left_out:
        told = f"{sweep.left_out} trials of earlier settings, an earlier engine, model or data"
        lines.append(("left out", told))
    return lines


def settings_age(sweep: Sweep, grid: Grid) -> str:
    """Are the settings older than the first federated trial? In words, with both times."""
    federated = [trial.started_ms for trial in grid.trials if not trial.is_baseline]
    begun = f"the first federated trial began {_moment(min(federated))}" if federated else ""
    then = begun or "no federated trial has begun"
    file = sweep.tags.get(names.SWEEP_FILE)
    committed = _unix_ms(sweep.tags.get(names.SWEEP_FILE_COMMITTED))
    if not file:
        return f"Not known, as it was not launched from a sweep file; {then}."
    if committed is None:
        return f"Not known, as {file} was not committed when it was launched; {then}."
    changed = f"{file} was last changed in a commit of {_moment(committed)}; {then}."
    if not federated:
        return changed
    if committed < min(federated):
        return f"Older than the first federated trial: {changed}"
    return f"Newer than the first federated trial: {changed}"


def _unix_ms(moment: str | None) -> float | None:
    """The time of an ISO 8601 text, in UTC where it names no zone; None where it is none."""
    try:
        found = datetime.fromisoformat(moment or "")
    except ValueError:
        return None
    return 1000 * (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _moment(unix_ms: float) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
