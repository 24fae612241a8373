"""A Ray Tune script of your own over fedtune's trials, each round of them tracked in MLflow.

    python docs/tune_script.py --model mini-bert --dataset bbc-news --clients 1 8 32

With a plain grid all trials start at once, and a federated one ends as soon as its baseline
(K = 1) is done and its target met. With ``--baselines-first`` it starts when its target is known,
and the baselines are added. Either way a trial lives in ``<store>/<trial_id>``: run the script
again, and it goes on from there. Any other field of ``fedtune.TrialConfig`` can stand in
``settings`` or be a dimension of the search.
"""

import argparse
import json

import torch
from ray import tune

import fedtune

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", default="mini-bert")
parser.add_argument("--dataset", default="bbc-news")
parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
parser.add_argument("--settings", type=json.loads, default={}, help='such as {"batch_size": 16}')
parser.add_argument("--store", default="trials")
parser.add_argument("--baselines-first", action="store_true")
asked = parser.parse_args()
settings = {"model": asked.model, "dataset": asked.dataset, **asked.settings}

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

for result in sorted(results, key=lambda result: result.config["clients"]):
    rounds, accuracy = result.metrics["round"], result.metrics["test/accuracy"]
    print(f"K = {result.config['clients']}: accuracy {accuracy:.3f} after {rounds} rounds")
