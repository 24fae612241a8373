"""Dropout with cheap random numbers.

PyTorch draws a double for every element on the CPU, which was a fifth of a training step; sixteen
bits, four elements to a 64-bit word, cost a tenth of that. The probability is exact all the same:
sixteen bits know only multiples of 1/65536, so each call draws which of the two neighbours of p it
uses, such that every element is dropped with probability p.
"""

from __future__ import annotations

from math import floor, prod

import torch
from torch import Tensor


def keep_mask(
    shape: tuple[int, ...],
    p: float,
    dtype: torch.dtype,
    device: torch.device,
    draws: torch.Generator | None = None,
) -> Tensor:
    """A tensor of ones and, each with probability ``p``, zeros.

    ``draws``, of the CPU, is the generator there; without it, and on a GPU, it is PyTorch's own.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device).bernoulli_(1 - p)
    unit = torch.rand((), dtype=torch.float64, generator=draws)
    threshold = floor(p * 65536 + float(unit))
    count = prod(shape)
    words = torch.empty((count + 3) // 4, dtype=torch.int64)
    words.random_(-(2**63), None, generator=draws)
    drawn = words.view(torch.int16)[:count].view(shape)
    return drawn.ge_(threshold - 32768).to(dtype)


class _Scale(torch.autograd.Function):
    """Multiply by a mask and a number, keeping nothing but the mask for the way back."""

    @staticmethod
    def forward(ctx, x, mask, scale):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return (x * mask).mul_(scale)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (mask,) = ctx.saved_tensors
        return (grad * mask).mul_(ctx.scale), None, None


def dropout(x: Tensor, p: float, draws: torch.Generator | None = None) -> Tensor:
    """Zero each element of ``x`` with probability ``p`` and divide the others by 1 - p.

    ``draws`` as in :func:`keep_mask`.
    """
    if p == 0:
        return x
    if x.device.type != "cpu":  # PyTorch's is one kernel there
        return torch.nn.functional.dropout(x, p, training=True)
    mask = keep_mask(tuple(x.shape), p, x.dtype, x.device, draws)
    kept: Tensor = _Scale.apply(x, mask, 1 / (1 - p))  # type: ignore[no-untyped-call]
    return kept


def as_in_pytorch(x: Tensor, p: float, draws: torch.Generator | None = None) -> Tensor:
    """The dropout of ``nn.Dropout``, bit for bit, from ``draws`` where it is on the CPU."""
    if p in (0, 1) or draws is None or x.device.type != "cpu":
        return torch.nn.functional.dropout(x, p, training=True)
    noise = torch.empty_like(x).bernoulli_(1 - p, generator=draws)
    return x * noise.div_(1 - p)
