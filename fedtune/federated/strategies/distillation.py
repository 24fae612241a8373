"""Ensemble distillation: the clients' models teach one model on texts without labels.

FedDF (Lin et al. 2020, arXiv 2006.07242, algorithm 1) does so after every round, one-shot federated
learning (Guha, Talwalkar and Smith 2019, arXiv 1902.11175) once, after the only round.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fedtune.federated.server_optimizers import ServerOptimizer
from fedtune.federated.strategy import ClientUpdate, FedAvg, Server

# Kept within a round only: sums over the cohort, of scores (of the texts, of the test set) and of
# accuracies, and the number of clients in them.
_TEACHER, _COUNT = "distillation/teacher", "distillation/count"
_TEST, _CORRECT = "distillation/test", "distillation/correct"
_START = "distillation/start"


class Pool(Protocol):
    """The texts without labels of the present round, and how well a model does on the test set."""

    def scores(self, params: Tensor) -> Tensor:
        """The scores of the model ``params`` for every text of the round, (n, C) fp32, without
        dropout.
        """

    def distilled(self, params: Tensor, teacher: Tensor) -> Tensor:
        """The model ``params`` after training towards ``teacher``, probabilities (n, C)."""

    def test_scores(self, params: Tensor) -> Tensor | None:
        """Scores for every test text, (n, C); None in a round that is not evaluated."""

    def accuracy(self, test_scores: Tensor) -> float:
        """The share of the test texts to whose class the highest score is given."""


class FedDF(FedAvg):
    """The mean of the clients' models learns what the clients say together.

    The teacher is the softmax of the plain mean of the clients' scores (each counts once, whatever
    it weighs in the mean of the models), the student starts from what federated averaging gives,
    after the server's optimiser where there is one. With one client and no dropout the teacher is
    the student, and nothing is left to learn. One sum of scores is kept, whatever the number of
    clients.
    """

    name = "feddf"

    def __init__(self, pool: Pool, optimizer: ServerOptimizer | None = None):
        super().__init__(optimizer)
        self.pool = pool

    def receive(self, update: ClientUpdate, server: Server, memory: dict[str, Tensor]) -> Tensor:
        delta = update.delta.clone()  # the pool scores in the model that it is a view of
        params = server.params + delta
        _add(memory, _TEACHER, self.pool.scores(params))
        _add(memory, _COUNT, torch.ones(()))
        test = self.pool.test_scores(params)
        if test is not None:
            _add(memory, _TEST, test)
            _add(memory, _CORRECT, torch.tensor(self.pool.accuracy(test), dtype=torch.float64))
        return delta

    def step(
        self, server: Server, mean_delta: Tensor, memory: dict[str, Tensor], round_num: int
    ) -> Tensor:
        update = super().step(server, mean_delta, memory, round_num)
        mean = server.params + update
        test = self.pool.test_scores(mean)
        if test is not None:
            memory[_START] = torch.tensor(self.pool.accuracy(test), dtype=torch.float64)
        teacher = torch.softmax(memory.pop(_TEACHER) / memory[_COUNT], dim=-1)
        return self.pool.distilled(self.student(server, mean), teacher) - server.params

    def student(self, server: Server, mean: Tensor) -> Tensor:
        """The model that is taught, before it is; ``mean`` is what federated averaging gives."""
        return mean

    def metrics(self, memory: dict[str, Tensor]) -> dict[str, float]:
        count = memory.pop(_COUNT)
        if _TEST not in memory:
            return {}
        return {
            "stages/client_mean": float(memory.pop(_CORRECT) / count),
            "stages/ensemble": self.pool.accuracy(memory.pop(_TEST)),
            "stages/parameter_mean": float(memory.pop(_START)),
        }


class OneShot(FedDF):
    """Clients train once, to the end, and the model that they started from learns what they say
    together.

    Their ensemble is that of all clients of the cohort. The mean of their models is told and not
    used: models that have trained so far apart have little of a mean.
    """

    name = "one-shot"

    def student(self, server: Server, mean: Tensor) -> Tensor:
        return server.params


def _add(memory: dict[str, Tensor], name: str, term: Tensor) -> None:
    """Add to a sum in the memory that may not be there yet."""
    memory[name] = memory[name] + term if name in memory else term
