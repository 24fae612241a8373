"""A training step on a GPU as one call: a CUDA graph for each shape of a batch.

A step of a small encoder is some 430 kernels of two microseconds each, and to start one takes the
processor ten. A graph starts them all at once. It wants the same shapes every time, and the same
places in memory, so batches are filled up with texts that have no label, to shapes of which few
occur, and copied to where the graph reads.

Without a graph the same shapes give the same bits, so that a step does not depend on whether its
shape has occurred before.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from fedtune.data.batches import Batch
from fedtune.data.packing import Packing, round_to

#: Loss of a batch, its gradient added to that of the parameters.
Gradient = Callable[[Batch], Tensor]

#: The widths of texts side by side are multiples of this: four for texts of up to 128 tokens.
WIDTH_STEP = 32

#: Texts without a label that fill up a batch; they share the tokens that it lacks.
FILLERS = 2

#: A shape that has occurred so often is captured when it occurs next. Before, the steps run kernel
#: by kernel, in which libraries prepare what they must not prepare within a capture.
SEEN_BEFORE = 2

#: What cross entropy leaves out.
NO_LABEL = -100

Shape = tuple[int, int, int]


class StepGraphs:
    """The graphs of one model's steps, which all read and write the parameters where they are.

    ``gradient`` is called once for each shape, while its kernels are recorded.
    """

    def __init__(self, gradient: Gradient, device: torch.device):
        self._gradient, self._device = gradient, device
        self._seen: Counter[Shape] = Counter()
        self._recorded: dict[Shape, _Recorded] = {}
        self._pool: Any = None

    def run(self, batch: Batch) -> Tensor:
        """Add the batch's gradient and give its loss, (), which is overwritten by the next step.

        ``labels`` are classes, (B,) int64.
        """
        full = filled(batch)
        shape = full.packing.num_tokens, len(full), full.packing.groups[0].width
        self._seen[shape] += 1
        if self._seen[shape] <= SEEN_BEFORE:
            return self._gradient(full)
        if shape not in self._recorded:
            self._recorded[shape] = _Recorded(self._gradient, full, self._pool)
            self._pool = self._recorded[shape].graph.pool()  # memory that all of them share
        return self._recorded[shape].replay(full)


def filled(batch: Batch) -> Batch:
    """The batch with FILLERS texts more, such that few numbers of tokens and widths occur."""
    lengths, device = batch.packing.lengths, batch.packing.device
    num_tokens = round_to(batch.packing.num_tokens + FILLERS, _step(batch.packing.num_tokens))
    lacking = num_tokens - batch.packing.num_tokens
    fillers = torch.full((FILLERS,), lacking // FILLERS)
    fillers[-1] += lacking % FILLERS
    last = int(lengths.max()) - 1  # the model may have no place for more
    lengths = torch.cat([lengths, fillers])
    width, types = round_to(int(lengths.max()), WIDTH_STEP), batch.token_types
    return replace(
        batch,
        token_ids=pad(batch.token_ids, (0, lacking), value=batch.pad_token_id),
        packing=Packing(lengths, device, width=width, last=last),
        labels=pad(batch.labels, (0, FILLERS), value=NO_LABEL),
        token_types=None if types is None else pad(types, (0, lacking)),
    )


def _step(num_tokens: int) -> int:
    """What the number of tokens is rounded up to a multiple of: an eighth at the most of many."""
    return 64 if num_tokens < 1024 else 128 if num_tokens < 4096 else 256


class _Recorded:
    """A recorded step, and the batch from which it reads."""

    def __init__(self, gradient: Gradient, batch: Batch, pool: Any):
        self._parts = _parts(batch)  # before anything is recorded: they come from the CPU
        step = partial(gradient, batch)
        self.graph, self._loss = record(step, batch.packing.device, pool)

    def replay(self, batch: Batch) -> Tensor:
        for part, now in zip(self._parts, _parts(batch), strict=True):
            part.copy_(now)
        self.graph.replay()
        return self._loss


def record(
    step: Callable[[], Tensor], device: torch.device, pool: Any
) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """A graph of the kernels that ``step`` starts, none of which runs now, and what it gives.

    PyTorch's random numbers go on as if nothing had been recorded.
    """
    state = torch.cuda.get_rng_state(device)
    graph = torch.cuda.CUDAGraph()
    with _no_garbage(), torch.cuda.graph(graph, pool=pool):
        given = step()
    torch.cuda.set_rng_state(state, device)
    return graph, given


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Without garbage being found: to free an earlier trial's graph would spoil a recording."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parts(batch: Batch) -> list[Tensor]:
    """All that a step reads of a batch."""
    (group,), packing = batch.packing.groups, batch.packing
    parts = [batch.token_ids, batch.labels, packing.positions, packing.starts]
    parts += [group.take, group.real, group.text, group.column]
    return parts if batch.token_types is None else [*parts, batch.token_types]
