"""What a strategy decides in a round, and federated averaging, which is the default of everything.

A strategy holds settings and nothing else: what it keeps between rounds is in the server's memory,
which is part of every checkpoint. See :func:`fedtune.federated.round.federated_round` for when each
method is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from fedtune.federated.client_vectors import ClientVectors
from fedtune.federated.server_optimizers import ServerOptimizer

#: fp32, the precision in which parameters travel.
BYTES_PER_PARAMETER = 4

#: Changes a local step's gradient in place: ``correction(gradient, values)``, both (P,) fp32.
Correction = Callable[[Tensor, Tensor], None]

#: What the server keeps between rounds, by name.
Memory = Mapping[str, Tensor]


@dataclass(frozen=True)
class Server:
    """The global model, (P,) fp32, and what the strategy keeps between rounds."""

    params: Tensor
    memory: Memory = field(default_factory=dict)


@dataclass(frozen=True)
class ClientInfo:
    """A client as the server knows it before it trains."""

    client_id: int
    num_examples: int
    num_steps: int


@dataclass(frozen=True)
class ClientUpdate:
    """What a client sends after its local training.

    ``delta`` (P,) fp32 is its model minus the server's; it may be changed in place and is valid
    until the next client is asked for. ``loss_sum`` is over the ``num_seen`` examples of all local
    steps. ``start_loss`` is the mean loss of the server's model on the client's examples, only for
    strategies that ask for it.
    """

    client: ClientInfo
    delta: Tensor
    loss_sum: float
    num_seen: int
    learning_rate: float
    start_loss: float | None = None


class FedAvg:
    """Federated averaging (McMahan et al. 2017, algorithm 1); other strategies override a part.

    ``optimizer`` uses the mean of the deltas as a gradient (Reddi et al. 2021, algorithm 1); None
    adds it to the model. ``name`` is what ``strategy=`` calls it. ``vectors_down`` and
    ``vectors_up`` count the parameter vectors that travel to a client and back in a round.
    """

    name: ClassVar[str] = "fedavg"
    vectors_down: ClassVar[int] = 1
    vectors_up: ClassVar[int] = 1
    asks_start_loss: ClassVar[bool] = False

    #: Does the strategy keep a vector for each client, and where.
    vectors_of_clients: ClassVar[bool] = False
    vectors: ClientVectors | None = None

    def __init__(self, optimizer: ServerOptimizer | None = None):
        self.optimizer = optimizer

    def memory(self, params: Tensor, clients: Sequence[ClientInfo]) -> dict[str, Tensor]:
        """The server's memory before round 1, for these clients."""
        return self.optimizer.memory(params) if self.optimizer else {}

    def weights(self, cohort: Sequence[ClientInfo], server: Server) -> list[float]:
        """What each delta of the cohort weighs: the client's share of the cohort's examples."""
        total = sum(client.num_examples for client in cohort)
        return [client.num_examples / total for client in cohort]

    def correction(self, server: Server, client: ClientInfo) -> Correction | None:
        """What changes the gradient of each local step of a client; None for nothing."""
        return None

    def receive(self, update: ClientUpdate, server: Server, memory: dict[str, Tensor]) -> Tensor:
        """The delta to be averaged, (P,). ``memory`` is the next round's, to be written to."""
        return update.delta

    def step(
        self, server: Server, mean_delta: Tensor, memory: dict[str, Tensor], round_num: int
    ) -> Tensor:
        """What is added to the server's model, (P,); ``mean_delta`` may be changed in place."""
        if self.optimizer is None:
            return mean_delta
        return self.optimizer.update(mean_delta, memory)

    def check_kept(self, server: Server) -> None:
        """Raise ValueError where what is kept outside of the memory is not what the memory says."""

    def metrics(self, memory: dict[str, Tensor]) -> dict[str, float]:
        """What else is tracked of the round; what ``memory`` holds for it alone is taken out."""
        return {}


def bytes_sent(strategy: FedAvg | type[FedAvg], num_parameters: int) -> int:
    """Bytes to and from a client in a round."""
    vectors = strategy.vectors_down + strategy.vectors_up
    return vectors * BYTES_PER_PARAMETER * num_parameters


def writable(memory: dict[str, Tensor], name: str, server: Server) -> Tensor:
    """The tensor ``name`` of the next round's memory, a copy of the server's on first use."""
    if memory[name] is server.memory[name]:
        memory[name] = torch.clone(memory[name])
    return memory[name]
