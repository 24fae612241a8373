"""SCAFFOLD (Karimireddy et al. 2020, arXiv 1910.06378): local steps corrected for client drift."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fedtune.federated.client_vectors import ClientVectors
from fedtune.federated.server_optimizers import ServerOptimizer
from fedtune.federated.strategy import (
    ClientInfo,
    ClientUpdate,
    Correction,
    FedAvg,
    Server,
    writable,
)

_CONTROL, _SLOTS, _DIGESTS = "scaffold/control", "scaffold/slots", "scaffold/digests"


class Scaffold(FedAvg):
    """Algorithm 1 with option II. Each client keeps a control variate c_k, the server their mean c.

    A local step goes down ``g + c - c_k``. Afterwards ``c_k`` becomes ``c_k - c + (x - y) / (tau
    eta)``, tau the client's steps and eta their rate, and ``c`` moves by the mean change over all
    clients, those outside of the cohort included. Plain SGD on the clients only: with another
    optimiser ``(x - y) / (tau eta)`` is no mean gradient. K + 1 vectors are kept: ``c`` in the
    memory, the clients' in ``vectors``, on disk.
    """

    name = "scaffold"
    vectors_down = 2
    vectors_up = 2
    vectors_of_clients = True
    vectors: ClientVectors

    def __init__(self, vectors: ClientVectors, optimizer: ServerOptimizer | None = None):
        super().__init__(optimizer)
        self.vectors = vectors

    def memory(self, params: Tensor, clients: Sequence[ClientInfo]) -> dict[str, Tensor]:
        return super().memory(params, clients) | {
            _CONTROL: torch.zeros_like(params),
            _SLOTS: torch.full((len(clients),), self.vectors.EMPTY, dtype=torch.int8),
            _DIGESTS: torch.zeros(len(clients), dtype=torch.int64),
        }

    def correction(self, server: Server, client: ClientInfo) -> Correction | None:
        shift = server.memory[_CONTROL] - self._variate(server, client.client_id)

        def correct(gradient: Tensor, values: Tensor) -> None:
            gradient.add_(shift)

        return correct

    def receive(self, update: ClientUpdate, server: Server, memory: dict[str, Tensor]) -> Tensor:
        client, slots = update.client, server.memory[_SLOTS]
        if client.num_steps == 0:
            return update.delta
        old = self._variate(server, client.client_id)
        # c_k+ - c_k, with x - y = -delta.
        change = update.delta / (-client.num_steps * update.learning_rate)
        change.sub_(server.memory[_CONTROL])
        slot = int(slots[client.client_id])
        new_slot = self.vectors.write(client.client_id, slot, old + change)
        writable(memory, _SLOTS, server)[client.client_id] = new_slot
        told = self.vectors.digest(client.client_id, new_slot)
        writable(memory, _DIGESTS, server)[client.client_id] = told
        writable(memory, _CONTROL, server).add_(change, alpha=1 / len(slots))
        return update.delta

    def check_kept(self, server: Server) -> None:
        kept = zip(server.memory[_SLOTS].tolist(), server.memory[_DIGESTS].tolist(), strict=True)
        for client_id, (slot, digest) in enumerate(kept):
            if self.vectors.digest(client_id, slot) != digest:
                raise ValueError(
                    f"the file with the clients' control variates is not that of the last round "
                    f"(client {client_id})"
                )

    def _variate(self, server: Server, client_id: int) -> Tensor:
        slot = int(server.memory[_SLOTS][client_id])
        return self.vectors.read(client_id, slot).to(server.params.device)
