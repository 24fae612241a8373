"""A head of its own for each client (``head_init=per_client``), with which it starts to train."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fedtune.federated.clients import keep
from fedtune.federated.flat import FlatModel
from fedtune.models.classifier import draw_head, head_names


class ClientHeads:
    """The clients' own heads, drawn from ``seed``; later rounds have the server's.

    ``cohort`` gives the clients of a round, by which it is known who trains for the first time.
    """

    def __init__(self, flat: FlatModel, seed: int, cohort: Callable[[int], Sequence[int]]):
        self._flat, self._seed, self._cohort = flat, seed, cohort
        self._met: set[int] = set()
        self._met_until = 0

    def average(self, clients: Sequence[Tensor]) -> None:
        """Give the model the mean of the heads, weighted by the examples ``clients[k]`` of each."""
        values = self._flat.values
        total = sum(map(len, clients))
        mean = torch.zeros_like(values)
        for client_id, examples in enumerate(clients):
            self.draw(client_id)
            mean.add_(values, alpha=len(examples) / total)
        for name in head_names(self._flat.model):
            part = self._flat.slices[name]
            values[part] = mean[part]

    def draw(self, client_id: int) -> None:
        """Give the model the head of a client."""
        draw_head(self._flat.model, self._seed, "client", client_id)

    def of_round(self, round_num: int) -> Callable[[int], None]:
        """What gives the model a client's head where the client trains for the first time."""
        newcomers = self._newcomers(round_num)
        return lambda client_id: (self.draw if client_id in newcomers else keep)(client_id)

    def _newcomers(self, round_num: int) -> set[int]:
        while self._met_until < round_num - 1:
            self._met_until += 1
            self._met.update(self._cohort(self._met_until))
        return set(self._cohort(round_num)) - self._met
