"""How a cohort is computed: here one client after another, in one working model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fedtune.data.batches import DeviceSplit
from fedtune.federated.evaluation import evaluate
from fedtune.federated.flat import FlatModel
from fedtune.federated.local import LocalTraining, Seen, train_client, unseen
from fedtune.federated.strategy import ClientInfo, ClientUpdate, FedAvg, Server


class Clients(Protocol):
    """All clients of a trial; whatever runs beside what, updates come in the cohort's order."""

    def info(self, client_id: int) -> ClientInfo:
        """What the server knows of a client before it trains."""

    def train(
        self, server: Server, strategy: FedAvg, cohort: Sequence[int], round_num: int
    ) -> Iterator[ClientUpdate]:
        """Local training of a cohort that starts from the server's model."""


def keep(client_id: int) -> None:
    """The working model stays the server's."""


@dataclass(frozen=True, eq=False)
class ModelClients:
    """Clients that share one model, whose examples are ``examples[client_id]``, int64 indices into
    ``data``.

    ``prepare`` may change the working model of a client after the server's has been loaded into
    it. ``seen`` is told of each local step (see train_client).
    """

    flat: FlatModel
    data: DeviceSplit
    examples: Sequence[Tensor]
    recipe: LocalTraining
    prepare: Callable[[int], None] = keep
    seen: Seen = unseen

    def info(self, client_id: int) -> ClientInfo:
        num_examples = len(self.examples[client_id])
        return ClientInfo(client_id, num_examples, self.recipe.steps(num_examples))

    def train(
        self, server: Server, strategy: FedAvg, cohort: Sequence[int], round_num: int
    ) -> Iterator[ClientUpdate]:
        flat, recipe = self.flat, self.recipe
        for client_id in cohort:
            examples, client = self.examples[client_id], self.info(client_id)
            flat.values.copy_(server.params)
            start_loss = None
            if strategy.asks_start_loss:
                start_loss = evaluate(flat, self.data.subset(examples)).loss
            self.prepare(client_id)
            correct = strategy.correction(server, client)
            loss_sum, num_seen = train_client(
                flat, self.data, examples, recipe, round_num, client_id, self.seen, correct
            )
            delta = flat.values.sub_(server.params)  # in place: the client's model is not needed
            yield ClientUpdate(client, delta, loss_sum, num_seen, recipe.learning_rate, start_loss)
