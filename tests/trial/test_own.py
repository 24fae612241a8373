"""A strategy and a partition of one's own, given to ``simulate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick import quick, timeless

import fedtune
from fedtune.errors import BadInput


class Halved(fedtune.FedAvg):
    """Half the mean."""

    def step(
        self, server: Any, mean_delta: torch.Tensor, memory: Any, round_num: int
    ) -> torch.Tensor:
        return mean_delta * 0.5


class Careless(fedtune.FedAvg):
    """Keeps a number of Python from round 1 on."""

    def step(self, server: Any, mean_delta: Any, memory: Any, round_num: int) -> torch.Tensor:
        memory["count"] = 1.0
        return mean_delta


class Unprepared(fedtune.FedAvg):
    """Forgets to call FedAvg's own ``__init__``."""

    def __init__(self) -> None:
        pass


def in_turn(labels: np.ndarray, num_clients: int, rng: np.random.Generator) -> list[np.ndarray]:
    return [np.arange(k, len(labels), num_clients) for k in range(num_clients)]


def rounds(config: fedtune.TrialConfig, **own: Any) -> list[dict[str, Any]]:
    return [timeless(record) for record in fedtune.simulate(config, **own)]


def test_a_strategy_of_ones_own_takes_the_place_of_the_configurations(bert: str) -> None:
    config = quick(bert, max_rounds=2)
    plain, halved = rounds(config), rounds(config, strategy=Halved())
    assert halved[1]["server/update_norm"] == pytest.approx(plain[1]["server/update_norm"] / 2)
    assert halved[1]["clients/drift"] == plain[1]["clients/drift"]
    assert rounds(config, strategy=fedtune.FedAvg()) == plain
    assert rounds(config, strategy=Halved()) == halved


def test_a_partition_of_ones_own_takes_the_place_of_the_configurations(bert: str) -> None:
    config = quick(bert, max_rounds=2)
    own = rounds(config, partition=in_turn)
    assert own != rounds(config)
    assert own == rounds(config, partition=in_turn)
    assert "clients/accuracy_worst" in own[1]

    def random(labels: np.ndarray, k: int, rng: np.random.Generator) -> list[np.ndarray]:
        return np.array_split(rng.permutation(len(labels)), k)

    assert rounds(config, partition=random) == rounds(config, partition=random)


@pytest.mark.parametrize(
    ("clients", "words"),
    [
        ([[0], [1]], "gives 2 clients; allowed are 3"),
        ([[0], [1], []], "gives a client no example"),
        ([[0], [1], [1]], "gives an example twice"),
        ([[0], [1], [26]], "beyond the 26 examples"),
        ([[0], [1], [-1]], "beyond the 26 examples"),
    ],
)
def test_a_partition_that_is_none_is_refused(
    clients: list[list[int]], words: str, bert: str
) -> None:
    with pytest.raises(BadInput, match=words):
        rounds(quick(bert), partition=lambda labels, k, rng: clients)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"strategy": Halved}, r"subclass of fedtune\.FedAvg, this is a type"),
        ({"strategy": "fedprox"}, "this is a str"),
        ({"strategy": Unprepared()}, r"Unprepared.__init__ does not call super\(\)"),
        ({"partition": "dirichlet"}, "function of labels"),
    ],
)
def test_what_is_no_strategy_and_no_partition_is_refused(
    own: dict[str, Any], words: str, bert: str
) -> None:
    with pytest.raises(BadInput, match=words):
        rounds(quick(bert), **own)


@pytest.mark.parametrize(
    "own", [{"strategy": Halved()}, {"partition": in_turn}], ids=["strategy", "partition"]
)
def test_neither_goes_with_a_store(own: dict[str, Any], bert: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="leave store out"):
        next(fedtune.simulate(quick(bert), tmp_path, **own))
    assert not list(tmp_path.iterdir())


class Misbehaving(fedtune.FedAvg):
    """A strategy whose method ``name`` gives ``value``."""

    def __init__(self, name: str, value: Any):
        super().__init__()
        setattr(self, name, lambda *arguments: value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("memory", {"count": 0.0}, "memory gives 'count': float; allowed is a tensor"),
        ("memory", None, "memory gives NoneType; allowed is a dict"),
        ("receive", torch.ones(1), r"receive gives \(1,\)"),
        ("receive", torch.tensor(1.0), r"receive gives \(\)"),
        ("receive", None, "receive gives NoneType"),
        ("step", torch.ones(2), r"step gives \(2,\)"),
        ("weights", [1.0], "weights gives 1 weights; allowed is 3"),
        ("metrics", {"comm/bytes": -1.0}, "no other metric has"),
        ("metrics", {"round": 99}, "names with a slash"),
        ("metrics", {"test/accuracy": 1.0}, "no other metric has"),
        ("metrics", {"own/value": float("nan")}, "finite"),
    ],
)
def test_a_strategy_that_gives_what_it_may_not_is_told(
    name: str, value: Any, words: str, bert: str
) -> None:
    with pytest.raises(ValueError, match=f"Misbehaving.{words}|{words}"):
        rounds(quick(bert), strategy=Misbehaving(name, value))


def test_what_a_round_leaves_in_the_memory_are_tensors_too(bert: str) -> None:
    with pytest.raises(ValueError, match="'count': float; allowed is a tensor"):
        rounds(quick(bert), strategy=Careless())


def test_numbers_of_numpy_and_torch_are_numbers(bert: str) -> None:
    weights = np.full(3, 1 / 3, dtype=np.float32)
    (_, first, *_) = rounds(quick(bert), strategy=Misbehaving("weights", weights))
    assert first["server/update_norm"] > 0
    own = {"own/value": torch.tensor(0.5), "own/other": np.float32(0.25)}
    (_, first, *_) = rounds(quick(bert), strategy=Misbehaving("metrics", own))
    assert (first["own/value"], first["own/other"]) == (0.5, 0.25)


class Doubled(fedtune.FedAvg):
    """Adds the server's own model to itself."""

    def step(self, server: Any, mean_delta: Any, memory: Any, round_num: int) -> torch.Tensor:
        return server.params


def test_the_servers_model_may_be_given_back(bert: str) -> None:
    config = quick(bert, max_rounds=2)
    records = rounds(config, strategy=Doubled())
    assert records[2]["server/update_norm"] == pytest.approx(
        2 * records[1]["server/update_norm"], rel=1e-5
    )


@pytest.mark.parametrize(
    "drawn", [[[0.7], [1.2], [2.0]], [np.ones(26, bool)] * 3, None, 3, [[[0]], [[1]], [[2]]], "abc"]
)
def test_what_is_no_list_of_indices_is_no_partition(drawn: Any, bert: str) -> None:
    with pytest.raises(BadInput, match="whole numbers"):
        rounds(quick(bert), partition=lambda labels, k, rng: drawn)


def _doubled(values: torch.Tensor) -> None:
    values.mul_(2)


def _doubled_as_data(values: torch.Tensor) -> None:
    values.data.mul_(2)


def _doubled_in_numpy(values: torch.Tensor) -> None:
    values.numpy()[:] *= 2


def _beyond_all_numbers(values: torch.Tensor) -> None:
    values.fill_(float("inf"))


class InPlace(fedtune.FedAvg):
    """Changes the server's model itself, in one of its methods."""

    def __init__(self, method: str, change: Callable[[torch.Tensor], None]):
        super().__init__()
        usual = getattr(super(), method)

        def changing(*arguments: Any) -> Any:
            (server,) = [given for given in arguments if isinstance(given, fedtune.Server)]
            change(server.params)
            return usual(*arguments)

        setattr(self, method, changing)


@pytest.mark.parametrize("method", ["weights", "correction", "receive", "step"])
@pytest.mark.parametrize(
    "change", [_doubled, _doubled_as_data, _doubled_in_numpy, _beyond_all_numbers]
)
def test_the_servers_model_may_not_be_changed_in_place(
    method: str, change: Callable[[torch.Tensor], None], bert: str
) -> None:
    records = fedtune.simulate(quick(bert), strategy=InPlace(method, change))
    next(records)
    with pytest.raises(ValueError, match=r"InPlace changes server\.params in place"):
        next(records)


@pytest.mark.parametrize(
    ("own", "settings", "field"),
    [
        ({"strategy": Halved()}, {"strategy": "fedprox"}, "strategy"),
        ({"strategy": Halved()}, {"strategy": "one-shot", "distill_examples": 8}, "strategy"),
        ({"strategy": Halved()}, {"server_optimizer": "adam"}, "server_optimizer"),
        ({"partition": in_turn}, {"partition": "dirichlet"}, "partition"),
        ({"partition": in_turn}, {"partition_alpha": 0.1}, "partition_alpha"),
    ],
    ids=["strategy", "one-shot", "optimizer", "partition", "alpha"],
)
def test_settings_that_ones_own_would_put_out_of_effect_are_refused(
    own: dict[str, Any], settings: dict[str, Any], field: str, bert: str
) -> None:
    with pytest.raises(BadInput, match=f"{field}.*has no effect beside a .* of your own"):
        rounds(quick(bert, **settings), **own)


def test_clients_of_ones_own_that_would_be_left_without_a_step_are_refused(bert: str) -> None:
    def unequal(labels: np.ndarray, k: int, rng: np.random.Generator) -> list[np.ndarray]:
        rest = np.arange(1, len(labels))
        return [np.array([0]), *np.array_split(rest, k - 1)]

    with pytest.raises(BadInput, match="leave a client without a step: its 1 examples"):
        rounds(quick(bert, drop_last=True), partition=unequal)


@pytest.mark.parametrize(
    "name", ["stages/ensemble", "clients/accuracy_worst", "time/eval_s", "summary/final_accuracy"]
)
def test_a_metric_under_a_name_that_is_fedtunes_is_refused(name: str, bert: str) -> None:
    class Telling(fedtune.FedAvg):
        def metrics(self, memory: Any) -> dict[str, float]:
            return {name: 1.0}

    with pytest.raises(ValueError, match=rf"Telling.metrics gives '{name}'"):
        rounds(quick(bert, eval_every=2), strategy=Telling())
