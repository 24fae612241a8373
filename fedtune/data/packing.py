"""Texts laid end to end, without padding, and how attention finds its way in them.

Everything in an encoder but attention works token by token, so only real tokens need to pass
through it. Attention compares tokens within a text; for it a few texts at a time, alike in length,
are put side by side, padded to the longest of those few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

#: Texts padded together for attention. Fewer waste less on padding, more need fewer calls.
GROUP_SIZE = 16

#: Widths of such groups are multiples of this, so that few different shapes occur (see `round_up`).
WIDTH_STEP = 8

#: Up to how many rows they are rounded up to a multiple of what.
_ROW_STEPS = ((256, 16), (512, 32), (2048, 64), (math.inf, 128))


def round_up(num_rows: int) -> int:
    """The number of rows that a product over ``num_rows`` tokens is given: some 4 % more.

    A CPU's bf16 product is compiled for its shape when that first occurs, half a millisecond each,
    and only about a thousand are kept: with a number of rows of its own for every batch this was a
    quarter of a step of 32 news texts.
    """
    return round_to(num_rows, next(step for most, step in _ROW_STEPS if num_rows < most))


def round_to(number: int, step: int) -> int:
    """The smallest multiple of ``step`` that is no less than ``number``."""
    return -(-number // step) * step


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor``, of the CPU, on ``device``; a GPU goes on working meanwhile.

    A plain copy would wait until the GPU has done all it was given: once for each part of a batch.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class Group:
    """A few neighbouring texts, side by side at the width T of the longest, rounded up.

    ``take`` (texts, T): the token, counted from the group's first, that stands there; a text's
    first one where there is none. ``real`` (texts, T): whether there is one. ``text`` and
    ``column``, a number each for every token: where it stands.
    """

    texts: slice
    tokens: slice
    take: Tensor
    real: Tensor
    text: Tensor
    column: Tensor
    has_padding: bool

    @property
    def num_texts(self) -> int:
        return len(self.take)

    @property
    def width(self) -> int:
        width: int = self.take.shape[1]
        return width

    def spread(self, parts: int, heads: int) -> Tensor:
        """Where to fetch (part, text, head, column) in rows of (token, part, head); (rows,)."""
        part = torch.arange(parts, device=self.take.device)[:, None, None, None]
        head = torch.arange(heads, device=self.take.device)[:, None]
        return ((self.take[:, None, :] * parts + part) * heads + head).flatten()

    def gather(self, parts: int, heads: int) -> Tensor:
        """The way back: where to fetch (token, part, head) in (part, text, head, column)."""
        device = self.take.device
        part = torch.arange(parts, device=device)[:, None]
        head = torch.arange(heads, device=device)
        place = (part * self.num_texts + self.text[:, None, None]) * heads + head
        return (place * self.width + self.column[:, None, None]).flatten()

    def key_bias(self, heads: int, dtype: torch.dtype) -> Tensor:
        """What hides padding from a softmax over columns: 0 or -inf, (texts x heads, 1, T)."""
        bias = torch.zeros(self.real.shape, dtype=dtype, device=self.real.device)
        bias.masked_fill_(~self.real, -math.inf)
        return bias.repeat_interleave(heads, dim=0)[:, None, :]


class Packing:
    """How texts of ``lengths`` (B,) int64, on the CPU and none of them 0, lie end to end.

    ``positions`` (N,): the position of every token within its text. ``starts`` (B,): where the
    texts begin. Both are on ``device``. Any order will do; texts of like length beside each other
    waste the least. With ``width``, of at least the longest, all are one group of that width, and
    ``positions`` end at ``last``.
    """

    def __init__(
        self,
        lengths: Tensor,
        device: torch.device | None = None,
        *,
        width: int | None = None,
        last: int | None = None,
    ):
        self.lengths, self.device, self._width = lengths, device or lengths.device, width
        # On a GPU the number of calls costs more than the padding.
        is_one_group = width is not None or self.device.type != "cpu"
        self.group_size = len(lengths) if is_one_group else GROUP_SIZE
        self._starts = torch.cumsum(lengths, 0) - lengths
        self.num_tokens = int(lengths.sum())
        positions = torch.arange(self.num_tokens) - self._starts.repeat_interleave(lengths)
        self._columns = send(positions, self.device)
        self.positions = self._columns if last is None else self._columns.clamp(max=last)
        self.starts = send(self._starts, self.device)
        self._indices: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}
        self._biases: dict[tuple[int, int, torch.dtype], Tensor] = {}

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def groups(self) -> list[Group]:
        """The texts in groups of ``group_size``, in order."""
        return list(self._make_groups())

    def _make_groups(self) -> Iterator[Group]:
        for first in range(0, len(self), self.group_size):
            lengths = self.lengths[first : first + self.group_size]
            start = int(self._starts[first])
            tokens = slice(start, start + int(lengths.sum()))
            text = torch.arange(len(lengths)).repeat_interleave(lengths)
            column = torch.arange(self._width or round_to(int(lengths.max()), WIDTH_STEP))
            real = column < lengths[:, None]
            offsets = (self._starts[first : first + self.group_size] - start)[:, None]
            yield Group(
                texts=slice(first, first + len(lengths)),
                tokens=tokens,
                take=send(torch.where(real, offsets + column, offsets), self.device),
                real=send(real, self.device),
                text=send(text, self.device),
                column=self._columns[tokens],
                has_padding=self._width is not None or not bool(real.all()),
            )

    def indices(self, number: int, parts: int, heads: int) -> tuple[Tensor, Tensor]:
        """``spread`` and ``gather`` of group ``number``, made once and kept for the next layer."""
        key = (number, parts, heads)
        if key not in self._indices:
            group = self.groups[number]
            self._indices[key] = group.spread(parts, heads), group.gather(parts, heads)
        return self._indices[key]

    def key_bias(self, number: int, heads: int, dtype: torch.dtype) -> Tensor:
        """``key_bias`` of group ``number``, made once and kept for the next layer."""
        key = (number, heads, dtype)
        if key not in self._biases:
            self._biases[key] = self.groups[number].key_bias(heads, dtype)
        return self._biases[key]
