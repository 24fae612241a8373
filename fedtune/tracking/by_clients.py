"""What a sweep amounts to for each number of clients: metrics of its run, whose step is K."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from fedtune.config import TrialConfig
from fedtune.tracking.called import Called, as_called
from fedtune.trial.results import Result
from fedtune.trial.stopping import Summary

#: What all these metrics begin with; MLflow makes a section of charts of it.
PREFIX = "by_clients/"

#: Of more models, data sets and settings the settings are taken together, as in a search.
_MOST_SERIES = 24

Points = Mapping[tuple[str, int], float]


def points_by_clients(results: Sequence[Result], axes: Iterable[str], known: Called) -> Points:
    """Median and best over the seeds, by metric and K.

    ``by_clients/final_accuracy_median``, ``…_best``, ``by_clients/rounds_to_target_median`` and
    ``…_best``; with several models, data sets or other settings one of each, such as
    ``by_clients/final_accuracy_median/mini-bert``. Only of numbers of clients whose trials have all
    ended. A target that was not met counts as later than any round, so that a median has no value
    where half of the trials have not met it.
    """
    cells: dict[tuple[str, int], list[Result]] = {}
    series = _series(results, axes, known)
    shares: dict[str, set[str]] = {}  # a baseline is the K = 1 of every series that it is held to
    for result in results:
        if not result.trial.is_baseline:
            shares.setdefault(result.trial.baseline_id, set()).add(series[result.trial.trial_id])
    for result in results:
        trial_id = result.trial.trial_id
        for name in sorted(shares.get(trial_id, {series[trial_id]})):
            cells.setdefault((name, result.trial.config.num_clients), []).append(result)
    found: dict[tuple[str, int], float] = {}
    for (name, clients), trials in cells.items():
        summaries = [result.summary for result in trials if result.summary and result.ended]
        if len(summaries) < len(trials):
            continue
        for quantity, best, read in _QUANTITIES:
            values = [read(summary) for summary in summaries]
            for kind, value in (("median", median(values)), ("best", best(values))):
                if math.isfinite(value):
                    found[f"{PREFIX}{quantity}_{kind}{name}", clients] = float(value)
    return found


def _accuracy(summary: Summary) -> float:
    return -math.inf if summary.final_accuracy is None else summary.final_accuracy


def _rounds(summary: Summary) -> float:
    return math.inf if summary.rounds_to_target is None else summary.rounds_to_target


_QUANTITIES: tuple[tuple[str, Callable[[list[float]], float], Callable[[Summary], float]], ...] = (
    ("final_accuracy", max, _accuracy),
    ("rounds_to_target", min, _rounds),
)


def _series(results: Sequence[Result], axes: Iterable[str], known: Called) -> dict[str, str]:
    """By trial what ends the names of its metrics: ``/mini-bert``, or nothing in a sweep of one."""
    configs = {r.trial.trial_id: as_called(r.trial, known).config for r in results}
    fields = dict.fromkeys(["model", "dataset", *axes])
    varied = [
        field
        for field in fields
        if field not in ("clients", "seed")
        and len({config.called(field) for config in configs.values()}) > 1
    ]
    names = {trial_id: _name(config, varied) for trial_id, config in configs.items()}
    if len(set(names.values())) > _MOST_SERIES:
        varied = [field for field in varied if field in ("model", "dataset")]
        names = {trial_id: _name(config, varied) for trial_id, config in configs.items()}
    return names


def _name(config: TrialConfig, varied: Iterable[str]) -> str:
    values = [(field, str(config.called(field))) for field in varied]
    words = (v if field in ("model", "dataset") else f"{field} {v}" for field, v in values if v)
    # MLflow takes no other characters in a metric's name, and a slash would begin a section.
    name = re.sub(r"[^\w.\- :]+", "-", " ".join(words)).strip("-")
    return f"/{name}" if name else ""
