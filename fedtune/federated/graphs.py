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

#: The widths of texts side by side are multiples of this: four for texts of up to 128 tokens. No
#: filler is longer, so that none makes the others wider.
WIDTH_STEP = 32

#: A shape that has occurred so often is recorded when it occurs next. Before, the steps run kernel
#: by kernel, in which libraries prepare what they must not prepare while a graph is recorded.
SEEN_BEFORE = 2

#: So many shapes are recorded at the most: each graph takes megabytes, and recording it some steps.
MOST_GRAPHS = 128

#: What cross entropy leaves out.
NO_LABEL = -100

Shape = tuple[int, int, int]


class StepGraphs:
    """The graphs of one model's steps on ``device``, which all read and write the parameters where
    they are.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._seen: Counter[Shape] = Counter()
        self._recorded: dict[Shape, _Recorded] = {}
        self._recorder: Recorder | None = None

    def run(self, batch: Batch, gradient: Gradient) -> Tensor:
        """Add the batch's gradient and give its loss, (), which is overwritten by the next step.

        ``labels`` are classes, (B,) int64. ``gradient`` is always the same; it is called while the
        kernels of a shape are recorded, and where they are not.
        """
        full = filled(batch)
        shape = full.packing.num_tokens, len(full), full.packing.groups[0].width
        self._seen[shape] += 1
        known = shape in self._recorded
        is_rare = self._seen[shape] <= SEEN_BEFORE or len(self._recorded) >= MOST_GRAPHS
        if not known and is_rare:
            return gradient(full)
        if not known:
            self._recorder = self._recorder or Recorder(self._device)
            self._recorded[shape] = _Recorded(self._recorder, gradient, full)
        return self._recorded[shape].replay(full)


def filled(batch: Batch) -> Batch:
    """The batch with a few texts more, such that few numbers of tokens and widths occur."""
    lengths, device = batch.packing.lengths, batch.packing.device
    step = _step(batch.packing.num_tokens)
    number = step // WIDTH_STEP + 1
    num_tokens = round_to(batch.packing.num_tokens + number, step)
    lacking = num_tokens - batch.packing.num_tokens
    fillers = torch.full((number,), lacking // number)
    fillers[: lacking % number] += 1
    last = int(lengths.max()) - 1  # the model may have no place for more
    lengths = torch.cat([lengths, fillers])
    width, types = round_to(int(lengths.max()), WIDTH_STEP), batch.token_types
    return replace(
        batch,
        token_ids=pad(batch.token_ids, (0, lacking), value=batch.pad_token_id),
        packing=Packing(lengths, device, width=width, last=last),
        labels=pad(batch.labels, (0, number), value=NO_LABEL),
        token_types=None if types is None else pad(types, (0, lacking)),
    )


def _step(num_tokens: int) -> int:
    """What the number of tokens is rounded up to a multiple of: an eighth at the most of many."""
    return 64 if num_tokens < 1024 else 128 if num_tokens < 4096 else 256


class _Recorded:
    """A recorded step, and the batch from which it reads."""

    def __init__(self, recorder: Recorder, gradient: Gradient, batch: Batch):
        self._parts = _parts(batch)  # before anything is recorded: they come from the CPU
        self._graph, self._loss = recorder.record(partial(gradient, batch))

    def replay(self, batch: Batch) -> Tensor:
        for part, now in zip(self._parts, _parts(batch), strict=True):
            part.copy_(now)
        self._graph.replay()
        return self._loss


class Recorder:
    """Records graphs on one GPU. They share their memory, since no two run at a time."""

    def __init__(self, device: torch.device):
        self._device = device
        # PyTorch's own stream for graphs is on the device that it met first.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        gc.collect()  # of the trials before, so that nothing is left to be freed

    def record(self, step: Callable[[], Tensor]) -> tuple[Any, Tensor]:
        """A graph of the kernels that ``step`` starts, none of which runs now, and what it gives.

        PyTorch's random numbers go on as if nothing had been recorded.
        """
        state = torch.cuda.get_rng_state(self._device)
        graph = torch.cuda.CUDAGraph()
        recording = torch.cuda.graph(
            graph,
            pool=self._pool,
            stream=self._stream,
            capture_error_mode="thread_local",  # what other threads do is their own affair
        )
        with torch.cuda.device(self._device), _no_garbage(), recording:
            given = step()
        torch.cuda.set_rng_state(state, self._device)
        return graph, given


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Without garbage being found: to free an earlier trial's graph would spoil a recording."""
    was_enabled = gc.isenabled()
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
