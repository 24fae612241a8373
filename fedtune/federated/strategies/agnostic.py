"""Agnostic federated learning (Mohri, Sivek and Suresh 2019, arXiv 1902.00146)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fedtune.federated.server_optimizers import ServerOptimizer
from fedtune.federated.strategy import ClientInfo, ClientUpdate, FedAvg, Server, writable

_WEIGHTS = "agnostic/weights"
_LOSSES = "agnostic/losses"


class AgnosticFL(FedAvg):
    """The mean is weighted by a mixture of the clients that grows where their loss is high.

    The mixture lies on the simplex, starts at the clients' shares of the examples, and goes up
    the gradient of the mixed loss by ``step_size`` a round (algorithm 1, with the clients' local
    training in place of one gradient). Its gradient is the loss of the server's model on each
    client's examples; that of a client which is not in the cohort counts as 0.
    """

    name = "afl"
    asks_start_loss = True

    def __init__(self, step_size: float = 0.1, optimizer: ServerOptimizer | None = None):
        super().__init__(optimizer)
        self.step_size = step_size

    def memory(self, params: Tensor, clients: Sequence[ClientInfo]) -> dict[str, Tensor]:
        shares = super().weights(clients, Server(params))
        return super().memory(params, clients) | {
            _WEIGHTS: torch.tensor(shares, dtype=torch.float64),
            _LOSSES: torch.zeros(len(shares), dtype=torch.float64),
        }

    def weights(self, cohort: Sequence[ClientInfo], server: Server) -> list[float]:
        mixture = server.memory[_WEIGHTS][[client.client_id for client in cohort]]
        total = mixture.sum()
        if total <= 0:  # nobody of the cohort is in the mixture
            return super().weights(cohort, server)
        return list((mixture / total).tolist())

    def receive(self, update: ClientUpdate, server: Server, memory: dict[str, Tensor]) -> Tensor:
        assert update.start_loss is not None
        writable(memory, _LOSSES, server)[update.client.client_id] = update.start_loss
        return super().receive(update, server, memory)

    def step(
        self, server: Server, mean_delta: Tensor, memory: dict[str, Tensor], round_num: int
    ) -> Tensor:
        mixture = server.memory[_WEIGHTS] + self.step_size * memory[_LOSSES]
        memory[_WEIGHTS] = onto_simplex(mixture)
        memory[_LOSSES] = torch.zeros_like(memory[_LOSSES])
        return super().step(server, mean_delta, memory, round_num)


def onto_simplex(point: Tensor) -> Tensor:
    """The nearest point, (n,), whose parts are not negative and add up to 1.

    By sorting (Duchi et al. 2008, figure 1).

    >>> onto_simplex(torch.tensor([0.5, 1.5]))
    tensor([0., 1.])
    """
    point = point - point.max()  # which moves nothing, and large numbers would swallow the 1 below
    descending = torch.sort(point, descending=True).values
    excess = torch.cumsum(descending, 0) - 1
    counts = torch.arange(1, len(point) + 1)
    last = int(torch.nonzero(descending * counts > excess).max())
    return torch.clamp(point - excess[last] / counts[last], min=0)
