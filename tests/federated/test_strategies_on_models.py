"""FedProx and SCAFFOLD on the three architectures equal their algorithms, written out slowly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from material import LABELS, load_padded, on_device, random_split, recipe

from fedtune.federated.client_vectors import ClientVectors
from fedtune.federated.clients import ModelClients
from fedtune.federated.cohort import cohort_of
from fedtune.federated.round import federated_round
from fedtune.federated.strategies.fedprox import FedProx
from fedtune.federated.strategies.scaffold import Scaffold
from fedtune.federated.strategy import FedAvg, Server
from fedtune.models.classifier import load_classifier

HOW = recipe(local_epochs=2, batch_size=4, learning_rate=0.02)
ROUNDS = 3
#: See test_fedavg.py; a control variate divides a difference of models by steps and rate.
CLOSE = 2e-5


def unequal(num_clients: int) -> list[list[int]]:
    sizes = [1 + 2 * (client % 3) for client in range(num_clients)]
    unit = math.ceil(24 / sum(sizes))
    order = np.random.default_rng(1).permutation(unit * sum(sizes))
    return [p.tolist() for p in np.split(order, np.cumsum([unit * s for s in sizes])[:-1])]


#: Clients, and the share of them in a round; 32 of them quickly on one architecture alone.
COHORTS = ((1, 1.0), (2, 0.5), (5, 1.0), (5, 0.5))
MODELS = [
    *((name, *cohort) for name in ("bert", "albert", "distilbert") for cohort in COHORTS),
    ("bert", 32, 0.5),
    *(pytest.param(name, 32, 0.5, marks=pytest.mark.slow) for name in ("albert", "distilbert")),
]


@pytest.mark.parametrize("kind", ["fedprox", "scaffold"])
@pytest.mark.parametrize(("name", "num_clients", "share"), MODELS)
def test_rounds_equal_the_oracle(
    name: str, kind: str, num_clients: int, share: float, without_dropout: Path, tmp_path: Path
) -> None:
    clients = unequal(num_clients)
    split = random_split(sum(map(len, clients)))
    slow = load_classifier(without_dropout / name, label_names=LABELS, seed=0)
    flat = load_padded(without_dropout / name)
    engine = ModelClients(flat, on_device(split), [torch.tensor(c) for c in clients], HOW)
    strategy: FedAvg = FedProx(1.0)
    if kind == "scaffold":
        strategy = Scaffold(ClientVectors(tmp_path / "v", num_clients, flat.num_parameters))
    start = flat.values.clone()
    known = [engine.info(client_id) for client_id in range(num_clients)]
    server = Server(start, strategy.memory(start, known))
    control = {n: torch.zeros_like(p) for n, p in slow.named_parameters()}
    controls = [dict(control) for _ in clients]

    for round_num in range(1, ROUNDS + 1):
        cohort = cohort_of(round_num, num_clients, share, seed=0)
        server, _ = federated_round(server, strategy, engine, cohort, round_num)
        if kind == "fedprox":
            oracle.fedprox_round(slow, split, clients, HOW, round_num, cohort, mu=1.0)
        else:
            variates = control, controls
            oracle.scaffold_round(slow, split, clients, HOW, round_num, cohort, *variates)

    expected = oracle.flatten(dict(slow.named_parameters()))
    assert (expected - start.double()).norm() > 100 * CLOSE, "it has moved"
    assert (server.params.double() - expected).abs().max() < CLOSE
    if kind == "scaffold":
        told = server.memory["scaffold/control"].double()
        assert (told - oracle.flatten(control)).abs().max() < 1e-3 * oracle.flatten(control).norm()


@pytest.mark.parametrize("kind", ["fedprox", "scaffold"])
def test_what_is_corrected_differs_from_fedavg(
    kind: str, without_dropout: Path, tmp_path: Path
) -> None:
    """So that the comparison above is not one of three times the same."""
    clients = unequal(5)
    split = random_split(sum(map(len, clients)))
    ends = []
    for strategy in (FedAvg(), None):
        flat = load_padded(without_dropout / "bert")
        if strategy is None:
            vectors = ClientVectors(tmp_path / "v", 5, flat.num_parameters)
            strategy = FedProx(1.0) if kind == "fedprox" else Scaffold(vectors)
        engine = ModelClients(flat, on_device(split), [torch.tensor(c) for c in clients], HOW)
        start = flat.values.clone()
        known = [engine.info(client_id) for client_id in range(5)]
        server = Server(start, strategy.memory(start, known))
        for round_num in (1, 2):
            server, _ = federated_round(server, strategy, engine, range(5), round_num)
        ends.append(server.params)
    assert (ends[0] - ends[1]).abs().max() > 50 * CLOSE
