"""Federated averaging: section 3.1 of the paper, after McMahan et al. 2017 (algorithm 1).

One model is worked on and one running fp32 sum is kept, whatever the number of clients, and clients
are always added in the order of their number, because a floating-point sum depends on its order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedtune.data.batches import DeviceSplit
from fedtune.federated.flat import FlatModel
from fedtune.federated.local import Diverged, LocalTraining, Seen, train_client, unseen


@dataclass(frozen=True)
class RoundResult:
    """What a round tells about itself; lengths are L2 norms over all parameters.

    ``agreement`` is the mean pairwise alignment of the clients' deltas: 1 when they are the same, 0
    when they are unrelated, whatever K is; None for a single client.
    """

    train_loss: float
    num_examples: int
    drift: float
    agreement: float | None
    update_norm: float


def fedavg_round(
    server: Tensor,
    flat: FlatModel,
    data: DeviceSplit,
    clients: Sequence[Tensor],
    recipe: LocalTraining,
    round_num: int,
    prepare_client: Callable[[int], None] = lambda client_id: None,
    seen: Seen = unseen,
) -> tuple[Tensor, RoundResult]:
    """One round: every client trains the server's model on its own examples; the mean comes back.

    Returns the new server model: the mean of the clients' parameters weighted by the number of
    their examples (equation 1 with the weights that the prose gives it). ``server``
    (num_parameters,) fp32 stays as it is, so a mean over some of the clients cannot happen.
    ``clients`` holds each client's example indices into ``data``. ``prepare_client`` may change the
    working model after the server's has been loaded into it (``head_init=per_client`` does, in
    round 1). ``seen`` is told of each local step (see train_client).

    Raises Diverged (see train_client) and ValueError for a client without examples.
    """
    if not all(len(examples) for examples in clients):
        raise ValueError("every client needs at least one example")
    total = sum(len(examples) for examples in clients)
    weights = [len(examples) / total for examples in clients]
    mean_delta = torch.zeros_like(server)
    loss_sum, num_examples, norms = 0.0, 0, []
    for client_id, examples in enumerate(clients):
        flat.values.copy_(server)
        prepare_client(client_id)
        loss, count = train_client(flat, data, examples, recipe, round_num, client_id, seen)
        delta = flat.values.sub_(server)  # in place: the client's model is not needed any more
        mean_delta.add_(delta, alpha=weights[client_id])
        norms.append(torch.linalg.vector_norm(delta).item())
        loss_sum, num_examples = loss_sum + loss, num_examples + count
    update_norm = torch.linalg.vector_norm(mean_delta).item()
    if not math.isfinite(update_norm):  # every client was finite, so their sum overflowed
        raise Diverged(round_num, None)
    result = RoundResult(
        train_loss=loss_sum / num_examples,
        num_examples=num_examples,
        drift=sum(norms) / len(norms),
        agreement=agreement(update_norm, norms, weights),
        update_norm=update_norm,
    )
    return mean_delta.add_(server), result


def agreement(
    mean_delta_norm: float, delta_norms: Sequence[float], weights: Sequence[float]
) -> float | None:
    """Mean pairwise alignment of K deltas, from their norms and the norm of their weighted mean.

    With equal weights (K |mean delta|^2 - m) / ((K - 1) m), m the mean of |delta|^2: expanding
    |mean delta|^2 leaves the K (K - 1) inner products between different clients. With others a pair
    weighs what its clients weigh, so that unrelated deltas still give 0. None for K = 1 or when
    nothing moved.

    >>> agreement(1.0, [1.0, 1.0], [0.5, 0.5])  # the same delta twice
    1.0
    """
    num_clients = len(delta_norms)
    mean_square = sum(norm**2 for norm in delta_norms) / num_clients
    if num_clients == 1 or mean_square == 0:
        return None
    own = sum((w * norm) ** 2 for w, norm in zip(weights, delta_norms, strict=True))
    pairs = 1 - sum(w**2 for w in weights)
    return (mean_delta_norm**2 - own) / (pairs * mean_square)
