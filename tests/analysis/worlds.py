"""Curves of accuracy with known answers: worlds in which the claims hold, or the contrary."""

from __future__ import annotations

import math

from synthetic import sizes_of

from fedtune.trial.identity import Trial

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
