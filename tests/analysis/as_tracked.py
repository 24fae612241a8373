"""Results brought into a real MLflow, or as they are when they are read back from it."""

from __future__ import annotations

import contextlib
import json
import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from synthetic import BEGUN_MS, sizes_of

from fedtune.analysis import predictions
from fedtune.analysis.comparable import named_apart
from fedtune.analysis.expected import NOTHING_EXPECTED, Expected
from fedtune.analysis.grid import Grid
from fedtune.analysis.history import ROUND_METRICS
from fedtune.analysis.outcomes import judged
from fedtune.analysis.tracked import TrackedTrial
from fedtune.data.partition import partition
from fedtune.tracking import names
from fedtune.tracking.projection import Projection
from fedtune.trial.identity import Trial
from fedtune.trial.results import Result


def answers(result: Result) -> np.ndarray:
    """Labels and predictions with the trial's accuracy at its budget, as an artifact has them.

    Every trial finds much the same examples hard, so that two of them differ in few.
    """
    _, num_test, num_classes = sizes_of(result.trial.config.dataset)
    record = next(r for r in result.records if r["round"] == result.trial.stop_rule.budget)
    shared = np.random.default_rng(num_test)
    labels, hard = shared.integers(num_classes, size=num_test), shared.random(num_test)
    own = np.random.default_rng(int(result.trial.trial_id, 16)).random(num_test)
    order = np.argsort(hard + 0.1 * own)
    predicted = labels.copy()
    wrong = order[round(record["test/accuracy"] * num_test) :]
    predicted[wrong] = (labels[wrong] + 1) % num_classes
    return np.stack([labels, predicted]).astype(np.uint8)


def with_answers(results: Iterable[Result], folder: Path) -> list[Result]:
    """The results with their predictions in files."""
    kept = []
    for result in results:
        path = folder / result.trial.trial_id / "predictions.npy"
        path.parent.mkdir()
        np.save(path, answers(result))
        kept.append(replace(result, predictions=path))
    return kept


def shares_of(trial: Trial) -> np.ndarray:
    """Each client's examples of each class, as they are drawn of balanced classes."""
    num_train, _, num_classes = sizes_of(trial.config.dataset)
    labels = np.arange(num_train) % num_classes
    return partition(labels, trial.config).label_counts(labels, num_classes)


def with_partitions(results: Iterable[Result], folder: Path) -> list[Result]:
    """The results with what each client has in files, where clients differ."""
    kept = []
    for result in results:
        path = folder / result.trial.trial_id / "partition.json"
        if result.trial.config.partition != "iid":
            path.parent.mkdir(exist_ok=True)
            shares = shares_of(result.trial).tolist()
            clients = [{"labels": row} for row in shares]
            content = {"label_names": [f"class {c}" for c in range(len(shares[0]))]}
            path.write_text(json.dumps(content | {"clients": clients}))
            result = replace(result, partition=path)
        kept.append(result)
    return kept


def write(
    uri: str,
    results: Iterable[Result],
    sweep: str = "synthetic",
    axes: tuple[str, ...] = (),
    sweep_tags: Mapping[str, str] | None = None,
) -> Projection:
    """Project the results as a launch would, and close the sweep.

    Artifacts go beside a local database, since MLflow puts them into the current folder.
    """
    place = Path(uri.removeprefix("sqlite:///")).parent if uri.startswith("sqlite") else Path()
    with contextlib.chdir(place):
        projection = Projection(uri, sweep, axes, sweep_tags, inherit=False)
        projection.open_sweep()
        for result in results:
            projection.project(result, "FINISHED" if result.ended else "KILLED")
        projection.close_sweep("FINISHED", "| K |\n| --- |", "K\n")
    return projection


def in_memory(
    results: Iterable[Result], expected: Expected = NOTHING_EXPECTED, *, answered: bool = False
) -> Grid:
    """The grid that reading these results back from MLflow has to give.

    With ``answered`` as if their predictions were tracked.
    """
    found = [_tracked(result, answered) for result in results]
    named, expected = named_apart(found, expected)
    trials = judged(named)
    key = operator.attrgetter("model", "dataset", "variant", "clients", "seed")
    return Grid(tuple(sorted(trials, key=key)), expected)


def _tracked(result: Result, answered: bool) -> TrackedTrial:
    trial, config = result.trial, result.trial.config
    kept = ("round", *ROUND_METRICS)
    found = TrackedTrial(
        name=names.run_name(trial),
        run_id=trial.trial_id,
        trial_id=trial.trial_id,
        baseline_id=trial.baseline_id,
        model=config.model,
        dataset=config.dataset,
        clients=config.clients,
        seed=config.seed,
        variant="",
        params=names.params(trial),
        tags=names.tags(trial) | ({"fedtune.diverged": "yes"} if result.diverged else {}),
        facts={key: value for key, value in result.facts.items() if key != "summary/clients"},
        records=[{k: v for k, v in r.items() if k in kept} for r in result.records],
        tracked=result.summary_metrics(),
        rule=trial.stop_rule,
        started_ms=BEGUN_MS,
    )
    if not answered:
        return found
    shares = shares_of(trial) if config.partition != "iid" else None
    return replace(found, tested=predictions.read(answers(result), found), shares=shares)
