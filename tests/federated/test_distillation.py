"""Distillation on models that are one number, and on the three architectures against an oracle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import oracle
import pytest
import torch
from material import LABELS, load_flat, load_padded, on_device, random_split, recipe
from scalars import LinearPool, Quadratics, rounds

from fedtune.federated.clients import ModelClients
from fedtune.federated.distilling import Distillation, ModelPool
from fedtune.federated.evaluation import evaluate, scores_of
from fedtune.federated.flat import FlatModel
from fedtune.federated.local import Diverged
from fedtune.federated.round import federated_round
from fedtune.federated.server_optimizers import ServerOptimizer
from fedtune.federated.strategies.distillation import FedDF, OneShot
from fedtune.federated.strategy import FedAvg, Server
from fedtune.models.classifier import load_classifier

#: x^2 / 2 and (x - 3)^2, both from x = 1: they end at 0.81 and 1.72.
TWO = Quadratics(curvatures=[1, 2], centres=[0, 3], steps=[2, 2])
UNEQUAL = Quadratics(curvatures=[1, 2], centres=[0, 3], steps=[2, 2], num_examples=[1, 3])
TEXTS = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def by_hand(x: float, teacher: float, steps: int = 3, rate: float = 0.5) -> float:
    """Gradient steps on the mean divergence from the scores of the model ``teacher``."""
    texts = TEXTS.tolist()

    def first(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    for _ in range(steps):
        x -= rate * sum((first(x * t) - first(teacher * t)) * t for t in texts) / len(texts)
    return x


def test_feddf_starts_from_the_weighted_mean_and_learns_from_the_plain_one() -> None:
    """Scores are linear, so their mean over the clients is that of the mean model 1.265."""
    servers, _ = rounds(FedDF(LinearPool(TEXTS)), UNEQUAL, 1, 1.0)
    start = (0.81 + 3 * 1.72) / 4
    found = float(servers[1].params)
    assert found == pytest.approx(by_hand(start, 1.265), rel=1e-12)
    assert 1.265 < found < start


def test_with_equal_clients_and_linear_scores_nothing_is_left_to_learn() -> None:
    servers, _ = rounds(FedDF(LinearPool(TEXTS)), TWO, 3, 1.0)
    expected, _ = rounds(FedAvg(), TWO, 3, 1.0)
    for server, plain in zip(servers, expected, strict=True):
        assert float(server.params) == pytest.approx(float(plain.params), rel=1e-12)


def test_one_shot_starts_from_what_the_clients_started_from() -> None:
    servers, _ = rounds(OneShot(LinearPool(TEXTS)), UNEQUAL, 1, 1.0)
    assert float(servers[1].params) == pytest.approx(by_hand(1.0, 1.265), rel=1e-12)


def test_the_servers_optimiser_comes_before_the_distillation() -> None:
    strategy = FedDF(LinearPool(TEXTS), ServerOptimizer("momentum", 0.5, 0.9))
    servers, _ = rounds(strategy, UNEQUAL, 1, 1.0)
    start = 1 + 0.5 * ((0.81 + 3 * 1.72) / 4 - 1)
    assert float(servers[1].params) == pytest.approx(by_hand(start, 1.265), rel=1e-12)


def test_the_stages_are_those_of_clients_ensemble_and_mean() -> None:
    """From x = -1 one client ends above 0 and one below: each knows all of the test set, or none of
    it; the ensemble, of mean -0.145 + 0.22, and the mean knows all.
    """
    pool = LinearPool(TEXTS)
    _, results = rounds(FedDF(pool), Quadratics([1, 2], [0, 3], [2, 2]), 1, -1.0)
    ends = [-1 * 0.9**2, 3 + (-1 - 3) * 0.8**2]
    assert ends[0] < 0 < ends[1]
    told = dict(results[0].further)
    right = sum(ends) > 0
    assert told == {
        "stages/client_mean": 0.5,
        "stages/ensemble": float(right),
        "stages/parameter_mean": float(right),
    }
    pool.judges = False
    _, results = rounds(FedDF(pool), TWO, 1, 1.0)
    assert results[0].further == {}


@pytest.mark.parametrize("kind", [FedDF, OneShot])
def test_memory_does_not_grow_with_the_number_of_clients(kind: type[FedDF]) -> None:
    sizes: dict[int, list[int]] = {}
    for num_clients in (2, 8):
        seen = sizes.setdefault(num_clients, [])

        class Watched(kind):  # type: ignore[misc, valid-type]
            def receive(self, update: Any, server: Any, memory: Any, seen: Any = seen) -> Any:
                delta = super().receive(update, server, memory)
                seen.append(sum(tensor.numel() for tensor in memory.values()))
                return delta

        clients = Quadratics([1] * num_clients, range(num_clients), [1] * num_clients)
        servers, _ = rounds(Watched(LinearPool(TEXTS)), clients, 1, 1.0)
        assert servers[1].memory == {}, "nothing of it is kept"
    assert {*sizes[2]} == {*sizes[8]}
    assert len({*sizes[8]}) == 1


# On models of 2 layers

#: A step on all of a client's examples, so that clients with the same ones train alike.
HOW = recipe(local_epochs=2, batch_size=8, learning_rate=0.05)
NUM_TEXTS, STEPS = 10, 4
#: See test_fedavg.py.
CLOSE = 2e-5


def pool_of(flat: FlatModel, pad_to: int | None = None, steps: int = STEPS) -> ModelPool:
    texts, test = random_split(NUM_TEXTS, 7), random_split(9, 8)
    how = Distillation(recipe(batch_size=4, learning_rate=0.05), steps, NUM_TEXTS)
    return ModelPool(flat, on_device(texts, pad_to), on_device(test, pad_to), how)


def one_round(
    strategy: FedAvg, flat: FlatModel, clients: list[list[int]], pad_to: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
    """The model before and after a round, and what the strategy tells of it."""
    data = on_device(random_split(24), pad_to)
    engine = ModelClients(flat, data, [torch.tensor(c) for c in clients], HOW)
    start = flat.values.clone()
    if isinstance(strategy, FedDF):
        strategy.pool.begin(1, judges=True)  # type: ignore[attr-defined]
    server, result = federated_round(Server(start), strategy, engine, range(len(clients)), 1)
    return start, server.params, dict(result.further)


def load(directory: Path, how: str) -> FlatModel:
    return load_padded(directory) if how == "transformers" else load_flat(directory)


@pytest.mark.parametrize(
    ("how", "pad_to"), [("packed", None), ("packed", 16), ("transformers", None)]
)
@pytest.mark.parametrize("name", ["bert", "albert", "distilbert"])
def test_clients_that_are_alike_have_nothing_to_teach_without_dropout(
    name: str, how: str, pad_to: int | None, without_dropout: Path
) -> None:
    """One client, and three with the same examples: the gradient is 0, but for rounding."""
    for num_clients in (1, 3):
        clients = [list(range(8))] * num_clients
        flat = load(without_dropout / name, how)
        start, taught, told = one_round(FedDF(pool_of(flat, pad_to)), flat, clients, pad_to)
        flat.values.copy_(start)
        _, plain, _ = one_round(FedAvg(), flat, clients, pad_to)
        assert (plain - start).abs().max() > 100 * CLOSE, "it has moved"
        assert (taught - plain).abs().max() < CLOSE
        assert len({*told.values()}) == 1


@pytest.mark.parametrize("kind", [FedDF, OneShot])
@pytest.mark.parametrize("name", ["bert", "albert", "distilbert"])
def test_a_round_equals_the_oracle(name: str, kind: type[FedDF], without_dropout: Path) -> None:
    """FedAvg by transformers' own modules, then plain SGD on the divergence, text by text."""
    clients = [[0, 1, 2], list(range(3, 10)), list(range(10, 24))]
    flat = load_padded(without_dropout / name)
    pool = pool_of(flat)
    start, taught, told = one_round(kind(pool), flat, clients)

    slow = load_classifier(without_dropout / name, label_names=LABELS, seed=0)
    split, texts = random_split(24), random_split(NUM_TEXTS, 7)
    expected = oracle.distilled_round(
        slow, split, texts, clients, HOW, pool.how, from_mean=kind is FedDF
    )

    assert (taught - start).abs().max() > 100 * CLOSE, "it has moved"
    assert (taught.double() - expected).abs().max() < CLOSE
    assert told.keys() == {f"stages/{s}" for s in ("client_mean", "ensemble", "parameter_mean")}


def test_stages_are_the_accuracies_of_these_models(without_dropout: Path) -> None:
    clients = [list(range(8)), list(range(8, 24))]
    flat = load_flat(without_dropout / "bert")
    pool = pool_of(flat)
    start, _, told = one_round(FedDF(pool), flat, clients)

    each, deltas = [], []
    for client_id in range(2):
        flat.values.copy_(start)
        (update,) = ModelClients(
            flat, on_device(random_split(24)), [torch.tensor(c) for c in clients], HOW
        ).train(Server(start), FedAvg(), [client_id], 1)
        deltas.append(update.delta.clone())
        flat.values.copy_(start + deltas[-1])
        each.append(scores_of(flat, pool.test))
    right = [(scores.argmax(-1) == pool.test.labels).double().mean().item() for scores in each]
    assert told["stages/client_mean"] == pytest.approx(sum(right) / 2)
    together = (sum(each).argmax(-1) == pool.test.labels).double().mean().item()  # type: ignore[union-attr]
    assert told["stages/ensemble"] == pytest.approx(together)
    flat.values.copy_(start + (deltas[0] + 2 * deltas[1]) / 3)
    assert told["stages/parameter_mean"] == evaluate(flat, pool.test).accuracy


def test_scores_are_those_of_each_text_whatever_is_beside_it(without_dropout: Path) -> None:
    flat, texts = load_flat(without_dropout / "bert"), on_device(random_split(12, 3))
    found = scores_of(flat, texts)
    for index in range(len(texts)):
        alone = flat.forward(texts.batch(torch.tensor([index])))[0]
        assert torch.allclose(found[index], alone, atol=1e-5)


def test_a_round_draws_its_texts_by_its_number_and_nothing_else(without_dropout: Path) -> None:
    how = Distillation(recipe(batch_size=4), num_steps=2, num_texts=10)
    drawn = [[b.tolist() for b in how.batches(number)] for number in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert how.num_used == how.num_trained == 8
    assert len({text for batch in drawn[0] for text in batch}) == 8
    whole = Distillation(recipe(batch_size=4), num_steps=7, num_texts=10)
    batches = whole.batches(1)
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2, 4]
    assert whole.num_trained == sum(map(len, batches))
    assert whole.num_used == 10
    assert sorted(torch.cat(batches[:3]).tolist()) == list(range(10))
    flat = load_flat(without_dropout / "bert")
    pool = ModelPool(flat, on_device(random_split(10)), on_device(random_split(3)), how)
    pool.begin(1, judges=False)
    assert pool.scores(flat.values.clone()).shape == (8, 3), "others are not asked about"
    assert pool.test_scores(flat.values.clone()) is None


def test_dropout_of_the_student_is_drawn_by_the_round(tiny: Path) -> None:
    flat = load_flat(tiny / "bert")
    pool, start = pool_of(flat), flat.values.clone()
    teacher = torch.full((NUM_TEXTS, 3), 1 / 3)
    ends = []
    for round_num in (1, 2, 1):
        pool.begin(round_num, judges=False)
        ends.append(pool.distilled(start, teacher).clone())
    assert torch.equal(ends[0], ends[2])
    assert not torch.equal(ends[0], ends[1])


def test_a_student_that_diverges_is_told_as_the_servers(tiny: Path) -> None:
    flat = load_flat(tiny / "bert")
    how = Distillation(recipe(batch_size=4, learning_rate=1e30), 3, NUM_TEXTS)
    texts = on_device(random_split(NUM_TEXTS))
    pool = ModelPool(flat, texts, texts, how)
    pool.begin(4, judges=False)
    with pytest.raises(Diverged, match="round 4 in the server's model"):
        pool.distilled(flat.values.clone(), torch.full((NUM_TEXTS, 3), 1 / 3))
