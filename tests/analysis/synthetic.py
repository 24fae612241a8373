"""Trials that nobody trained, and their rounds along a curve of accuracy that is given."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from typing import Any

from fedtune.config import TrialConfig
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


def run_all(trials: Iterable[Trial], curve: Curve) -> list[Result]:
    """Results of all trials, each held against its baseline, which has to be among them."""
    trials = list(trials)
    baselines = {trial.trial_id: result_of(trial, curve) for trial in trials if trial.is_baseline}
    return [
        baselines.get(trial.trial_id) or result_of(trial, curve, baselines.get(trial.baseline_id))
        for trial in trials
    ]
