"""A trial called from somebody else's PyTorch: the same bits, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from quick import log_lines, quick, run, timeless

from fedtune import BadInput, simulate
from fedtune.trial.inputs import _open_examples, _tokenize
from fedtune.trial.isolation import plain_torch

Context = Callable[[], AbstractContextManager[Any]]


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")  # a device on which nothing can be computed
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def matmul_precision() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")  # bf16 on a CPU that has it, TF32 on a GPU
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def all_together() -> Iterator[None]:
    with torch.inference_mode(), default_dtype(), default_device():
        yield


CONTEXTS: dict[str, Context] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "default_dtype": default_dtype,
    "default_device": default_device,
    "device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "matmul_precision": matmul_precision,
    "deterministic": deterministic,
    "all_together": all_together,
}


def state() -> list[Any]:
    return [
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
    ]


@pytest.fixture(scope="module")
def plain(bert: str) -> list[dict[str, Any]]:
    """The rounds of the trial where nothing is set."""
    return run(quick(bert))


@pytest.fixture
def no_memory() -> None:
    """The trial is prepared anew, and not taken from a test before."""
    _open_examples.cache_clear()
    _tokenize.cache_clear()


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize("name", CONTEXTS)
def test_a_trial_has_the_same_bits_in_whatever_context_it_is_called(
    name: str, bert: str, plain: list[dict[str, Any]], tmp_path: Path
) -> None:
    records = []
    with CONTEXTS[name]():
        before = state()
        for record in simulate(quick(bert), tmp_path):
            records.append(timeless(record))
            assert state() == before, "the caller has the word between rounds"
        assert state() == before
    assert records == plain


@pytest.mark.parametrize("name", ["inference_mode", "default_dtype", "default_device"])
def test_the_context_may_change_between_two_rounds(
    name: str, bert: str, plain: list[dict[str, Any]]
) -> None:
    with CONTEXTS[name]():
        rounds = simulate(quick(bert))
        records = [next(rounds)]
    records.append(next(rounds))
    with CONTEXTS[name]():
        records.append(next(rounds))
    records += rounds
    assert [timeless(record) for record in records] == plain


@pytest.mark.parametrize("name", ["inference_mode", "default_dtype", "default_device"])
def test_a_trial_goes_on_in_another_context(
    name: str, bert: str, plain: list[dict[str, Any]], tmp_path: Path, every_round: None
) -> None:
    begun = simulate(quick(bert), tmp_path)
    next(begun), next(begun)
    del begun  # and its lock with it
    with CONTEXTS[name]():
        assert run(quick(bert), tmp_path) == plain
    assert len(log_lines(quick(bert), tmp_path)) == len(plain)


def test_an_error_leaves_the_callers_settings_as_they_were(bert: str) -> None:
    with all_together():
        before = state()
        with pytest.raises(BadInput, match="max_length"):
            next(simulate(quick(bert, max_length=64)))
        assert state() == before


def test_the_new_names_of_precision_are_put_back_too() -> None:
    products: Any = torch.backends.mkldnn
    products.matmul.fp32_precision = "bf16"
    try:
        with plain_torch():
            assert products.matmul.fp32_precision == "ieee"
        assert products.matmul.fp32_precision == "bf16"
    finally:
        products.matmul.fp32_precision = "none"


def test_iterators_that_take_turns_give_what_each_gives_alone(
    bert: str, tmp_path: Path, plain: list[dict[str, Any]]
) -> None:
    other = quick(bert, clients=2, client_optimizer="adamw", learning_rate=1e-3)
    alone = [plain, run(other)]
    first, second = simulate(quick(bert), tmp_path), simulate(other, tmp_path)
    records: list[list[dict[str, Any]]] = [[], []]
    with torch.no_grad():
        records[0].append(next(first))
        records[1].append(next(second))
    records[1] += [next(second), next(second)]  # not in step
    records[0] += first
    records[1] += second
    assert [[timeless(r) for r in taken] for taken in records] == alone


def test_what_is_no_configuration_or_no_place_is_said_at_once(bert: str, tmp_path: Path) -> None:
    settings: Any = {"model": bert, "dataset": "toy", "clients": 2}
    with pytest.raises(BadInput, match=r"config: allowed is a fedtune.TrialConfig, this is a dict"):
        next(simulate(settings))
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="no folder that can be written to"):
        next(simulate(quick(bert), tmp_path / "file" / "trials"))
