"""K clients against one over all models and data sets."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from as_tracked import answers, in_memory
from grids import whole_grid
from synthetic import Curve, run_all

from fedtune.analysis.pooled import pooled_table
from fedtune.trial.identity import Trial


def two_better(trial: Trial, step: int) -> float:
    """Two clients are two points better, by seed and data set a little more or less."""
    config = trial.config
    more = {1: 0.0, 2: 0.02, 4: 0.0}[config.clients]
    jitter = 0.002 * ((config.seed * 7 + len(config.dataset) + config.clients) % 5 - 2)
    return (0.7 + more + jitter) if step else 0.25


def rows(seeds: int, curve: Curve = two_better) -> list[dict[str, object]]:
    trials = whole_grid(clients=(1, 2, 4), seeds=range(seeds))
    table = pooled_table(in_memory(run_all(trials, curve), answered=True))
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def test_a_gain_that_is_everywhere_is_told_and_none_is_the_same() -> None:
    two, four = rows(3)

    assert (two["K"], two["models × data sets"]) == (2, 9)
    assert two["trials above K = 1"] == "27 of 27"
    assert float(str(two["points above K = 1"])) == pytest.approx(2.0, abs=0.3)
    assert float(str(two["95 % low"])) > 1
    assert float(str(two["p"])) < 0.01
    assert float(str(four["p"])) > 0.05
    assert float(str(four["p, the same"])) < 0.05


def test_the_mean_and_its_errors_are_those_of_a_plain_computation() -> None:
    """By data set, models averaged first; then the three data sets."""
    trials = whole_grid(clients=(1, 2), seeds=range(3))
    results = run_all(trials, two_better)
    right = {}
    for result in results:
        labels, predicted = answers(result)
        config = result.trial.config
        right[config.model, config.dataset, config.clients, config.seed] = labels == predicted
    by_seed, means = 0.0, []
    for dataset in ("ag-news", "imdb", "yelp"):
        per_seed = []
        for seed in range(3):
            more = [
                right[model, dataset, 2, seed].mean() - right[model, dataset, 1, seed].mean()
                for model in ("mini-bert", "mini-albert", "mini-distilbert")
            ]
            per_seed.append(sum(more) / 3)
        means.append(sum(per_seed) / 3)
        by_seed += float(np.var(per_seed, ddof=1)) / 3 / 9

    (row,) = pooled_table(in_memory(results, answered=True)).rows

    found = dict(zip(pooled_table(in_memory(results, answered=True)).header, row, strict=True))
    assert found["points above K = 1"] == f"{100 * sum(means) / 3:.2f}"
    assert found["SE, seeds"] == f"{100 * math.sqrt(by_seed):.2f}"


def test_what_is_counted_is_what_is_averaged() -> None:
    """The seeds that all models of a data set have; one without such seeds is left out."""
    trials = whole_grid(("mini-bert", "mini-albert"), ("imdb", "yelp"), (1, 2), range(3))
    seeds = {("mini-bert", "imdb"): (0,), ("mini-albert", "imdb"): (1, 2)}
    seeds |= {("mini-bert", "yelp"): (0, 1, 2), ("mini-albert", "yelp"): (1, 2)}
    kept = [t for t in trials if t.config.seed in seeds[t.config.model, t.config.dataset]]

    table = pooled_table(in_memory(run_all(kept, two_better), answered=True))

    (row,) = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    assert row["models × data sets"] == 2
    assert row["trials above K = 1"] == "4 of 4"


def test_one_seed_has_a_mean_and_no_error() -> None:
    two, _ = rows(1)

    assert two["points above K = 1"]
    assert two["95 % low"] is None
    assert two["p"] is None


def test_a_single_model_on_a_single_data_set_is_not_pooled() -> None:
    trials = whole_grid(("mini-bert",), ("imdb",), (1, 2), range(3))

    assert not pooled_table(in_memory(run_all(trials, two_better))).rows


def test_the_published_study_by_an_independent_count() -> None:
    """Two clients beat one by 1.46 points over nine pairs, in 23 of 27 runs: counted here from the
    published table of trials alone.
    """
    path = Path(__file__).parents[2] / "docs/results/mini-study/tables/trials.csv"
    header, *lines = path.read_text().splitlines()
    place = header.split(",").index
    accuracy = {}
    for line in lines:
        row = line.split(",")
        key = (row[0], row[1], int(row[place("K")]), int(row[place("seed")]))
        accuracy[key] = float(row[place("accuracy at budget")])
    more = [accuracy[m, d, 2, s] - value for (m, d, k, s), value in accuracy.items() if k == 1]

    published = path.with_name("pooled.csv").read_text().splitlines()
    told = dict(zip(published[0].split(","), published[1].split(","), strict=False))

    assert told["trials above K = 1"] == f"{sum(m > 0 for m in more)} of {len(more)}"
    assert float(told["points above K = 1"]) == pytest.approx(100 * sum(more) / 27, abs=0.006)
