"""Batches of token ids on the device that trains on them.

All token ids of a split live on the device as one flat vector (AG News: 120,000 texts of 62 tokens
are 30 MB), and a batch is gathered from it there: no DataLoader, no worker process, no copying.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from fedtune.data.tokens import Split


@dataclass(frozen=True)
class Batch:
    """B examples padded to width T: token_ids, attention_mask (B, T); labels (B,); all int64."""

    token_ids: Tensor
    attention_mask: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class DeviceSplit:
    """A split whose tokens are on ``device``.

    With ``pad_to=None`` a batch is padded to its longest text and the padding is masked. With a
    number, every batch has that width and attends to its padding, as the paper's code does.
    """

    def __init__(
        self,
        split: Split,
        *,
        num_classes: int,
        pad_token_id: int,
        pad_to: int | None,
        device: torch.device,
    ):
        self.num_classes, self.pad_token_id, self.pad_to = num_classes, pad_token_id, pad_to
        self.token_ids = torch.tensor(split.token_ids, dtype=torch.int32, device=device)
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

    def padded_width(self, index: Tensor) -> int:
        """The width a batch has when the example at ``index`` is its longest."""
        return self.pad_to or int(self.lengths[index])

    def batch(self, indices: Tensor) -> Batch:
        """The examples at ``indices`` (B,) int64, in that order."""
        device = self.token_ids.device
        lengths = self.lengths[indices]
        width = self.pad_to or int(lengths.max())
        column = torch.arange(width)
        real = column < lengths[:, None]  # (B, T)
        take = torch.where(real, self.starts[indices][:, None] + column, 0).to(device)
        real = real.to(device)
        token_ids = torch.where(real, self.token_ids[take], self.pad_token_id).long()
        mask = torch.ones_like(token_ids) if self.pad_to else real.long()
        return Batch(token_ids, mask, self.labels[indices.to(device)])
