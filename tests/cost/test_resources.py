"""What part of a machine a trial is given: pure arithmetic, so machines of any size are tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

from fedtune.cost import resources as module
from fedtune.cost.memory import Need, need
from fedtune.cost.resources import (
    MOST_SHARERS,
    Machine,
    at_once,
    check_fits,
    gpu_share,
    places,
    request,
    sharers,
    this_machine,
)
from fedtune.errors import BadInput
from fedtune.machine import available_cores
from fedtune.plan.plan import Plan
from fedtune.trial.identity import Trial

GB = 1e9


def on(trial: Trial, **settings: object) -> Trial:
    return replace(trial, config=trial.config.replace(**settings))


@pytest.fixture
def large(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A trial that takes 5 GB of memory, or 3 GB and 30 GB of a GPU's."""

    def as_told(trial: Trial) -> Need:
        gpu = str(trial.config.device).startswith("cuda")
        return Need(3 * GB, 30 * GB) if gpu else Need(5 * GB, 0)

    monkeypatch.setattr(module, "need", as_told)
    return plan.trials[0]


@pytest.mark.parametrize(
    ("needed", "number", "share"),
    [(3, 8, 0.125), (7, 3, 0.3333), (8, 3, 0.3333), (8.1, 2, 0.5), (12.1, 1, 1.0), (24, 1, 1.0)],
)
def test_a_gpu_of_24_gb_is_shared_by_as_many_as_fit(
    needed: float, number: int, share: float
) -> None:
    assert sharers(needed * GB, 24 * GB) == number
    assert gpu_share(needed * GB, 24 * GB) == share


def test_a_gpu_is_not_shared_by_more_than_a_number_however_small_they_are() -> None:
    assert sharers(1, 24 * GB) == MOST_SHARERS


def test_a_trial_larger_than_a_gpu_does_not_fit() -> None:
    assert sharers(25 * GB, 24 * GB) == 0


@pytest.mark.parametrize("number", range(1, MOST_SHARERS + 1))
def test_shares_as_ray_counts_them_fit_together_and_no_more_do(number: int) -> None:
    total = 80 * GB
    share = gpu_share(total / (number + 0.5), total)
    counted = Fraction(round(share * 10_000), 10_000)  # Ray counts in ten-thousandths

    assert number * counted <= 1 < (number + 1) * counted


@pytest.mark.parametrize("sizes", [(9, 9, 9), (13, 7, 5), (24, 1), (3, 5, 7, 11), (2,) * 13])
def test_trials_of_different_sizes_that_do_not_fit_have_shares_that_do_not(
    sizes: Sequence[float],
) -> None:
    assert sum(sizes) > 24
    assert sum(gpu_share(size * GB, 24 * GB) for size in sizes) > 1


def test_memory_is_asked_for_in_steps_so_that_trials_alike_share_workers(plan: Plan) -> None:
    asked = [request(trial, None) for trial in plan.trials]

    assert asked[0]["memory"] >= need(plan.trials[0]).memory
    assert asked[0]["memory"] % module.MEMORY_STEP == 0
    assert asked[0] == asked[1] == asked[2]
    assert asked[0]["gpu"] == 0


def test_no_more_memory_is_asked_for_than_there_is(large: Trial) -> None:
    assert request(large, None, most_memory=5.2 * GB)["memory"] == 5 * GB
    assert request(large, None, most_memory=4 * GB)["memory"] == 4 * GB


def test_a_gpu_is_asked_for_in_part_where_it_is_known_and_else_whole(large: Trial) -> None:
    there = Machine(16, 64 * GB, (80 * GB, 141 * GB))
    free, chosen = on(large, device="cuda"), on(large, device="cuda:1")

    assert request(free, there)["gpu"] == 0.5
    assert request(free, None)["gpu"] == 1.0
    assert request(chosen, there)["gpu"] == 0.0
    assert request(chosen, there)["cuda:1"] == 0.25
    assert "cuda:1" not in request(chosen, None)


def test_what_there_is_least_of_decides_how_many_run_at_a_time(large: Trial) -> None:
    assert places(large, Machine(8, 64 * GB)) == {"cores": 8, "memory": 12}
    assert at_once([large], Machine(8, 64 * GB)) == (8, 8)
    assert at_once([large], Machine(8, 16 * GB)) == (3, 3)
    two = on(large, threads=2)
    assert at_once([large, two], Machine(8, 64 * GB)) == (4, 8)
    gpus = Machine(16, 64 * GB, (80 * GB, 80 * GB))
    assert places(on(large, device="cuda"), gpus) == {"cores": 16, "memory": 21, "GPU": 4}
    assert at_once([on(large, device="cuda:0")], gpus) == (2, 2)


def test_a_trial_that_does_not_fit_is_refused_in_a_line_that_says_what_to_do(large: Trial) -> None:
    check_fits([large], Machine(2, 5.1 * GB))

    with pytest.raises(BadInput) as bad:
        check_fits([large, on(large, clients=4)], Machine(2, 4.2 * GB))

    (fault,) = bad.value.faults
    said = str(fault)
    assert said.startswith("model=")
    assert "needs about 5.0 GB of memory with batch_size 8, max_length 32 and sgd" in said
    assert "this machine has free only 4.2 GB; lower batch_size or max_length" in said


def test_a_trial_that_does_not_fit_a_gpu_is_refused(large: Trial) -> None:
    trial = on(large, device="cuda:1")
    check_fits([trial], Machine(2, 8 * GB, (24 * GB, 40 * GB)))

    with pytest.raises(BadInput, match=r"about 30\.0 GB .* device cuda:1 has only 24\.0 GB"):
        check_fits([trial], Machine(2, 8 * GB, (40 * GB, 24 * GB)))


def test_this_machine_has_its_cores_and_some_free_memory() -> None:
    found = this_machine([], with_ray=False)

    assert found.cores == available_cores()
    assert 1e8 < found.memory < 1e14


def test_what_ray_keeps_for_itself_is_not_there_for_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_memory", lambda: 4.1 * GB)

    assert this_machine([], with_ray=False).memory == 4.1 * GB
    assert this_machine([], with_ray=True).memory == pytest.approx(3.9 * GB)


def test_gpus_are_looked_at_only_for_trials_that_run_there(
    large: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    free = {0: (24 * GB, 40 * GB), 1: (8 * GB, 40 * GB)}
    looked: list[int] = []
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda n: (looked.append(n), free[n])[1])

    assert this_machine([on(large, device="cpu")], with_ray=False).gpus == ()
    assert not looked
    assert this_machine([on(large, device="cuda")], with_ray=False).gpus == (24 * GB, 8 * GB)
