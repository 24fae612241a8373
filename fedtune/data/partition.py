"""How training examples are spread over clients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedtune.randomness import generator


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


def label_counts(labels: np.ndarray, clients: list[Tensor], num_classes: int) -> list[list[int]]:
    """How many examples of each class every client has: K lists of C numbers."""
    return [np.bincount(labels[c.numpy()], minlength=num_classes).tolist() for c in clients]
