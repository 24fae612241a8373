"""How fast a trial trains and evaluates, from doing a little of both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch

from fedtune.data.batches import DeviceSplit
from fedtune.federated.evaluation import evaluate
from fedtune.federated.graphs import SEEN_BEFORE
from fedtune.federated.local import train_client
from fedtune.trial.federation import Federation


def measure(federation: Federation, num_batches: int) -> tuple[float, float]:
    """Examples a second in training and in evaluation: medians over ``num_batches`` batches.

    The batches are the first ones of round 1, so that their shapes are those that will occur,
    and test texts, sorted by length as an evaluation has them. As many come before them that
    are not counted: a processor's first ones are slower. Leaves the server as it is.
    """
    data, test = federation.splits["train"], federation.splits["test"]
    recipe, flat = federation.recipe, federation.flat
    client_id, examples = max(enumerate(federation.clients), key=lambda client: len(client[1]))
    first = islice(recipe.batches(len(examples), 1, client_id), 100)
    batches = [examples[positions] for positions in first]
    order = torch.argsort(test.lengths, stable=True)
    step = max(len(order) // 64, 1)
    looked_at = [order[start % len(order) :: step][:64] for start in range(num_batches)]
    with federation.settings():
        flat.values.copy_(federation.server.params)
        whole = replace(recipe, local_epochs=1, drop_last=False, batch_size=len(data))
        trained = []
        for some in islice(cycle(batches), 2 * num_batches):
            trains = partial(train_client, flat, data, some, whole, 0, 0)
            if flat.is_recorded:  # as most steps of a trial are
                for _ in range(SEEN_BEFORE + 1):
                    trains()
            trained.append(_pace(data, some, trains))
        evaluated = [
            _pace(test, some, partial(evaluate, flat, test.subset(some)))
            for some in [*looked_at, *looked_at]
        ]
    train, look = (statistics.median(paces[num_batches:]) for paces in (trained, evaluated))
    return 1 / (train * _mean_tokens(data)), 1 / (look * _mean_tokens(test))


def _pace(split: DeviceSplit, examples: torch.Tensor, work: Callable[[], Any]) -> float:
    """Seconds that ``work`` takes for each token of ``examples``."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / int(split.padded_lengths()[examples].sum())


def _mean_tokens(split: DeviceSplit) -> float:
    return float(split.padded_lengths().double().mean())
