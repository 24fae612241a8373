"""FedProx (Li et al. 2020, arXiv 1812.06127): clients are held to the server's model."""

from __future__ import annotations

from torch import Tensor

from fedtune.federated.server_optimizers import ServerOptimizer
from fedtune.federated.strategy import ClientInfo, Correction, FedAvg, Server


class FedProx(FedAvg):
    """``mu / 2`` times the squared distance from the server's model is added to each local loss
    (equation 2), so ``mu (y - x)`` to its gradient.
    """

    name = "fedprox"

    def __init__(self, mu: float, optimizer: ServerOptimizer | None = None):
        super().__init__(optimizer)
        self.mu = mu

    def correction(self, server: Server, client: ClientInfo) -> Correction | None:
        def correct(gradient: Tensor, values: Tensor) -> None:
            # The difference first: each of the two is much larger than it.
            gradient.add_(values - server.params, alpha=self.mu)

        return correct if self.mu else None
