"""Which clients take part in a round."""

from __future__ import annotations

import torch

from fedtune.randomness import generator


def cohort_size(num_clients: int, participation: float) -> int:
    """The number of clients of a round: ``participation`` of all, rounded, and at least one."""
    return max(round(participation * num_clients), 1)


def cohort_of(round_num: int, num_clients: int, participation: float, seed: int) -> list[int]:
    """The clients of a round in the order of their numbers, drawn uniformly without replacement.

    A function of its arguments alone: interruption and other rounds do not change it (McMahan et
    al. 2017, algorithm 1: m = max(C K, 1)). Everybody where that is the size of the cohort.

    >>> cohort_of(1, 4, 1.0, seed=0)
    [0, 1, 2, 3]
    """
    size = cohort_size(num_clients, participation)
    if size >= num_clients:
        return list(range(num_clients))
    drawn = torch.randperm(num_clients, generator=generator(seed, "cohort", round_num))
    return sorted(drawn[:size].tolist())
