"""What each technique buys: a client's local steps with one of them taken away at a time.

    python -m benchmarks.techniques [--model mini-bert] [--dataset bbc-news] [--compiled]

All variants train on the same batches, turn by turn in one process. The first is everything on, as
fedtune runs it; transformers' own code on padded texts in fp32 is what a hand-written loop does.
``--compiled`` adds that code under ``torch.compile``, which takes minutes before its first step.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.workload import federation, markdown, measured_on, model_of
from fedtune.data import packing
from fedtune.federated.local import train_client
from fedtune.models import attention, dropout
from fedtune.models.forward import Forward, PackedForward, PaddedForward, Precision
from fedtune.models.packed import PackedEncoder


def bernoulli(
    shape: tuple[int, ...],
    p: float,
    dtype: torch.dtype,
    device: Any,
    draws: torch.Generator | None = None,
) -> Tensor:
    """A mask as PyTorch's own dropout draws it."""
    return torch.empty(shape, dtype=dtype, device=device).bernoulli_(1 - p, generator=draws)


@contextmanager
def torch_dropout() -> Iterator[None]:
    with (
        mock.patch.object(attention, "keep_mask", bernoulli),
        mock.patch.object(dropout, "keep_mask", bernoulli),
    ):
        yield


@contextmanager
def all_tokens_in_the_last_layer() -> Iterator[None]:
    own = PackedEncoder.__call__

    def whole(
        self: PackedEncoder,
        *given: Any,
        first_only: bool = False,
        draws: torch.Generator | None = None,
    ) -> Tensor:
        hidden = own(self, *given, draws=draws)
        return hidden.index_select(0, given[1].starts) if first_only else hidden

    with mock.patch.object(PackedEncoder, "__call__", whole):
        yield


@contextmanager
def one_group() -> Iterator[None]:
    """Attention over all texts of a batch side by side."""
    with mock.patch.object(packing, "GROUP_SIZE", 1 << 30):
        yield


@contextmanager
def nothing() -> Iterator[None]:
    yield


class CompiledForward(PaddedForward):
    """transformers' own code on padded texts, compiled once for batches of any shape."""

    def __init__(self, model: Any, precision: Precision):
        super().__init__(_compiled(model), precision)


@cache
def _compiled(model: Any) -> Any:
    return torch.compile(model, dynamic=True)


Variant = tuple[Callable[[Any, Precision], Forward], Precision, Callable[[], Any]]


def variants(precision: Precision, compiled: bool) -> dict[str, Variant]:
    """Name, way through the model, precision and what is patched meanwhile."""
    found: dict[str, Variant] = {
        "as fedtune runs it": (PackedForward, precision, nothing),
        "PyTorch's dropout": (PackedForward, precision, torch_dropout),
        "all tokens in the last layer": (PackedForward, precision, all_tokens_in_the_last_layer),
        "attention over the whole batch at once": (PackedForward, precision, one_group),
        "fp32": (PackedForward, "fp32", nothing),
        "padded, transformers' code": (PaddedForward, precision, nothing),
        "padded, transformers' code, fp32": (PaddedForward, "fp32", nothing),
    }
    if compiled:
        found["padded, transformers' code, compiled"] = (CompiledForward, precision, nothing)
    if precision == "fp32":
        del found["fp32"], found["padded, transformers' code"]
    if torch.cuda.is_available():  # both are what fedtune does on a GPU
        del found["PyTorch's dropout"], found["attention over the whole batch at once"]
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--dataset", default="bbc-news")
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--compiled", action="store_true", help="torch.compile too (minutes)")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with model_of(asked.model) as model:
        made = federation(
            model, asked.dataset, clients=1, examples=asked.examples, threads=asked.threads
        )
    data, recipe = made.splits["train"], replace(made.recipe, local_epochs=1)
    ways = variants(made.trial.config.precision, asked.compiled)  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    first: dict[str, float] = {}
    for turn in range(asked.turns + 1):
        for name, (forward, precision, patched) in ways.items():
            made.flat.values.copy_(made.server.params)
            made.flat.forward = forward(made.flat.model, precision)
            with patched():
                start = time.perf_counter()
                train_client(made.flat, data, made.clients[0], recipe, 1, 0)
                took = time.perf_counter() - start
                if turn:  # the first is warm-up
                    seconds[name].append(took)
                else:
                    first[name] = took
    ours = seconds["as fedtune runs it"]
    rows = []
    for name, times in seconds.items():
        ratios = [t / o for t, o in zip(times, ours, strict=True)]
        rows.append(
            [
                name,
                f"{first[name]:.1f}",
                f"{statistics.median(times):.2f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            ]
        )
    print(
        f"{asked.model}, {asked.examples} texts of {asked.dataset} in batches of 32, dropout on; "
        f"median of {asked.turns} turns. {measured_on(asked.threads)}\n"
    )
    print(markdown(["variant", "first turn, s", "s", "times as long as fedtune"], rows))


if __name__ == "__main__":
    main()
