"""Keeps what the caller has set in PyTorch away from a trial, and the trial's own from the caller.

A trial has the same bits whoever runs it: in a notebook under ``torch.no_grad()``, in a program
whose default dtype is float64, inside somebody else's autocast, beside another trial in a thread.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, ParamSpec, TypeVar

import torch

from fedtune.config import TrialConfig
from fedtune.trial.device import deterministic_kernels

P = ParamSpec("P")
T = TypeVar("T")

#: Held by who computes. PyTorch's own generator, its default dtype, its number of threads and the
#: precision of its products belong to the process, so simulations in threads take turns, a step of
#: their generators each. Nobody holds it between two steps.
_turn = threading.RLock()


def turn() -> AbstractContextManager[bool]:
    """What a simulation holds while it computes."""
    return _turn


def _new_turn() -> None:
    """In a forked child no other thread is left that could give the turn back."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_turn)

#: Precisions in which a product of two fp32 matrices is one of fp32 matrices.
_EXACT = ("none", "ieee")


def in_plain_torch(function: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """A generator function whose every step runs in :func:`plain_torch`.

    Between steps, while the caller has the word, everything is as the caller has set it. What
    counts is where ``next`` is called, which may be elsewhere than where the generator was made.
    """

    @functools.wraps(function)
    def isolated(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        steps = function(*args, **kwargs)
        try:
            while True:
                with plain_torch():
                    try:
                        step = next(steps)
                    except StopIteration:
                        return
                yield step
        finally:  # a caller that has seen enough closes this generator, not the one within
            steps.close()  # type: ignore[attr-defined]

    return isolated


@contextmanager
def plain_torch() -> Iterator[None]:
    """PyTorch as it is right after its import: gradients, float32, the CPU, no autocast.

    Waits while a simulation in another thread computes (:func:`turn`). The number of threads and
    random numbers are not touched here: a trial has its own.
    """
    with ExitStack() as stack:
        stack.enter_context(turn())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":  # the context slows every call down
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        cpu: Any = torch.backends.mkldnn  # whose type does not have what it has
        for products in (cpu.matmul, torch.backends.cuda.matmul):
            if products.fp32_precision not in _EXACT:
                stack.callback(setattr, products, "fp32_precision", products.fp32_precision)
                products.fp32_precision = "ieee"
        yield


@contextmanager
def settings_of(config: TrialConfig) -> Iterator[None]:
    """A trial's threads and its own random numbers; the caller's are put back afterwards."""
    gpus = [config.device] if config.device.startswith("cuda") else []
    with (
        turn(),
        torch.random.fork_rng(devices=gpus),
        deterministic_kernels() if gpus else nullcontext(),
    ):
        threads = torch.get_num_threads()
        torch.set_num_threads(int(config.threads))
        try:
            yield
        finally:
            torch.set_num_threads(threads)
