"""Batches of token ids on the device that trains on them.

All token ids of a split live on the device as one flat vector (AG News: 120,000 texts of 62 tokens
are 30 MB), and a batch is gathered from it there: no DataLoader, no worker process, no copying.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from fedtune.data.packing import Packing, send
from fedtune.data.token_arrays import Split


@dataclass(frozen=True)
class Batch:
    """B texts, the shortest first: token_ids (N,) int32 end to end, labels (B,) int64, or (B, C)
    fp32 where they are distributions.

    ``packing`` says where each text lies. ``token_types`` (N,) int32 says of pairs to which of the
    two texts each token belongs; None where texts are not pairs.
    """

    token_ids: Tensor
    packing: Packing
    labels: Tensor
    pad_token_id: int
    token_types: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def padded(
        self, pad_token_id: int | None = None, *, left: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Token ids padded to the longest text, and attention mask: both (B, T) int64.

        Padding comes after a text's tokens, or before them (``left``); it has ``self.pad_token_id``
        unless another is given.
        """
        real, take = self._places(left)
        filling = self.pad_token_id if pad_token_id is None else pad_token_id
        token_ids = torch.where(real, self.token_ids[take].long(), filling)
        return token_ids, real.long()

    def padded_types(self, *, left: bool = False) -> Tensor | None:
        """``token_types`` as :meth:`padded` has the tokens, 0 on padding: (B, T) int64."""
        if self.token_types is None:
            return None
        real, take = self._places(left)
        return torch.where(real, self.token_types[take].long(), 0)

    def by_length(self) -> Iterator[Batch]:
        """The texts of each length as a batch of their own, in order: none of them has padding."""
        first, start = 0, 0
        for length, count in zip(
            *torch.unique_consecutive(self.packing.lengths, return_counts=True), strict=True
        ):
            size, texts = int(length * count), int(count)
            tokens = slice(start, start + size)
            types = None if self.token_types is None else self.token_types[tokens]
            yield Batch(
                self.token_ids[tokens],
                Packing(self.packing.lengths[first : first + texts], self.packing.device),
                self.labels[first : first + texts],
                self.pad_token_id,
                types,
            )
            first, start = first + texts, start + size

    def _places(self, left: bool) -> tuple[Tensor, Tensor]:
        """Where there is a token, and which: both (B, T)."""
        lengths, device = self.packing.lengths, self.token_ids.device
        column = torch.arange(int(lengths.max())).expand(len(lengths), -1)
        if left:
            column = column - (lengths.max() - lengths)[:, None]
        real = (column >= 0) & (column < lengths[:, None])
        # Fetched, not put in place: to fill by a mask a GPU would have to count it first.
        take = torch.where(real, (torch.cumsum(lengths, 0) - lengths)[:, None] + column, 0)
        return send(real, device), send(take, device)


class DeviceSplit:
    """A split whose tokens are on ``device``.

    With ``pad_to`` every text is as long as that: padding counts as text and is attended to, as
    the paper's code does. Without, there is none. With ``pad_left`` it comes before the text.
    ``labels`` are classes, (n,) int64, or a distribution over them each, (n, C) fp32.
    """

    def __init__(
        self,
        split: Split,
        *,
        num_classes: int,
        pad_token_id: int,
        pad_to: int | None,
        pad_left: bool = False,
        device: torch.device,
    ):
        self.num_classes, self.pad_token_id, self.pad_to = num_classes, pad_token_id, pad_to
        self.pad_left = pad_left
        self.token_ids = torch.tensor(split.token_ids, dtype=torch.int32, device=device)
        self.token_types = (
            None
            if split.token_types is None
            else torch.tensor(split.token_types, dtype=torch.uint8, device=device)
        )
        self.labels = torch.tensor(split.labels, dtype=torch.int64, device=device)
        offsets = torch.tensor(split.offsets, dtype=torch.int64)
        self.starts, self.lengths = offsets[:-1], offsets[1:] - offsets[:-1]  # (n,), on the CPU

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> DeviceSplit:
        """The examples at ``indices`` (n,) int64 as a split of their own, sharing the tokens."""
        part = copy(self)
        part.labels = self.labels[indices.to(self.labels.device)]
        part.starts, part.lengths = self.starts[indices], self.lengths[indices]
        return part

    def labelled(self, labels: Tensor) -> DeviceSplit:
        """The same examples with other labels, on the same device, sharing the tokens."""
        other = copy(self)
        other.labels = labels
        return other

    def padded_lengths(self) -> Tensor:
        """The tokens that each example brings into a batch, (n,) int64."""
        return torch.full_like(self.lengths, self.pad_to) if self.pad_to else self.lengths

    def batch(self, indices: Tensor) -> Batch:
        """The examples at ``indices`` (B,) int64, sorted by length."""
        device = self.token_ids.device
        indices = indices[torch.argsort(self.lengths[indices], stable=True)]
        lengths = self.lengths[indices]
        packing = Packing(self.padded_lengths()[indices], device)
        starts = send(self.starts[indices].repeat_interleave(packing.lengths), device)
        take = starts + packing.positions
        token_types = None
        if self.pad_to:
            own = send(lengths.repeat_interleave(packing.lengths), device)
            before = self.pad_to - own if self.pad_left else 0
            place = packing.positions - before
            real = (place >= 0) & (place < own)
            take = torch.where(real, take - before, 0)
            token_ids = torch.where(real, self.token_ids[take], self.pad_token_id)
            if self.token_types is not None:
                token_types = torch.where(real, self.token_types[take].int(), 0)
        else:
            token_ids = self.token_ids[take]
            if self.token_types is not None:
                token_types = self.token_types[take].int()
        labels = self.labels[send(indices, device)]
        return Batch(token_ids, packing, labels, self.pad_token_id, token_types)
