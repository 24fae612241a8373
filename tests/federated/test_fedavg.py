"""A round of federated averaging equals the oracle, and happens as a whole or not at all."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from material import LABELS, fedavg_round, load_flat, load_padded, on_device, random_split, recipe

from fedtune.federated import clients as cohorts
from fedtune.federated.local import Diverged
from fedtune.federated.round import agreement
from fedtune.models.classifier import load_classifier
from fedtune.models.forward import PackedForward

#: Engine and oracle see the same batches and take the same steps, so what is left is the rounding
#: of fp32: the engine adds the weighted deltas of the clients to the server's model, the oracle
#: averages their models in fp64. Parameters are of order 1, where one rounding is 6e-8.
CLOSE = 1e-6

RECIPES = {
    "sgd": recipe(),
    "momentum and decay": recipe(momentum=0.9, weight_decay=0.1, learning_rate=0.01),
    # Adam divides by the size of the gradient, hence turns rounding in a tiny one into a step. It
    # is held to CLOSE because the gradients themselves are equal.
    "adamw": recipe(optimizer="adamw", weight_decay=0.1, learning_rate=1e-3),
}


def unequal(num_clients: int) -> list[list[int]]:
    """Clients with 1, 2, 3, 1, 2, 3, … shares of (at least) 40 examples, drawn at random."""
    shares = [1 + client % 3 for client in range(num_clients)]
    unit = math.ceil(40 / sum(shares))
    sizes = [unit * share for share in shares]
    order = np.random.default_rng(1).permutation(sum(sizes))
    return [part.tolist() for part in np.split(order, np.cumsum(sizes)[:-1])]


def tensors(clients: list[list[int]]) -> list[torch.Tensor]:
    return [torch.tensor(examples) for examples in clients]


@pytest.mark.parametrize(
    ("how", "num_clients"),
    [*((how, clients) for how in RECIPES for clients in (1, 5)), ("sgd", 2), ("sgd", 32)],
)
@pytest.mark.parametrize("name", ["bert", "albert", "distilbert"])
def test_a_round_equals_the_oracle(
    name: str, how: str, num_clients: int, without_dropout: Path
) -> None:
    local, clients = RECIPES[how], unequal(num_clients)
    split = random_split(sum(map(len, clients)))
    slow = load_classifier(without_dropout / name, label_names=LABELS, seed=0)
    flat = load_padded(without_dropout / name)
    server = flat.values.clone()

    expected = oracle.fedavg_round(slow, split, clients, local, round_num=1)
    server, result = fedavg_round(
        server, flat, on_device(split), tensors(clients), local, round_num=1
    )

    difference = server.double() - oracle.flatten(dict(slow.named_parameters()))
    assert difference.abs().max() < CLOSE
    assert result.num_examples == expected["num_examples"]
    assert result.train_loss == pytest.approx(expected["train_loss"], rel=1e-5)
    assert result.drift == pytest.approx(expected["drift"], rel=1e-5)
    assert result.update_norm == pytest.approx(expected["update_norm"], rel=1e-4)
    if num_clients == 1:
        assert result.agreement is None
    else:
        assert result.agreement == pytest.approx(expected["agreement"], abs=1e-5)


@pytest.mark.parametrize("name", ["bert", "albert", "distilbert"])
def test_a_round_without_padding_equals_the_oracle(name: str, without_dropout: Path) -> None:
    """Up to fp32's rounding, which differs and grows a little with every step."""
    clients = unequal(5)
    split = random_split(sum(map(len, clients)))
    slow = load_classifier(without_dropout / name, label_names=LABELS, seed=0)
    flat = load_flat(without_dropout / name)
    assert isinstance(flat.forward, PackedForward)
    before = flat.values.clone()
    oracle.fedavg_round(slow, split, clients, recipe(), round_num=1)
    server, _ = fedavg_round(before, flat, on_device(split), tensors(clients), recipe(), 1)
    expected = oracle.flatten(dict(slow.named_parameters()))
    assert (server.double() - expected).norm() < 1e-4 * (expected - before.double()).norm()


def test_one_client_is_plain_fine_tuning(without_dropout: Path) -> None:
    """Two rounds of a single client against an ordinary training loop of two rounds of epochs."""
    split, how = random_split(22), recipe()
    plain = load_classifier(without_dropout / "bert", label_names=LABELS, seed=0)
    flat = load_padded(without_dropout / "bert")
    server = flat.values.clone()
    for round_num in (1, 2):
        losses = oracle.train(plain, split, list(range(22)), how, (0, round_num))
        everything = [torch.arange(22)]
        server, result = fedavg_round(server, flat, on_device(split), everything, how, round_num)
        assert result.train_loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
        assert result.update_norm == result.drift
    trained = oracle.flatten(dict(plain.named_parameters()))
    assert (server.double() - trained).abs().max() < CLOSE
    assert (trained - load_padded(without_dropout / "bert").values).norm() > 0.1, "it has moved"


WHOLE = recipe(batch_size=64, local_epochs=3)  # one batch holds all: its order changes nothing


@pytest.mark.parametrize("num_clients", [2, 5])
def test_identical_clients_equal_one(num_clients: int, without_dropout: Path) -> None:
    split = random_split(10)
    alone, together = load_flat(without_dropout / "bert"), load_flat(without_dropout / "bert")
    one, many = alone.values.clone(), together.values.clone()
    same = torch.arange(10)
    one, _ = fedavg_round(one, alone, on_device(split), [same], WHOLE, 1)
    many, result = fedavg_round(many, together, on_device(split), [same] * num_clients, WHOLE, 1)
    assert (one - many).abs().max() < CLOSE
    assert result.agreement == pytest.approx(1, abs=1e-4)
    assert result.update_norm == pytest.approx(result.drift, rel=1e-5)


def test_the_order_in_which_clients_are_listed_changes_nothing(without_dropout: Path) -> None:
    clients = tensors(unequal(5))
    split = random_split(sum(map(len, clients)))
    results = []
    for listed in (clients, clients[::-1], clients[2:] + clients[:2]):
        flat = load_flat(without_dropout / "bert")
        server = flat.values.clone()
        server, told = fedavg_round(server, flat, on_device(split), listed, WHOLE, 1)
        results.append((server, told))
    for server, told in results[1:]:
        assert (server - results[0][0]).abs().max() < CLOSE
        assert told.train_loss == pytest.approx(results[0][1].train_loss, rel=1e-5)
        assert told.drift == pytest.approx(results[0][1].drift, rel=1e-5)
        assert told.agreement == pytest.approx(results[0][1].agreement, abs=1e-5)


def test_larger_clients_weigh_more(without_dropout: Path) -> None:
    """The mean lies nearer to the larger client's model, in the proportion of their examples."""
    split = random_split(10)
    large, small = torch.arange(8), torch.arange(8, 10)
    models = []
    for clients in ([large], [small], [large, small]):
        flat = load_flat(without_dropout / "bert")
        server = flat.values.clone()
        server, _ = fedavg_round(server, flat, on_device(split), clients, WHOLE, 1)
        models.append(server)
    assert (models[2] - (0.8 * models[0] + 0.2 * models[1])).abs().max() < CLOSE


def test_a_round_gives_the_same_bits_whatever_the_model_held_before(bert: str) -> None:
    """With dropout: its numbers come from seed, round and client, not from the past."""
    split, clients = random_split(12), [torch.arange(5), torch.arange(5, 12)]
    servers = []
    for disturb in (False, True):
        flat = load_flat(Path(bert))
        server = flat.values.clone()
        if disturb:
            torch.manual_seed(1234)
            flat.values.add_(torch.randn(flat.num_parameters))
            flat.parameters.grad = flat.parameters.grad.add_(1.0)
        server, _ = fedavg_round(server, flat, on_device(split), clients, recipe(), 3)
        servers.append(server)
    assert torch.equal(servers[0], servers[1])


@pytest.mark.parametrize("change", ["seed", "round"])
def test_another_seed_or_round_draws_other_numbers(change: str, bert: str) -> None:
    split, clients = random_split(12), [torch.arange(12)]
    servers = []
    for other in (0, 1):
        flat = load_flat(Path(bert))
        server = flat.values.clone()
        how = recipe(seed=other if change == "seed" else 0, batch_size=64)
        round_num = 1 + other if change == "round" else 1
        server, _ = fedavg_round(server, flat, on_device(split), clients, how, round_num)
        servers.append(server)
    assert not torch.equal(servers[0], servers[1])


def test_a_client_without_examples_is_refused_and_the_server_stays(without_dropout: Path) -> None:
    flat = load_flat(without_dropout / "bert")
    server = flat.values.clone()
    before = server.clone()
    clients = [torch.arange(4), torch.arange(0), torch.arange(4, 8)]
    with pytest.raises(ValueError, match="at least one example"):
        fedavg_round(server, flat, on_device(random_split(8)), clients, recipe(), 1)
    assert torch.equal(server, before)


def test_a_failure_in_the_third_client_leaves_the_server_as_it_was(
    without_dropout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = load_flat(without_dropout / "bert")
    server = flat.values.clone()
    before = server.clone()
    train, trained = cohorts.train_client, []

    def fail_at_third(*arguments: object) -> tuple[float, int]:
        trained.append(arguments[5])
        if len(trained) == 3:
            raise RuntimeError("out of memory")
        return train(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cohorts, "train_client", fail_at_third)
    with pytest.raises(RuntimeError, match="out of memory"):
        fedavg_round(
            server, flat, on_device(random_split(16)), list(torch.arange(16).split(4)), recipe(), 1
        )
    assert trained == [0, 1, 2], "clients are trained in the order of their number"
    assert torch.equal(server, before)


@pytest.mark.parametrize("poison", [math.inf, math.nan])
def test_diverged_names_round_and_client_and_leaves_the_server(
    poison: float, without_dropout: Path
) -> None:
    flat = load_flat(without_dropout / "bert")
    server = flat.values.clone()
    before = server.clone()

    def poison_client_two(client_id: int) -> None:
        if client_id == 2:
            flat.values[0] = poison

    clients = list(torch.arange(16).split(4))
    with pytest.raises(Diverged, match="diverged in round 7 at client 2") as diverged:
        fedavg_round(
            server, flat, on_device(random_split(16)), clients, recipe(), 7, poison_client_two
        )
    assert (diverged.value.round_num, diverged.value.client_id) == (7, 2)
    assert torch.equal(server, before)


def test_a_rate_that_is_far_too_high_diverges(without_dropout: Path) -> None:
    flat = load_flat(without_dropout / "bert")
    server = flat.values.clone()
    before = server.clone()
    with pytest.raises(Diverged):
        fedavg_round(
            server,
            flat,
            on_device(random_split(16)),
            list(torch.arange(16).split(4)),
            recipe(learning_rate=1e30),
            1,
        )
    assert torch.equal(server, before)


def test_a_client_starts_from_the_server_and_keeps_no_optimiser_state(
    without_dropout: Path,
) -> None:
    """Momentum of one client must not push the next: the second equals the same one alone."""
    split, how = random_split(12), replace(WHOLE, momentum=0.9)
    models = []
    for clients in ([torch.arange(6), torch.arange(6, 12)], [torch.arange(6, 12)]):
        flat = load_flat(without_dropout / "bert")
        server = flat.values.clone()
        server, _ = fedavg_round(server, flat, on_device(split), clients, how, 1)
        models.append(flat.values.clone())  # the last client's delta
    assert (models[0] - models[1]).abs().max() < CLOSE


@pytest.mark.parametrize(
    ("deltas", "sizes", "expected"),
    [
        ([[1.0, 0.0], [1.0, 0.0]], [1, 1], 1.0),
        ([[1.0, 0.0], [0.0, 1.0]], [1, 1], 0.0),
        ([[1.0, 0.0], [-1.0, 0.0]], [1, 1], -1.0),
        ([[1.0, 0.0], [0.0, 1.0]], [9, 1], 0.0),  # unrelated is 0, however unequal the clients
        ([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], [5, 1, 1], 1.0),
        ([[3.0, 0.0], [1.0, 0.0]], [1, 1], 0.6),
        ([[3.0, 0.0], [1.0, 0.0]], [9, 1], 0.6),  # never above 1, whoever moves further
        (np.eye(32).tolist(), [1] * 32, 0.0),  # and whatever K is
    ],
)
def test_agreement_is_one_for_equal_deltas_and_zero_for_unrelated_ones(
    deltas: list[list[float]], sizes: list[int], expected: float
) -> None:
    vectors = torch.tensor(deltas, dtype=torch.float64)
    weights = [size / sum(sizes) for size in sizes]
    mean = (torch.tensor(weights, dtype=torch.float64)[:, None] * vectors).sum(0)
    norms = vectors.norm(dim=1).tolist()
    told = agreement(mean.norm().item(), norms, weights, 1 / sum(sizes))
    assert told == pytest.approx(expected, abs=1e-12)


def test_agreement_is_absent_for_one_client_and_when_nothing_moved() -> None:
    assert agreement(1.0, [1.0], [1.0], 1.0) is None
    assert agreement(0.0, [0.0, 0.0], [0.5, 0.5], 0.5) is None
