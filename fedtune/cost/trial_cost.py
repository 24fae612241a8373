"""What a trial will take: rounds, steps, traffic, time. Estimates, and printed as such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedtune.cost.shapes import server_tokens, shape_of, texts_of
from fedtune.cost.speed import Kind, Rates, evaluated, kind_of
from fedtune.federated.cohort import cohort_size
from fedtune.federated.local import recipe_of
from fedtune.federated.strategies import STRATEGIES
from fedtune.federated.strategy import bytes_sent
from fedtune.trial.by_step import steps_within
from fedtune.trial.facts import data_facts
from fedtune.trial.identity import Trial


@dataclass(frozen=True)
class Cost:
    """What one trial still costs at the most. ``steps`` are sequential: those of one client.

    ``least_seconds`` is what it takes where the target is met as early as can be.
    """

    rounds: int
    steps: int
    traffic_bytes: int
    seconds: float
    least_seconds: float


def cost(
    trial: Trial, rates: Mapping[Kind, Rates], after: int | None = None, again: int = 0
) -> Cost:
    """The most that ``trial`` can cost (it may stop sooner at its target), ``after`` a round that
    is in the store already. Of those the first ``again`` are run once more, for evaluations within
    them.
    """
    facts, rule, config = data_facts(trial), trial.stop_rule, trial.config
    measured = rates[kind_of(trial)]
    rounds = rule.last - (after or 0)
    cohort = cohort_size(config.num_clients, config.participation)
    epochs, texts = recipe_of(config).local_epochs, texts_of(trial)
    seen = facts["data/train_examples"] * epochs * cohort / config.num_clients
    # Speeds in examples a second are about training and test texts of their mean lengths.
    server = server_tokens(trial)
    seen += server.trained / texts["train"].mean
    asked, judged = server.asked / texts["test"].mean, server.judged / texts["test"].mean

    def seconds(last: int) -> float:
        first = 0 if after is None else after + 1
        rounds = max(last - (after or 0), 0)
        looked = rule.evaluations(first, last) * evaluated(facts) + rounds * asked
        looked += rule.evaluations(max(first, 1), last) * judged
        looked += _within(trial, 0 if again else after or 0, last) * evaluated(facts)
        return float((rounds + again) * seen / measured.train + looked / measured.evaluate)

    sent = bytes_sent(STRATEGIES[config.strategy], measured.num_parameters)
    return Cost(
        rounds=rounds,
        steps=rounds * facts["steps/per_round"],
        traffic_bytes=0 if trial.is_baseline else rounds * cohort * sent,
        seconds=seconds(rule.last),
        least_seconds=seconds(min(max(rule.first, (after or 0) + 1), rule.last)),
    )


def _within(trial: Trial, after: int, last: int) -> int:
    """How often it is evaluated within the rounds ``after`` up to ``last``."""
    if not trial.is_baseline:
        return 0
    steps = data_facts(trial)["steps/per_round"]
    return len(steps_within(trial.config.eval_steps, after * steps, last * steps))


def work(trial: Trial) -> float:
    """Multiplications in the matrix products of a trial that runs to its last round, roughly.

    From the shape of the model and the tokens alone, without measuring, so that a plan has the same
    order everywhere. A layer has 12 h² weights (h its width); training costs three times what
    looking does.
    """
    shape, rule, texts = shape_of(trial), trial.stop_rule, texts_of(trial)
    server, epochs = server_tokens(trial), recipe_of(trial.config).local_epochs
    trained = rule.last * (epochs * texts["train"].tokens + server.trained)
    tested = sum(texts[name].tokens for name in ("test", "validation") if name in texts)
    looked = rule.evaluations(0, rule.last) * tested + rule.last * server.asked
    looked += rule.evaluations(1, rule.last) * server.judged
    looked += _within(trial, 0, rule.last) * tested
    return 12.0 * shape["layers"] * shape["hidden_size"] ** 2 * (3 * trained + looked)
