"""FedNova (Wang et al. 2020, arXiv 2007.07481): more steps do not weigh more."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from fedtune.federated.strategy import ClientInfo, FedAvg, Server


class FedNova(FedAvg):
    """The mean of the deltas for each local step, times the mean number of steps (equation 11).

    With plain SGD on the clients tau is their number of local steps. Equal numbers of steps give
    FedAvg, bit for bit.
    """

    name = "fednova"

    def weights(self, cohort: Sequence[ClientInfo], server: Server) -> list[float]:
        shares = super().weights(cohort, server)
        total = sum(client.num_examples for client in cohort)
        steps = Fraction(sum(c.num_examples * c.num_steps for c in cohort), total)
        return [
            share * float(steps / client.num_steps) if client.num_steps else 0.0
            for share, client in zip(shares, cohort, strict=True)
        ]
