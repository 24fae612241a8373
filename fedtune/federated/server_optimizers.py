"""Optimisers of the server: the mean of the clients' deltas is their (negative) gradient.

FedAvgM is Hsu et al. 2019 (arXiv 1909.06335, section 4.3), the adaptive ones are Reddi et al. 2021
(arXiv 2003.00295, algorithm 2): the second moment starts at tau squared, the first at 0, and
neither is corrected for bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

_FIRST, _SECOND = "server/first_moment", "server/second_moment"


@dataclass(frozen=True)
class ServerOptimizer:
    """``kind`` with its settings: ``momentum`` is beta (momentum) or beta 1, ``tau`` the floor of
    the adaptive ones' denominators. ``beta2`` is of adam and yogi.
    """

    kind: Literal["momentum", "adagrad", "adam", "yogi"]
    learning_rate: float = 1.0
    momentum: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    @property
    def is_adaptive(self) -> bool:
        return self.kind != "momentum"

    def memory(self, params: Tensor) -> dict[str, Tensor]:
        """The moments before the first round, (P,) each."""
        memory = {_FIRST: torch.zeros_like(params)}
        if self.is_adaptive:
            memory[_SECOND] = torch.full_like(params, self.tau**2)
        return memory

    def update(self, mean_delta: Tensor, memory: dict[str, Tensor]) -> Tensor:
        """What is added to the model, (P,). The moments in ``memory`` are replaced, not changed."""
        if not self.is_adaptive:
            memory[_FIRST] = first = mean_delta.add(memory[_FIRST], alpha=self.momentum)
            return first * self.learning_rate
        memory[_FIRST] = first = torch.lerp(mean_delta, memory[_FIRST], self.momentum)
        square = mean_delta.square()
        old = memory[_SECOND]
        if self.kind == "adagrad":
            new = old + square
        elif self.kind == "adam":
            new = torch.lerp(square, old, self.beta2)
        else:
            new = old - (1 - self.beta2) * square * torch.sign(old - square)
        memory[_SECOND] = new
        return (first * self.learning_rate).div_(new.sqrt().add_(self.tau))
