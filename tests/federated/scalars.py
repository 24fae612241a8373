"""Clients with a quadratic loss each, in plain Python steps: strategies proven without a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedtune.federated.local import Diverged
from fedtune.federated.round import RoundResult, federated_round
from fedtune.federated.strategy import ClientInfo, ClientUpdate, FedAvg, Server


@dataclass
class Quadratics:
    """Client k has ``curvatures[k] / 2 * |x - centres[k]|^2`` and takes ``steps[k]`` steps."""

    curvatures: Sequence[float]
    centres: Sequence[float]
    steps: Sequence[int]
    learning_rate: float = 0.1
    num_examples: Sequence[int] = ()
    fails: set[int] = field(default_factory=set)

    def info(self, client_id: int) -> ClientInfo:
        sizes = self.num_examples or [1] * len(self.centres)
        return ClientInfo(client_id, sizes[client_id], self.steps[client_id])

    def loss(self, client_id: int, values: Tensor) -> float:
        distance = values - self.centres[client_id]
        return float(self.curvatures[client_id] / 2 * distance.square().sum())

    def train(
        self, server: Server, strategy: FedAvg, cohort: Sequence[int], round_num: int
    ) -> Iterator[ClientUpdate]:
        values = torch.empty_like(server.params)
        for client_id in cohort:
            client, values = self.info(client_id), values.copy_(server.params)
            start_loss = self.loss(client_id, values)
            correct = strategy.correction(server, client)
            for _ in range(client.num_steps):
                gradient = self.curvatures[client_id] * (values - self.centres[client_id])
                if correct is not None:
                    correct(gradient, values)
                values.sub_(gradient, alpha=self.learning_rate)
            if client_id in self.fails:
                raise Diverged(round_num, client_id)
            delta = values.sub_(server.params)
            yield ClientUpdate(client, delta, 1.0, 1, self.learning_rate, start_loss)


def start(strategy: FedAvg, clients: Quadratics, *values: float) -> Server:
    """A server at ``values``, in fp64 so that traces can be followed to many digits."""
    params = torch.tensor(values, dtype=torch.float64)
    infos = [clients.info(client_id) for client_id in range(len(clients.centres))]
    return Server(params, strategy.memory(params, infos))


def rounds(
    strategy: FedAvg,
    clients: Quadratics,
    num_rounds: int,
    *values: float,
    cohorts: Sequence[Sequence[int]] = (),
) -> tuple[list[Server], list[RoundResult]]:
    """The server before round 1 and after each, and what each round tells."""
    servers, results = [start(strategy, clients, *values)], []
    everybody = list(range(len(clients.centres)))
    for round_num in range(1, num_rounds + 1):
        cohort = cohorts[round_num - 1] if cohorts else everybody
        server, result = federated_round(servers[-1], strategy, clients, cohort, round_num)
        servers.append(server)
        results.append(result)
    return servers, results


@dataclass
class LinearPool:
    """Texts are numbers t, and a model x gives two classes the scores t times its sum, and 0.

    Taught by plain gradient steps on the mean divergence over all texts. A test text t is of the
    first class where t > 0.
    """

    texts: Tensor
    steps: int = 3
    learning_rate: float = 0.5
    judges: bool = True

    def scores(self, params: Tensor) -> Tensor:
        return torch.stack([params.sum() * self.texts, torch.zeros_like(self.texts)], dim=-1)

    def distilled(self, params: Tensor, teacher: Tensor) -> Tensor:
        for _ in range(self.steps):
            said = torch.softmax(self.scores(params), dim=-1)
            gradient = ((said - teacher)[:, 0] * self.texts).mean()
            params = params - self.learning_rate * gradient
        return params

    def test_scores(self, params: Tensor) -> Tensor | None:
        return self.scores(params) if self.judges else None

    def accuracy(self, test_scores: Tensor) -> float:
        return float((test_scores.argmax(dim=-1) == (self.texts <= 0).long()).double().mean())
