"""A round: a cohort trains the server's model, and the strategy makes one model of what they send.

One running fp32 sum is kept, whatever the number of clients, and clients are always added in the
order of the cohort, because a floating-point sum depends on its order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from fedtune.federated.clients import Clients
from fedtune.federated.local import Diverged
from fedtune.federated.strategy import ClientUpdate, FedAvg, Server
from fedtune.federated.strategy_checks import check_shape, check_weights


@dataclass(frozen=True)
class RoundResult:
    """What a round tells about itself; lengths are L2 norms over all parameters.

    ``agreement`` is the mean pairwise alignment of the clients' deltas: 1 when they are the same, 0
    when they are unrelated, whatever K is; None for a single client. ``num_steps`` are sequential:
    the most that a client took. ``further`` is what the strategy tells beside these.
    """

    train_loss: float
    num_examples: int
    num_steps: int
    drift: float
    agreement: float | None
    update_norm: float
    further: Mapping[str, float]


@dataclass
class Tally:
    """Sums over the clients of a round, in scalars. ``num_known`` examples, of which ``num_seen``
    were trained on, each once per local epoch.
    """

    loss_sum: float = 0.0
    num_seen: int = 0
    num_steps: int = 0
    num_known: int = 0
    norms: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, update: ClientUpdate, weight: float) -> None:
        """Count a client; before the strategy may change its delta."""
        self.norms.append(torch.linalg.vector_norm(update.delta).item())
        self.weights.append(weight)
        self.loss_sum += update.loss_sum
        self.num_seen += update.num_seen
        self.num_known += update.client.num_examples
        self.num_steps = max(self.num_steps, update.client.num_steps)


def federated_round(
    server: Server, strategy: FedAvg, clients: Clients, cohort: Sequence[int], round_num: int
) -> tuple[Server, RoundResult]:
    """One round. ``server`` stays as it is, so a mean over some of the clients cannot happen.

    With FedAvg: every client of the cohort trains the server's model on its own examples, and the
    new model is their mean, weighted by the number of their examples (equation 1 of the paper with
    the weights that its prose gives).

    Raises Diverged (see train_client) and ValueError for a client without examples.
    """
    known = [clients.info(client_id) for client_id in cohort]
    if not all(client.num_examples for client in known):
        raise ValueError("every client needs at least one example")
    weights = [float(weight) for weight in strategy.weights(known, server)]
    check_weights(strategy, weights, len(known))
    memory, mean_delta = dict(server.memory), torch.zeros_like(server.params)
    tally = Tally()
    updates = clients.train(server, strategy, cohort, round_num)
    for weight, update in zip(weights, updates, strict=True):
        tally.add(update, weight)
        delta = strategy.receive(update, server, memory)
        check_shape(strategy, "receive", delta, server)
        mean_delta.add_(delta, alpha=weight)
    mean_norm = torch.linalg.vector_norm(mean_delta).item()
    step = strategy.step(server, mean_delta, memory, round_num)
    check_shape(strategy, "step", step, server)
    if step.data_ptr() == server.params.data_ptr():
        step = step.clone()  # it is added to in place below
    step_norm = mean_norm if step is mean_delta else torch.linalg.vector_norm(step).item()
    if not math.isfinite(step_norm):  # every client was finite, so their sum overflowed
        raise Diverged(round_num, None)
    result = RoundResult(
        train_loss=tally.loss_sum / tally.num_seen,
        num_examples=tally.num_seen,
        num_steps=tally.num_steps,
        drift=sum(tally.norms) / len(tally.norms),
        agreement=agreement(mean_norm, tally.norms, tally.weights, 1 / tally.num_known),
        update_norm=step_norm,
        further=strategy.metrics(memory),
    )
    return Server(step.add_(server.params), memory), result


def agreement(
    mean_delta_norm: float, delta_norms: Sequence[float], weights: Sequence[float], one: float
) -> float | None:
    """Mean pairwise alignment of K deltas, from their norms and the norm of their weighted mean.

    (K |mean delta|^2 - m) / ((K - 1) m), m the mean of |delta|^2: expanding |mean delta|^2 leaves
    the K (K - 1) inner products between different clients. A pair weighs what its clients weigh, so
    that unrelated deltas give 0 and the same delta K times gives 1. Where no two weights differ by
    more than ``one`` (example's share), m is the plain mean; else each |delta|^2 in it weighs what
    its pairs weigh. None for K = 1, where nothing moved, and where one client has all the weight.

    >>> agreement(1.0, [1.0, 1.0], [0.5, 0.5], 0.0)  # the same delta twice
    1.0
    """
    num_clients = len(delta_norms)
    mean_square = sum(norm**2 for norm in delta_norms) / num_clients
    if num_clients == 1 or mean_square == 0:
        return None
    own = sum((w * norm) ** 2 for w, norm in zip(weights, delta_norms, strict=True))
    total = sum(weights)
    if math.isclose(total, 1):
        total = 1.0  # shares of a whole, up to the rounding of their sum
    pairs = total**2 - sum(w**2 for w in weights)
    largest = pairs * mean_square
    if max(weights) - min(weights) > one * (1 + 1e-9):
        each = zip(weights, delta_norms, strict=True)
        largest = sum(w * (total - w) * norm**2 for w, norm in each)
    if pairs <= 0 or largest <= 0:
        return None
    return (mean_delta_norm**2 - own) / largest
