"""A Ray Tune script of your own over fedtune's trials, each round of them tracked in MLflow.

    python docs/examples/tune_grid.py --model mini-bert --dataset bbc-news --clients 1 8 32

With a plain grid all trials start at once, and a federated one ends as soon as its baseline
(K = 1) is done and its target met. With ``--baselines-first`` it starts when its target is known,
and the baselines are added. Either way a trial lives in ``<store>/<trial_id>``: run the script
again, and it goes on from there. Any other field of ``fedtune.TrialConfig`` can stand in
``settings`` or be a dimension of the search.

The script starts a Ray of its own, whatever else runs on this machine. ``--address auto`` takes the
cluster that does; the store must then be a folder that all its machines share.
"""

import argparse
import json
import sys

import ray
import torch
from ray import tune

import fedtune


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--dataset", default="bbc-news")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--settings", type=json.loads, default={}, help='as {"batch_size": 16}')
    parser.add_argument("--store", default="trials")
    parser.add_argument("--baselines-first", action="store_true")
    parser.add_argument("--address", default="local", help="of a Ray cluster; default: a new Ray")
    asked = parser.parse_args()
    settings = {"model": asked.model, "dataset": asked.dataset, **asked.settings}

    # Without this Tune takes whatever Ray runs on this machine, or the one of $RAY_ADDRESS.
    ray.init(address=asked.address)
    if asked.baselines_first:
        axes = {"clients": asked.clients}
        searcher = fedtune.BaselineFirstSearcher(axes, settings, store=asked.store)
        space = None
        search = tune.TuneConfig(search_alg=searcher, num_samples=searcher.num_trials)
    else:
        space = {"clients": tune.grid_search(asked.clients), "store": asked.store, **settings}
        search = tune.TuneConfig()
    tracking = fedtune.MlflowCallback("my-tune-script", store=asked.store)
    gpus = 1 if torch.cuda.is_available() else 0  # a part, such as 0.25, lets trials share one
    results = tune.Tuner(
        tune.with_resources(fedtune.trainable, {"cpu": 1, "gpu": gpus}),
        param_space=space,
        tune_config=search,
        run_config=tune.RunConfig(callbacks=[tracking]),
    ).fit()

    finished = [result for result in results if result.error is None]
    for result in sorted(finished, key=lambda result: result.config["clients"]):
        rounds, accuracy = result.metrics["round"], result.metrics["test/accuracy"]
        print(f"K = {result.config['clients']}: accuracy {accuracy:.3f} after {rounds} rounds")
    return 1 if results.errors else 0


if __name__ == "__main__":
    sys.exit(main())
