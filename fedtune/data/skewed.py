"""Partitions that are not uniform: who gets which examples, from labels or groups and a generator.

Each function gives a list of K index arrays (int64). ``rng`` decides over everything that is drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Indices = NDArray[np.int64]

#: How often a draw is tried that leaves a client with too few examples.
DRAWS = 10


class TooFew(Exception):
    """Some client had fewer examples than the minimum in every one of DRAWS draws."""


def dirichlet(labels: Indices, num_clients: int, alpha: float, rng: Generator) -> list[Indices]:
    """Clients of equal size (to within one) whose shares of the classes are drawn.

    Client k draws its shares from Dir(alpha times the classes' shares), and then its examples from
    them, without replacement; a class with none left is passed over (Hsu et al. 2019, arXiv
    1909.06335, section 3.1). Label skew without skew in quantity.
    """
    pools = _by_class(labels, rng)
    left = np.array([len(pool) for pool in pools])
    prior = left / left.sum()
    size, extra = divmod(len(labels), num_clients)
    clients = []
    for client_id in range(num_clients):
        shares = rng.dirichlet(np.maximum(alpha * prior, 1e-300))
        taken = _take(size + (client_id < extra), shares, left, rng)
        left = left - taken
        clients.append(
            np.concatenate([p[n : n + t] for p, n, t in zip(pools, left, taken, strict=True)])
        )
    return clients


def _take(size: int, shares: NDArray[np.float64], left: Indices, rng: Generator) -> Indices:
    """How many of each class a client of ``size`` examples takes, at most ``left``."""
    taken = np.zeros_like(left)
    while missing := size - int(taken.sum()):
        open_to = np.where(taken < left, shares, 0.0)
        if not open_to.sum() > 0:  # all that it draws from is used up: from what is there
            open_to = (left - taken).astype(float)
        drawn = rng.multinomial(missing, open_to / open_to.sum())
        taken = np.minimum(taken + drawn, left)
    return taken


def dirichlet_per_class(
    labels: Indices, num_clients: int, alpha: float, min_examples: int, rng: Generator
) -> list[Indices]:
    """Every class is divided over the clients by shares from Dir(alpha, …, alpha).

    Drawn anew, up to DRAWS times, until every client has ``min_examples`` (Yurochkin et al. 2019,
    arXiv 1905.12022, section 4). Raises TooFew. Skew in labels and in quantity.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for _ in range(DRAWS):
        counts = np.stack([_divided(len(m), num_clients, alpha, rng) for m in members])
        if counts.sum(axis=0).min() >= min_examples:
            break
    else:
        raise TooFew
    pieces = [
        np.split(rng.permutation(indices), np.cumsum(row)[:-1])
        for indices, row in zip(members, counts, strict=True)
    ]
    return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


def _divided(num_examples: int, num_clients: int, alpha: float, rng: Generator) -> Indices:
    """Sizes of K parts of ``num_examples`` by shares from Dir(alpha, …, alpha)."""
    shares = rng.dirichlet(np.full(num_clients, alpha))
    bounds = (np.cumsum(shares) * num_examples).astype(np.int64)
    bounds[-1] = num_examples
    return np.diff(bounds, prepend=0)


def shards(
    labels: Indices, num_clients: int, shards_per_client: int, rng: Generator
) -> list[Indices]:
    """Examples sorted by label, cut into equal shards, so many for each client (McMahan et al.
    2017, section 3). A shard that lies over a border holds two classes.
    """
    order = np.concatenate(_by_class(labels, rng))
    pieces = np.array_split(order, num_clients * shards_per_client)
    dealt = rng.permutation(len(pieces)).reshape(num_clients, shards_per_client)
    return [np.concatenate([pieces[number] for number in mine]) for mine in dealt]


def quantity(
    num_examples: int, num_clients: int, alpha: float, min_examples: int, rng: Generator
) -> list[Indices]:
    """Uniform examples, unequal sizes: ``min_examples`` each, the rest by shares from Dir(alpha)
    (Li et al. 2022, arXiv 2102.02079, section IV-C).
    """
    spare = num_examples - num_clients * min_examples
    sizes = min_examples + _divided(spare, num_clients, alpha, rng)
    return np.split(rng.permutation(num_examples), np.cumsum(sizes)[:-1])


def natural(groups: Indices, num_clients: int, rng: Generator) -> list[Indices]:
    """Whole groups to clients, sizes as equal as that allows: the largest group first, each to the
    client that has least so far. With as many clients as groups each client is one group, in their
    order.
    """
    names, places, counts = np.unique(groups, return_inverse=True, return_counts=True)
    owner = np.arange(len(names))
    if num_clients < len(names):
        order = rng.permutation(len(names))
        sizes = np.zeros(num_clients, dtype=np.int64)
        for place in order[np.argsort(-counts[order], kind="stable")]:
            client_id = int(np.argmin(sizes))
            owner[place], sizes[client_id] = client_id, sizes[client_id] + counts[place]
    owners = owner[places]
    bounds = np.cumsum(np.bincount(owners, minlength=num_clients))[:-1]
    return np.split(np.argsort(owners, kind="stable"), bounds)


def fixed_per_client(
    num_examples: int, num_clients: int, each: int, rng: Generator
) -> list[Indices]:
    """``each`` examples for every client, uniform, so that the data grow with the clients. The
    first clients are the same however many there are.
    """
    return np.split(rng.permutation(num_examples)[: num_clients * each], num_clients)


def _by_class(labels: Indices, rng: Generator) -> list[Indices]:
    return [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
