"""Whole grids of trials that nobody trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from synthetic import make_trial

from fedtune.trial.identity import Trial

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
