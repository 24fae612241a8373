"""Search a learning rate with Optuna, at K = 1, by accuracy on a validation split.

    python docs/examples/tune_learning_rate.py --model mini-bert --dataset bbc-news --samples 8

The trials are ordinary fedtune trials: each of their rounds is tracked in MLflow, and what has been
run once is read from the store. Like ``tune_grid.py`` the script starts a Ray of its own, unless
``--address`` names a cluster.
"""

import argparse
import json
import sys

import ray
import torch
from ray import tune
from ray.tune.search.optuna import OptunaSearch

import fedtune


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--dataset", default="bbc-news")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--settings", type=json.loads, default={}, help='as {"max_length": 64}')
    parser.add_argument("--store", default="trials")
    parser.add_argument("--address", default="local", help="of a Ray cluster; default: a new Ray")
    asked = parser.parse_args()

    ray.init(address=asked.address)
    tracking = fedtune.MlflowCallback("learning-rate", store=asked.store)
    gpus = 1 if torch.cuda.is_available() else 0
    results = tune.Tuner(
        tune.with_resources(fedtune.trainable, {"cpu": 1, "gpu": gpus}),
        param_space={
            "model": asked.model,
            "dataset": asked.dataset,
            "store": asked.store,
            "clients": 1,
            "validation_examples": 100,
            "budget_rounds": 2,
            "learning_rate": tune.loguniform(1e-3, 1.0),
            **asked.settings,
        },
        tune_config=tune.TuneConfig(
            metric="validation/accuracy",
            mode="max",
            search_alg=OptunaSearch(seed=0),
            num_samples=asked.samples,
        ),
        run_config=tune.RunConfig(callbacks=[tracking]),
    ).fit()

    if len(results.errors) < len(results):
        best = results.get_best_result()
        rate, accuracy = best.config["learning_rate"], best.metrics["validation/accuracy"]
        print(f"learning_rate {rate:.3g} gives {accuracy:.3f} on the validation split")
    return 1 if results.errors else 0


if __name__ == "__main__":
    sys.exit(main())
