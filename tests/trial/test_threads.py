"""Trials in threads, and beside somebody else who draws: what each gives alone, bit for bit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from quick import quick, run, timeless

from fedtune import TrialConfig, simulate
from fedtune.models import forward
from fedtune.randomness import derive_seed, generator, seeded
from fedtune.trial.locks import TrialInUse


@pytest.fixture
def padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is computed by transformers' own code, as an architecture without another way."""
    monkeypatch.setattr(forward, "can_pack", lambda model: False)


def together(configs: list[TrialConfig]) -> list[list[dict[str, Any]]]:
    with ThreadPoolExecutor(len(configs)) as threads:
        return list(threads.map(run, configs))


def unequal(bert: str, tiny: Path) -> list[TrialConfig]:
    """Trials that need other settings of the process than each other."""
    return [
        quick(bert),
        quick(str(tiny / "albert"), seed=1, precision="bf16"),
        quick(bert, clients=2, client_optimizer="adamw", learning_rate=1e-3, threads=2),
    ]


def test_trials_in_threads_give_what_each_gives_alone(bert: str, tiny: Path) -> None:
    configs = unequal(bert, tiny)
    alone = [run(config) for config in configs]
    before = torch.get_num_threads(), torch.get_default_dtype(), torch.get_rng_state()
    assert together(configs) == alone
    after = torch.get_num_threads(), torch.get_default_dtype(), torch.get_rng_state()
    assert after[:2] == before[:2]
    assert torch.equal(after[2], before[2])


def test_so_do_those_that_draw_from_pytorchs_own_generator(
    bert: str, tiny: Path, padded: None
) -> None:
    configs = [quick(bert), quick(str(tiny / "distilbert"), seed=1)]
    alone = [run(config) for config in configs]
    assert together(configs) == alone


def test_iterators_of_several_threads_may_take_turns(bert: str, tmp_path: Path) -> None:
    """Each is begun in one thread and read on in others."""
    configs = [quick(bert), quick(bert, seed=1)]
    alone = [run(config) for config in configs]
    iterators = [simulate(config, tmp_path) for config in configs]
    taken: list[list[dict[str, Any]]] = [[], []]
    while any(len(records) < len(alone[0]) for records in taken):
        steps = [threading.Thread(target=lambda n=n: taken[n].append(next(iterators[n])))  # type: ignore[misc]
                 for n in (0, 1)]  # fmt: skip
        for step in steps:
            step.start()
        for step in steps:
            step.join()
    assert [[timeless(record) for record in records] for records in taken] == alone


@pytest.fixture
def neighbour() -> Iterator[Callable[[], int]]:
    """A thread that seeds PyTorch's own generator and draws from it; how often it has."""
    stop, drawn = threading.Event(), [0]

    def draw() -> None:
        while not stop.wait(1e-4):
            torch.manual_seed(0)
            torch.rand(3)
            drawn[0] += 1

    thread = threading.Thread(target=draw)
    thread.start()
    yield lambda: drawn[0]
    stop.set()
    thread.join()


@pytest.mark.parametrize("kind", ["bert", "albert", "distilbert"])
def test_a_neighbour_who_draws_changes_nothing(
    kind: str, tiny: Path, request: pytest.FixtureRequest
) -> None:
    config = quick(str(tiny / kind), head_init="per_client")
    alone = run(config)
    drawn = request.getfixturevalue("neighbour")
    assert run(config) == alone
    assert drawn() > 0


def draws() -> list[torch.Tensor]:
    """One of every way to draw that architectures use when they are initialised."""
    return [
        torch.empty(7, 5).normal_(0, 0.02),
        torch.nn.init.trunc_normal_(torch.empty(9, 9)),
        torch.nn.Linear(5, 6).weight.data,
        torch.randn(3, 4),
        torch.rand(5),
        torch.randint(3, 9, (4,)),
        torch.randint(9, (4,)),
        torch.randperm(20),
        torch.normal(0.0, 1.0, (3,)),
        torch.bernoulli(torch.full((5,), 0.5)),
        torch.nn.functional.dropout(torch.ones(30), 0.3, training=True),
        torch.multinomial(torch.ones(9), 3),
        torch.randn(3, generator=generator(1)),  # keeps its own
    ]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_what_is_drawn_by_a_key_is_what_pytorchs_own_generator_would_give(
    request: pytest.FixtureRequest,
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(1, "a"))
        expected = draws()
    before = torch.get_rng_state()
    with seeded(1, "a"):
        assert same(draws(), expected)
    assert torch.equal(torch.get_rng_state(), before)
    request.getfixturevalue("neighbour")
    for _ in range(20):
        with seeded(1, "a"):
            assert same(draws(), expected)


# A trial that this process itself still holds


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits fails."""
    monkeypatch.setattr("fedtune.trial.folder.time.sleep", lambda s: pytest.fail("waited"))


@pytest.mark.usefixtures("impatient")
def test_an_iterator_that_was_not_read_to_its_end_is_named_at_once(
    bert: str, tmp_path: Path
) -> None:
    config = quick(bert)
    begun = simulate(config, tmp_path)
    next(begun)
    with pytest.raises(TrialInUse, match=r"earlier simulate\(\) of this process.*close\(\) it"):
        next(simulate(config, tmp_path))
    with pytest.raises(TrialInUse, match=r"of this process"):
        next(simulate(config, tmp_path / "." / ".." / tmp_path.name))  # the same store
    assert next(simulate(config, tmp_path / "elsewhere"))["round"] == 0
    begun.close()  # type: ignore[attr-defined]
    assert [record["round"] for record in run(config, tmp_path)] == [0, 1, 2, 3]


@pytest.mark.usefixtures("impatient")
def test_one_that_is_read_in_another_thread_is_named_too(bert: str, tmp_path: Path) -> None:
    config = quick(bert)
    begun = simulate(config, tmp_path)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(next, begun).result()
    with pytest.raises(TrialInUse, match=r"of this process"):
        next(simulate(config, tmp_path))
    assert [record["round"] for record in begun] == [1, 2, 3], "the first one goes on"


@pytest.mark.usefixtures("impatient")
def test_one_that_ended_in_an_error_holds_nothing(bert: str, tmp_path: Path) -> None:
    config = quick(bert)
    with pytest.raises(ZeroDivisionError):
        [1 / record["round"] for record in simulate(config, tmp_path)]
    assert [record["round"] for record in run(config, tmp_path)] == [0, 1, 2, 3]
