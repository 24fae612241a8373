"""Dropout drops with exactly its probability, whatever makes the random numbers."""

from __future__ import annotations

import pytest
import torch

from fedtune.models.dropout import dropout, keep_mask

CPU = torch.device("cpu")


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.00001])
def test_the_share_that_is_dropped_is_p(p: float) -> None:
    """Within five standard errors, also where p is less than a multiple of 1/65536."""
    torch.manual_seed(0)
    count = 1_000_000
    dropped = (
        sum(1 - keep_mask((count // 100,), p, torch.float32, CPU).mean().item() for _ in range(100))
        / 100
    )
    assert dropped == pytest.approx(p, abs=5 * (p * (1 - p) / count) ** 0.5 + 1e-9)


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    mask = 1 - keep_mask((1_000_000,), 0.5, torch.float32, CPU)
    for step in (1, 2, 3, 4, 64):
        both = (mask[:-step] * mask[step:]).mean().item()
        assert both == pytest.approx(0.25, abs=0.003)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_kept_is_scaled_and_gradients_follow(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(1000, 7).to(dtype).requires_grad_()
    out = dropout(x, 0.25)
    kept = out != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.02)
    torch.testing.assert_close(out[kept], (x / 0.75)[kept])
    out.backward(torch.ones_like(out))
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.where(kept, 1 / 0.75, 0.0).to(dtype))


def test_it_is_drawn_from_the_generator_of_pytorch() -> None:
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return dropout(torch.ones(99), 0.5)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_nothing_is_drawn_without_need() -> None:
    torch.manual_seed(0)
    x, state = torch.ones(5), torch.get_rng_state()
    assert dropout(x, 0.0) is x
    assert torch.equal(torch.get_rng_state(), state)
