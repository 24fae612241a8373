"""Each strategy on clients whose loss is a parabola, where every number can be worked out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scalars import LinearPool, Quadratics, rounds, start

from fedtune.federated.client_vectors import ClientVectors
from fedtune.federated.local import Diverged
from fedtune.federated.round import federated_round
from fedtune.federated.server_optimizers import ServerOptimizer
from fedtune.federated.strategies.agnostic import AgnosticFL, onto_simplex
from fedtune.federated.strategies.distillation import FedDF, OneShot
from fedtune.federated.strategies.fednova import FedNova
from fedtune.federated.strategies.fedprox import FedProx
from fedtune.federated.strategies.scaffold import Scaffold
from fedtune.federated.strategy import FedAvg, Server

#: x^2 / 2 and (x - 3)^2, both from x = 1: mean of the optima weighted by curvature is 2.
TWO = Quadratics(curvatures=[1, 2], centres=[0, 3], steps=[2, 2])
EXACT = {"rel": 1e-12}


def scaffold(folder: Path, clients: Quadratics, width: int = 1) -> Scaffold:
    return Scaffold(Fp64Vectors(folder / "variates", len(clients.centres), width))


class Fp64Vectors(ClientVectors):
    """In memory and in fp64, for traces to many digits; the places are those of the file."""

    def __init__(self, path: Path, num_clients: int, num_parameters: int):
        self._kept = torch.zeros(num_clients, 2, num_parameters, dtype=torch.float64)

    def read(self, client_id: int, slot: int) -> torch.Tensor:
        return self._kept[client_id, slot].clone() if slot != self.EMPTY else self._kept[0, 0] * 0

    def write(self, client_id: int, slot: int, vector: torch.Tensor) -> int:
        new = 0 if slot == self.EMPTY else 1 - slot
        self._kept[client_id, new] = vector
        return new


def params(servers: list[Server]) -> list[float]:
    return [float(server.params) for server in servers]


def test_fedavg_follows_the_trace() -> None:
    assert params(rounds(FedAvg(), TWO, 1, 1.0)[0])[1] == pytest.approx(1.265, **EXACT)


def test_fedavg_does_not_end_at_the_optimum() -> None:
    assert params(rounds(FedAvg(), TWO, 200, 1.0)[0])[-1] == pytest.approx(1.9636, abs=5e-5)


def test_fedprox_follows_the_trace() -> None:
    assert params(rounds(FedProx(1.0), TWO, 1, 1.0)[0])[1] == pytest.approx(1.25, **EXACT)


def test_fedprox_without_mu_is_fedavg_bit_for_bit() -> None:
    assert params(rounds(FedProx(0.0), TWO, 5, 1.0)[0]) == params(rounds(FedAvg(), TWO, 5, 1.0)[0])


def test_one_local_step_of_fedprox_is_fedavg_for_every_mu() -> None:
    one = Quadratics(curvatures=[1, 2], centres=[0, 3], steps=[1, 1])
    expected = params(rounds(FedAvg(), one, 3, 1.0)[0])
    for mu in (0.01, 1.0, 100.0):
        assert params(rounds(FedProx(mu), one, 3, 1.0)[0]) == expected


def test_fedavgm_follows_the_trace() -> None:
    strategy = FedAvg(ServerOptimizer("momentum", 1.0, 0.9))
    assert params(rounds(strategy, TWO, 2, 1.0)[0])[1:] == pytest.approx([1.265, 1.695625], **EXACT)


def test_fedavgm_without_momentum_is_fedavg_bit_for_bit() -> None:
    strategy = FedAvg(ServerOptimizer("momentum", 1.0, 0.0))
    assert params(rounds(strategy, TWO, 5, 1.0)[0]) == params(rounds(FedAvg(), TWO, 5, 1.0)[0])


def test_fedadagrad_follows_the_trace() -> None:
    strategy = FedAvg(ServerOptimizer("adagrad", 0.1, 0.0, tau=1e-3))
    assert params(rounds(strategy, TWO, 2, 1.0)[0])[1:] == pytest.approx(
        [1.09962335, 1.16619326], abs=5e-9
    )


@pytest.mark.parametrize("kind", ["adam", "yogi"])
def test_adam_and_yogi_do_what_their_paper_writes(kind: str) -> None:
    """Algorithm 2 by hand, two rounds; beta 1 = 0.9, beta 2 = 0.99, tau = 1e-3, rate 0.1."""
    servers, _ = rounds(FedAvg(ServerOptimizer(kind, 0.1, 0.9, 0.99, 1e-3)), TWO, 2, 1.0)  # type: ignore[arg-type]

    x, m, v = 1.0, 0.0, 1e-6
    for server in servers[1:]:
        end = [x * 0.9**2, 3 + (x - 3) * 0.8**2]
        delta = sum(end) / 2 - x
        m = 0.9 * m + 0.1 * delta
        sign = (v > delta**2) - (v < delta**2)
        v = 0.99 * v + 0.01 * delta**2 if kind == "adam" else v - 0.01 * delta**2 * sign
        x += 0.1 * m / (v**0.5 + 1e-3)
        assert float(server.params) == pytest.approx(x, **EXACT)


def test_fednova_follows_the_trace() -> None:
    uneven = Quadratics(curvatures=[1, 2], centres=[0, 3], steps=[1, 4])
    assert params(rounds(FedAvg(), uneven, 1, 1.0)[0])[1] == pytest.approx(1.5404, **EXACT)
    assert params(rounds(FedNova(), uneven, 1, 1.0)[0])[1] == pytest.approx(1.244, **EXACT)


def test_fednova_with_equal_steps_is_fedavg_bit_for_bit() -> None:
    sizes = [3, 7, 11]
    three = Quadratics([1, 2, 0.3], [0, 3, -1], [3, 3, 3], num_examples=sizes)
    assert params(rounds(FedNova(), three, 5, 1.0)[0]) == params(rounds(FedAvg(), three, 5, 1.0)[0])


def test_agreement_does_not_depend_on_what_weights_add_up_to() -> None:
    """FedNova's do not add up to one; two clients that move alike agree all the same."""
    alike = Quadratics([1, 1], [3, 3], [1, 1], num_examples=[1, 5])
    _, results = rounds(FedNova(), alike, 1, 1.0)
    assert results[0].agreement == pytest.approx(1.0)
    uneven = Quadratics([1, 1], [3, -1], [1, 4], num_examples=[1, 1])
    _, results = rounds(FedNova(), uneven, 1, 1.0)
    assert results[0].agreement == pytest.approx(
        -4 * 0.2 * 2 * (1 - 0.9**4) / (0.2**2 + (2 * (1 - 0.9**4)) ** 2) / 2, rel=1e-9
    )


def test_scaffold_follows_the_trace_to_the_optimum(tmp_path: Path) -> None:
    servers, _ = rounds(scaffold(tmp_path, TWO), TWO, 300, 1.0)
    assert params(servers)[1:3] == pytest.approx([1.265, 1.4685], abs=5e-5)
    assert params(servers)[-1] == pytest.approx(2.0, abs=1e-6)


def test_the_first_round_of_scaffold_is_one_of_fedavg(tmp_path: Path) -> None:
    found = params(rounds(scaffold(tmp_path, TWO), TWO, 1, 1.0)[0])
    assert found == params(rounds(FedAvg(), TWO, 1, 1.0)[0])


def test_scaffold_with_one_client_is_fedavg(tmp_path: Path) -> None:
    alone = Quadratics([2], [3], [4])
    found = params(rounds(scaffold(tmp_path, alone), alone, 10, 1.0)[0])
    assert found == pytest.approx(params(rounds(FedAvg(), alone, 10, 1.0)[0]), **EXACT)


def test_with_everybody_the_control_is_the_mean_of_the_clients(tmp_path: Path) -> None:
    three = Quadratics([1, 2, 0.3], [0, 3, -1], [2, 3, 1], num_examples=[3, 7, 11])
    strategy = scaffold(tmp_path, three)
    for server in rounds(strategy, three, 6, 1.0)[0]:
        slots = server.memory["scaffold/slots"].tolist()
    variates = [float(strategy.vectors.read(k, slot)) for k, slot in enumerate(slots)]
    assert float(server.memory["scaffold/control"]) == pytest.approx(sum(variates) / 3, **EXACT)


def test_a_part_of_the_clients_moves_the_control_by_its_share(tmp_path: Path) -> None:
    """c += 1/K times the sum of the changes, K all clients and not the cohort."""
    strategy = scaffold(tmp_path, TWO)
    servers, _ = rounds(strategy, TWO, 1, 1.0, cohorts=[[1]])
    mean_gradient = (-4.0 + -3.2) / 2  # of client 1's two steps, from x = 1
    assert float(servers[1].memory["scaffold/control"]) == pytest.approx(mean_gradient / 2, **EXACT)
    assert servers[1].memory["scaffold/slots"].tolist() == [-1, 0]


def test_agnostic_weights_stay_where_losses_are_equal() -> None:
    alike = Quadratics([1, 1], [2, 2], [2, 2], num_examples=[1, 3])
    servers, _ = rounds(AgnosticFL(), alike, 5, 1.0)
    for server in servers:
        assert server.memory["agnostic/weights"].tolist() == pytest.approx([0.25, 0.75])


def test_agnostic_weights_go_to_the_client_with_the_larger_loss() -> None:
    servers, _ = rounds(AgnosticFL(), TWO, 2, 1.0)
    # Losses of the server's model at x = 1: 0.5 and 4. The mixture goes up by a tenth of them.
    first, second = servers[1].memory["agnostic/weights"].tolist()
    assert (first, second) == pytest.approx((0.5 - 0.175, 0.5 + 0.175))
    assert params(servers)[1] == pytest.approx(1.265, **EXACT)
    moved = 0.325 * servers[1].params * 0.81 + 0.675 * (3 + (servers[1].params - 3) * 0.64)
    assert params(servers)[2] == pytest.approx(float(moved), **EXACT)


@pytest.mark.parametrize(
    ("point", "nearest"),
    [
        ([0.2, 0.8], [0.2, 0.8]),
        ([1.2, 1.8], [0.2, 0.8]),
        ([0.5, 1.5], [0.0, 1.0]),
        ([5.0, 0.0, -5.0], [1.0, 0.0, 0.0]),
        ([-1.0, -1.0], [0.5, 0.5]),
        ([1e20, 3e17], [1.0, 0.0]),
    ],
)
def test_the_nearest_point_of_the_simplex(point: list[float], nearest: list[float]) -> None:
    assert onto_simplex(torch.tensor(point)).tolist() == pytest.approx(nearest)


STRATEGIES = {
    "fedavg": lambda folder: FedAvg(),
    "fedadam": lambda folder: FedAvg(ServerOptimizer("adam", 0.1)),
    "fedprox": lambda folder: FedProx(0.1),
    "fednova": lambda folder: FedNova(),
    "afl": lambda folder: AgnosticFL(),
    "scaffold": lambda folder: Scaffold(ClientVectors(folder / "variates", 3, 2)),
    "feddf": lambda folder: FedDF(LinearPool(torch.tensor([1.0, -2.0])), ServerOptimizer("adam")),
    "one-shot": lambda folder: OneShot(LinearPool(torch.tensor([1.0, -2.0]))),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_client_that_raises_changes_nothing(name: str, tmp_path: Path) -> None:
    """Also of what is kept on disk: the round can be run again and gives what it would have."""
    three = Quadratics([1, 2, 0.3], [0, 3, -1], [2, 3, 1], num_examples=[3, 7, 11])
    strategy = STRATEGIES[name](tmp_path)
    server = as_fp32(start(strategy, three, 1.0, -2.0))
    for round_num in (1, 2):
        server, _ = federated_round(server, strategy, three, [0, 1, 2], round_num)
    before = {key: value.clone() for key, value in server.memory.items()}
    params = server.params.clone()
    expected, _ = federated_round(server, strategy, three, [0, 1, 2], 3)

    three.fails = {2}
    with pytest.raises(Diverged):
        federated_round(server, strategy, three, [0, 1, 2], 3)
    assert torch.equal(server.params, params)
    assert all(torch.equal(server.memory[key], value) for key, value in before.items())
    three.fails = set()
    again, _ = federated_round(server, strategy, three, [0, 1, 2], 3)

    assert torch.equal(again.params, expected.params)
    assert again.memory.keys() == expected.memory.keys()
    assert all(torch.equal(again.memory[key], expected.memory[key]) for key in again.memory)


def as_fp32(server: Server) -> Server:
    """Moments of the model's own kind; a mixture stays fp64, and places are numbers."""
    memory = {
        key: value.float() if key.startswith(("server", "scaffold/control")) else value
        for key, value in server.memory.items()
    }
    return Server(server.params.float(), memory)


@pytest.mark.parametrize("name", STRATEGIES)
def test_memory_keeps_its_shape(name: str, tmp_path: Path) -> None:
    """What a checkpoint holds of a strategy is the same in every round."""
    strategy = STRATEGIES[name](tmp_path)
    three = Quadratics([1, 2, 0.3], [0, 3, -1], [2, 3, 1], num_examples=[3, 7, 11])
    server = as_fp32(start(strategy, three, 1.0, -2.0))
    shapes = {key: (value.shape, value.dtype) for key, value in server.memory.items()}
    for round_num in (1, 2):
        server, _ = federated_round(server, strategy, three, [0, 2], round_num)
        assert {k: (v.shape, v.dtype) for k, v in server.memory.items()} == shapes
