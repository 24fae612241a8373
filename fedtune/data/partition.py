"""How training examples are spread over clients: the one place that knows who has how many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedtune.config import TrialConfig
from fedtune.data import skewed
from fedtune.errors import BadInput, Fault
from fedtune.randomness import derive_seed, generator


@dataclass(frozen=True, eq=False)
class Partition:
    """Who has what: ``clients[k]`` are client k's examples, int64 indices into the training split.

    Every client has at least one, and no example belongs to two.
    """

    clients: Sequence[Tensor]

    @cached_property
    def sizes(self) -> list[int]:
        """The number of examples of each client."""
        return [len(examples) for examples in self.clients]

    def owners(self, groups: np.ndarray, others: np.ndarray) -> np.ndarray:
        """The client that has the group of each of ``others``, (n,) int64; -1 where nobody has.

        ``groups`` (N,) are those of the examples that are spread, whole groups to each client.
        """
        owner = np.full(1 + max(groups.max(), others.max()), -1, dtype=np.int64)
        for client_id, examples in enumerate(self.clients):
            owner[groups[examples.numpy()]] = client_id
        found: np.ndarray = owner[others]
        return found

    def label_counts(self, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """How many examples of each class every client has, (K, C) int64."""
        counts = [np.bincount(labels[c.numpy()], minlength=num_classes) for c in self.clients]
        return np.stack(counts)


#: A partition of one's own: ``draw(labels, num_clients, rng)`` gives each client's examples, as
#: indices into ``labels`` (N,) int64, by the random numbers of ``rng`` alone.
Draw = Callable[[np.ndarray, int, np.random.Generator], Sequence[Any]]


def own_partition(draw: Draw, labels: np.ndarray, config: TrialConfig) -> Partition:
    """What ``draw`` gives. Raises BadInput unless every client of ``config`` has an example and
    none belongs to two.
    """
    rng = np.random.default_rng(derive_seed(config.seed, "partition", "own"))
    drawn = draw(np.array(labels), config.num_clients, rng)
    try:
        clients = [np.asarray(c) for c in drawn]
    except (TypeError, ValueError):
        clients = [np.array([[]])]
    # An empty list has no whole numbers, and is told of below.
    if not all(c.ndim == 1 and (c.dtype.kind in "iu" or not len(c)) for c in clients):
        message = "allowed is a list with an array of whole numbers, indices, for each client"
        raise BadInput.of("partition", None, message)
    clients = [c.astype(np.int64) for c in clients]
    everybody = np.concatenate([np.zeros(0, np.int64), *clients])
    told = {
        f"gives {len(clients)} clients; allowed are {config.num_clients}": len(clients)
        != config.num_clients,
        "gives a client no example; allowed is at least one": not all(map(len, clients)),
        "gives an example twice; allowed is each once": len(set(everybody)) < len(everybody),
        f"gives an index beyond the {len(labels)} examples": any(
            (c < 0).any() or (c >= len(labels)).any() for c in clients
        ),
    }
    for fault, is_so in told.items():
        if is_so:
            raise BadInput.of("partition", None, fault)
    without_step = dropped(config, [len(c) for c in clients])
    if without_step:
        raise BadInput([without_step])
    return Partition([torch.from_numpy(c) for c in clients])


def dropped(config: TrialConfig, sizes: Sequence[int]) -> Fault | None:
    """What is wrong where ``drop_last`` would leave a client of these sizes without a step."""
    least = min(sizes)
    if not config.drop_last or least >= config.batch_size:
        return None
    everybody = max(sizes) < config.batch_size
    what = (
        f"would drop everything: {least} examples per client do not fill"
        if everybody
        else f"would leave a client without a step: its {least} examples do not fill"
    )
    way_out = f"{what} one batch of {config.batch_size}; lower batch_size or clients"
    return Fault("drop_last", True, way_out)


def partition(
    labels: np.ndarray, config: TrialConfig, groups: np.ndarray | None = None
) -> Partition:
    """Spread examples with these ``labels`` and ``groups``, (N,), over the clients of ``config``,
    drawn by ``seed``. Raises BadInput where it cannot be done.
    """
    if config.partition == "iid":
        return Partition(
            iid_partition(
                len(labels), config.num_clients, seed=config.seed, drop_remainder=config.drop_last
            )
        )
    if config.partition == "natural":
        assert groups is not None  # a natural trial has a column, and so its tokens have groups
        drawn = _by_groups(np.asarray(groups, np.int64), config)
    else:
        _check_amounts(len(labels), config)
        drawn = _drawn(labels, config)
    return Partition([torch.from_numpy(np.asarray(c, np.int64)) for c in drawn])


def _by_groups(groups: skewed.Indices, config: TrialConfig) -> list[skewed.Indices]:
    number = len(np.unique(groups))
    if config.num_clients > number:
        raise BadInput.of(
            "clients",
            config.clients,
            f"allowed is 'all' or at most {number}: so many values client_column="
            f"{config.client_column} has among {len(groups)} training examples",
        )
    rng = np.random.default_rng(derive_seed(config.seed, "partition", config.partition))
    return skewed.natural(groups, config.num_clients, rng)


def _drawn(labels: np.ndarray, config: TrialConfig) -> list[skewed.Indices]:
    num_clients, alpha = config.num_clients, config.partition_alpha
    least = config.min_client_examples
    rng = np.random.default_rng(derive_seed(config.seed, "partition", config.partition))
    labels = np.asarray(labels, np.int64)
    if config.partition == "dirichlet":
        return skewed.dirichlet(labels, num_clients, alpha, rng)
    if config.partition == "shards":
        return skewed.shards(labels, num_clients, config.shards_per_client, rng)
    if config.partition == "quantity":
        return skewed.quantity(len(labels), num_clients, alpha, least, rng)
    if config.partition == "fixed-per-client":
        each = int(config.examples_per_client)
        return skewed.fixed_per_client(len(labels), num_clients, each, rng)
    try:
        return skewed.dirichlet_per_class(labels, num_clients, alpha, least, rng)
    except skewed.TooFew:
        raise BadInput.of(
            "partition",
            config.partition,
            f"in each of {skewed.DRAWS} draws one of {num_clients} clients had fewer than {least} "
            f"of {len(labels)} examples, with partition_alpha {alpha:g}; raise partition_alpha, "
            "lower clients or min_client_examples, or take partition=dirichlet, whose clients have "
            "equal sizes",
        ) from None


def _check_amounts(num_examples: int, config: TrialConfig) -> None:
    """Raise BadInput where there are fewer examples than the clients must have."""
    each = {
        "shards": ("shards_per_client", config.shards_per_client),
        "fixed-per-client": ("examples_per_client", config.examples_per_client),
        "quantity": ("min_client_examples", config.min_client_examples),
        "dirichlet-per-class": ("min_client_examples", config.min_client_examples),
    }
    if config.partition not in each:
        return
    field, number = each[config.partition]
    if config.num_clients * int(number) > num_examples:
        most = num_examples // config.num_clients
        raise BadInput.of(
            field,
            number,
            f"allowed is at most {most}: {config.clients} clients share {num_examples} examples",
        )


def iid_partition(
    num_examples: int, num_clients: int, *, seed: int, drop_remainder: bool
) -> list[Tensor]:
    """Each client's example indices (int64), drawn uniformly without replacement (section 3.4).

    Sizes differ by at most one and every example belongs to exactly one client; the first
    ``num_examples % num_clients`` clients have the extra one, or with ``drop_remainder`` nobody
    has. The order within a client is that of the draw: data sets are often sorted by label, so
    slices of them would not be IID at all.
    """
    order = torch.randperm(num_examples, generator=generator(seed, "partition", num_clients))
    size, remainder = divmod(num_examples, num_clients)
    if drop_remainder:
        order, remainder = order[: size * num_clients], 0
    sizes = [size + (client_id < remainder) for client_id in range(num_clients)]
    return list(torch.split(order, sizes))
