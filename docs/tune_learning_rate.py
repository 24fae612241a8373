"""Search a learning rate with Optuna, at K = 1, by accuracy on a validation split.

    python docs/tune_learning_rate.py --model mini-bert --dataset bbc-news --samples 8

The trials are ordinary fedtune trials: what has been run once is read from the store.
"""

import argparse

import torch
from ray import tune
from ray.tune.search.optuna import OptunaSearch

import fedtune


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--dataset", default="bbc-news")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--store", default="trials")
    parser.add_argument("--max-length", type=int, default=128)
    asked = parser.parse_args()
    settings = {key: value for key, value in vars(asked).items() if key != "samples"}
    gpus = 1 if torch.cuda.is_available() else 0
    tuner = tune.Tuner(
        tune.with_resources(fedtune.trainable, {"cpu": 1, "gpu": gpus}),
        param_space={
            **settings,
            "clients": 1,
            "validation_examples": 100,
            "budget_rounds": 2,
            "learning_rate": tune.loguniform(1e-3, 1.0),
        },
        tune_config=tune.TuneConfig(
            metric="validation/accuracy",
            mode="max",
            search_alg=OptunaSearch(seed=0),
            num_samples=asked.samples,
        ),
    )
    best = tuner.fit().get_best_result()
    rate, accuracy = best.config["learning_rate"], best.metrics["validation/accuracy"]
    print(f"learning_rate {rate:.3g} gives {accuracy:.3f} on the validation split")


if __name__ == "__main__":
    main()
