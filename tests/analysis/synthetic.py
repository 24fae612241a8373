"""Histories that nobody trained, with known answers, in a real MLflow under the project's names."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedtune.analysis import predictions
from fedtune.analysis.comparable import named_apart
from fedtune.analysis.expected import NOTHING_EXPECTED, Expected
from fedtune.analysis.grid import Grid
from fedtune.analysis.history import ROUND_METRICS
from fedtune.analysis.outcomes import judged
from fedtune.analysis.tracked import TrackedTrial
from fedtune.config import TrialConfig
from fedtune.data.partition import partition
from fedtune.tracking import names
from fedtune.tracking.projection import Projection
from fedtune.trial.identity import Trial
from fedtune.trial.results import Result
from fedtune.trial.stopping import Baseline, choose_target, read_baseline, summarize

#: Accuracy by round, from the trial and the round.
Curve = Callable[[Trial, int], float]

#: When every trial was begun: 2023-11-14 22:13 UTC.
BEGUN_MS = 1_700_000_000_000

#: Training examples, test examples, classes.
SIZES = {
    "imdb": (2048, 2000, 2),
    "ag-news": (2048, 2000, 4),
    "yelp": (2048, 2000, 5),
    "toy": (256, 128, 2),
}
OTHER_SIZES = (2048, 2000, 4)
PARAMETERS = {"mini-bert": 2_000_000, "mini-albert": 400_000, "mini-distilbert": 1_500_000}


def sizes_of(dataset: str) -> tuple[int, int, int]:
    """Training examples, test examples and classes of a data set, whatever it is called."""
    return SIZES.get(dataset, OTHER_SIZES)


def make_trial(model: str, dataset: str, clients: int, seed: int = 0, **settings: Any) -> Trial:
    """A trial that looks prepared, of a model and data that need not exist."""
    values: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "clients": clients,
        "seed": seed,
        "batch_size": 8,
        "learning_rate": 0.05,
        "budget_rounds": 10,
        "max_rounds": 20,
        "stop": "budget-then-target",
        "precision": "fp32",
        "device": "cpu",
        "threads": 1,
    }
    config = TrialConfig(**values | settings)
    hashed = [hashlib.sha256(name.encode()).hexdigest() for name in (model, dataset)]
    return Trial(config, "auto", hashed[0], hashed[1], "model", "tokens")


def facts_of(trial: Trial) -> dict[str, Any]:
    """What is tracked once of a trial."""
    config = trial.config
    num_train, num_test, num_classes = sizes_of(config.dataset)
    steps = math.ceil(math.ceil(num_train / config.clients) / config.batch_size)
    return {
        "data/num_classes": num_classes,
        "data/train_examples": num_train,
        "data/test_examples": num_test,
        "model/layers": 2 if "distil" in config.model else 4,
        "model/parameters": PARAMETERS.get(config.model, 1_000_000),
        "steps/per_round": config.local_epochs * steps,
        "summary/chance": 1 / num_classes,
        "summary/clients": config.clients,
    }


def result_of(
    trial: Trial, curve: Curve, baseline: Result | None = None, last: int | None = None
) -> Result:
    """The trial's rounds to its end, or to round ``last`` where it was interrupted there."""
    facts, rule = facts_of(trial), trial.stop_rule
    against = _read(baseline) if baseline else None
    target = choose_target(trial.own_target, against)
    records: list[dict[str, Any]] = []
    while not rule.ended(records, target) and len(records) - 1 != last:
        records.append(_record(trial, facts, len(records), curve))
    ended = rule.ended(records, target)
    if rule.is_baseline:
        against = read_baseline(records, rule, facts)
    summary = summarize(records, rule, facts, baseline=against, own_target=trial.own_target)
    origin = {"begun_ms": BEGUN_MS, "git_commit": "abc123"}
    return Result(trial, records, facts, summary, None, ended, origin, None, None)


def _read(result: Result) -> Baseline | None:
    return read_baseline(result.records, result.trial.stop_rule, result.facts)


def _record(trial: Trial, facts: dict[str, Any], step: int, curve: Curve) -> dict[str, Any]:
    clients, num_test = trial.config.clients, facts["data/test_examples"]
    accuracy = round(min(max(curve(trial, step), 0.0), 1.0) * num_test) / num_test
    sent = 0 if trial.is_baseline else 8 * clients * facts["model/parameters"]
    record = {
        "round": step,
        "steps/sequential": step * facts["steps/per_round"],
        "comm/bytes": step * sent,
        "test/accuracy": accuracy,
        "test/loss": 1 - accuracy,
        "test/top_class_share": 0.5,
        "time/eval_s": 0.5,
    }
    if step:
        record |= {
            "train/loss": 1 - accuracy,
            "clients/drift": 1 / math.sqrt(clients),
            "server/update_norm": 0.9 / math.sqrt(clients),
            "time/round_s": 2.0,
            "throughput/examples_per_s": 1000.0,
        }
        if clients > 1:
            record["clients/agreement"] = 0.8 - 0.1 * math.log2(clients)
    if trial.config.partition != "iid":
        record["clients/accuracy_worst"] = accuracy / 2
    return record


#: What a trial has learned of what can be learned, after the budget, by model, data set and K.
#: The larger models decline gradually; the distilled one falls to chance, on IMDB from K = 4 on.
_GRADUAL = {2: 0.97, 4: 0.93, 8: 0.86, 16: 0.76, 32: 0.6}
_STEEP = {
    "imdb": {2: 0.9, 4: 0.1, 8: 0.05, 16: 0.0, 32: 0.0},
    "yelp": {2: 0.9, 4: 0.7, 8: 0.63, 16: 0.1, 32: 0.0},
    "ag-news": {2: 0.9, 4: 0.7, 8: 0.63, 16: 0.3, 32: 0.0},
}
TOP = 0.9


def learned(trial: Trial, step: int, *, steep: bool) -> float:
    """The share of what can be learned that the paper's story gives a trial after ``step``."""
    clients, dataset = trial.config.clients, trial.config.dataset
    budget = trial.stop_rule.budget
    if clients == 1:
        return min(1.0, step / (6 if steep else 3) * 10 / budget)
    if not steep:
        return _GRADUAL[clients] * math.sqrt(step / budget)
    kept = _STEEP[dataset][clients]
    if clients == 32 and dataset == "ag-news":  # at chance for a part of the run only
        return max(0.0, 0.02 * (step * 10 / budget - 6))
    return kept * math.sqrt(step / budget) if kept > 0.5 else kept * min(1.0, step / 3)


def paper_like(trial: Trial, step: int) -> float:
    """A world in which every claim of the paper holds."""
    chance = 1 / sizes_of(trial.config.dataset)[2]
    return chance + (TOP - chance) * learned(trial, step, steep="distil" in trial.config.model)


def upside_down(trial: Trial, step: int) -> float:
    """A world in which the distilled model is the robust one."""
    chance = 1 / sizes_of(trial.config.dataset)[2]
    return chance + (TOP - chance) * learned(trial, step, steep="distil" not in trial.config.model)


MODELS = ("mini-bert", "mini-albert", "mini-distilbert")
DATASETS = ("ag-news", "imdb", "yelp")
CLIENTS = (1, 2, 4, 8, 16, 32)


def whole_grid(
    models: Iterable[str] = MODELS,
    datasets: Iterable[str] = DATASETS,
    clients: Iterable[int] = CLIENTS,
    seeds: Iterable[int] = (0,),
    **settings: Any,
) -> list[Trial]:
    """Every combination, as trials."""
    return [
        make_trial(*values, **settings)
        for values in itertools.product(models, datasets, clients, seeds)
    ]


def run_all(trials: Iterable[Trial], curve: Curve) -> list[Result]:
    """Results of all trials, each held against its baseline, which has to be among them."""
    trials = list(trials)
    baselines = {trial.trial_id: result_of(trial, curve) for trial in trials if trial.is_baseline}
    return [
        baselines.get(trial.trial_id) or result_of(trial, curve, baselines.get(trial.baseline_id))
        for trial in trials
    ]


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


#: How clients differ, and what is done about it: the axes of a study of strategies.
SPREADS: tuple[dict[str, Any], ...] = (
    {},
    {"partition": "dirichlet", "partition_alpha": 1.0},
    {"partition": "dirichlet", "partition_alpha": 0.1},
)
STRATEGIES: tuple[dict[str, Any], ...] = (
    {},
    {"strategy": "fedprox"},
    {"strategy": "scaffold"},
    {"strategy": "fedavgm"},
    {"strategy": "fedadam", "server_learning_rate": 0.1},
)


def study(
    clients: Iterable[int] = (8, 32),
    seeds: Iterable[int] = (0,),
    spreads: Iterable[Mapping[str, Any]] = SPREADS,
    strategies: Iterable[Mapping[str, Any]] = STRATEGIES,
    models: Iterable[str] = ("mini-bert",),
    **settings: Any,
) -> list[Trial]:
    """Every strategy with every way in which clients differ, and the baselines they share."""
    values: dict[str, Any] = {"budget_rounds": 6, "max_rounds": 8} | settings
    points = [s | t for s, t in itertools.product(spreads, strategies)]
    return [
        trial
        for model, seed in itertools.product(models, seeds)
        for trial in (
            make_trial(model, "ag-news", 1, seed, **values),
            *(
                make_trial(model, "ag-news", k, seed, **values | point)
                for point, k in itertools.product(points, clients)
            ),
        )
    ]


def skewed(trial: Trial, step: int) -> float:
    """Clients that differ lose most; SCAFFOLD makes up for half of it."""
    config = trial.config
    top = 0.9
    if not trial.is_baseline:
        lost = 0.02 * math.log2(config.clients)
        if config.partition != "iid":
            lost += 0.08 if config.partition_alpha < 1 else 0.03
        lost *= 0.5 if config.strategy == "scaffold" else 1.0
        top -= lost + 0.01 * config.seed
    return 0.25 + (top - 0.25) * (1 - math.exp(-0.9 * step))
