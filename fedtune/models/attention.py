"""Self-attention over packed texts, group by group, with the way back written out.

Written out because autograd, left to itself, zeroes a buffer of all tokens for each group and adds
them up; with it the gradient of every token is written once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedtune.data.packing import Packing
from fedtune.models.dropout import keep_mask


def attention(
    query: Tensor,
    key_value: Tensor,
    packing: Packing,
    *,
    heads: int,
    dropout: float,
    draws: torch.Generator | None = None,
) -> Tensor:
    """Softmax attention within each text (Vaswani et al. 2017, equation 1), of ``query``'s shape.

    ``key_value`` (N, 2H) has every token's key and value. ``query`` is (N, H), or (B, H) where only
    one position of each text asks. Both may have more rows than there are tokens: what comes out
    there, and its gradient, is 0. ``dropout`` is the probability with which weights are dropped,
    by ``draws`` (see :func:`fedtune.models.dropout.keep_mask`).
    """
    mixed: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query, key_value, packing, heads, dropout, draws
    )
    return mixed


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx,
        query: Tensor,
        key_value: Tensor,
        packing: Packing,
        heads: int,
        dropout: float,
        draws: torch.Generator | None,
    ) -> Tensor:
        one_each = len(query) == len(packing) != packing.num_tokens
        size = query.shape[1] // heads
        mixed = torch.empty_like(query)
        if not one_each:
            mixed[packing.num_tokens :] = 0
        saved: list[Tensor] = []
        for number, group in enumerate(packing.groups):
            rows, width = group.num_texts * heads, group.width
            spread, _ = packing.indices(number, 2, heads)
            part = key_value[group.tokens].view(-1, size).index_select(0, spread)
            key, value = part.view(2, rows, width, size)
            if one_each:
                ask = query[group.texts].view(rows, 1, size)
            else:
                spread, back = packing.indices(number, 1, heads)
                ask = query[group.tokens].view(-1, size).index_select(0, spread)
                ask = ask.view(rows, width, size)
            scores = _scores(ask, key, size**-0.5)
            if group.has_padding:
                scores += packing.key_bias(number, heads, scores.dtype)
            weights = scores.softmax(dim=-1)
            if dropout:
                shape = tuple(weights.shape)
                mask = keep_mask(shape, dropout, weights.dtype, weights.device, draws)
                kept = weights * mask
            else:
                mask, kept = weights.new_empty(0), weights
            out = torch.bmm(kept, value)
            if dropout:
                out *= 1 / (1 - dropout)
            if one_each:
                mixed[group.texts] = out.view(-1, heads * size)
            else:
                target = mixed[group.tokens].view(-1, size)
                torch.index_select(out.view(-1, size), 0, back, out=target)
            saved += [ask, key, value, weights, mask]
        ctx.save_for_backward(*saved)
        ctx.packing, ctx.heads, ctx.dropout, ctx.one_each = packing, heads, dropout, one_each
        ctx.num_rows = len(key_value)
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        packing, heads, size = ctx.packing, ctx.heads, grad.shape[1] // ctx.heads
        saved = ctx.saved_tensors
        grad = grad.contiguous()
        if ctx.dropout:
            grad = grad / (1 - ctx.dropout)
        d_query = torch.empty_like(grad)
        d_key_value = grad.new_empty(ctx.num_rows, 2 * grad.shape[1])
        d_key_value[packing.num_tokens :] = 0
        if not ctx.one_each:
            d_query[packing.num_tokens :] = 0
        for number, group in enumerate(packing.groups):
            ask, key, value, weights, mask = saved[5 * number : 5 * number + 5]
            rows, width = group.num_texts * heads, group.width
            if ctx.one_each:
                d_out = grad[group.texts].view(rows, 1, size)
            else:
                spread, back = packing.indices(number, 1, heads)
                d_out = grad[group.tokens].view(-1, size).index_select(0, spread)
                d_out = d_out.view(group.num_texts, heads, width, size)
                if group.has_padding:  # a column without a token repeats one: it asked nothing
                    d_out *= group.real[:, None, :, None]
                d_out = d_out.view(rows, width, size)
            kept = weights * mask if ctx.dropout else weights
            d_part = grad.new_empty(2, rows, width, size)
            torch.bmm(kept.transpose(1, 2), d_out, out=d_part[1])
            d_weights = torch.bmm(d_out, value.transpose(1, 2))
            if ctx.dropout:
                d_weights *= mask
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            d_scores *= size**-0.5
            torch.bmm(d_scores.transpose(1, 2), ask, out=d_part[0])
            d_ask = torch.bmm(d_scores, key)
            if ctx.one_each:
                d_query[group.texts] = d_ask.view(-1, heads * size)
            else:
                target = d_query[group.tokens].view(-1, size)
                torch.index_select(d_ask.view(-1, size), 0, back, out=target)
            _, back = packing.indices(number, 2, heads)
            target = d_key_value[group.tokens].view(-1, size)
            torch.index_select(d_part.view(-1, size), 0, back, out=target)
        return d_query, d_key_value, None, None, None, None


def _scores(ask: Tensor, key: Tensor, scale: float) -> Tensor:
    return torch.bmm(ask, key.transpose(1, 2)).mul_(scale)
