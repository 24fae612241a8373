"""How fast the machine multiplies matrices, and how many products a training step needs.

The needed ones are those of the algorithm (Kaplan et al. 2020, section 2.1: 6 operations per
parameter and token, embeddings left out; in the last layer only the first token's, which is all a
classifier reads), whatever a program computes beyond them.
"""

from __future__ import annotations

import time

import torch

from fedtune.trial.federation import Federation


def matmul_ceiling(dtype: torch.dtype, device: torch.device) -> float:
    """The best of several large matrix products, in operations a second."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def operations(made: Federation, lengths: torch.Tensor) -> float:
    """Operations of one forward and backward pass over texts of ``lengths`` (n,)."""
    config = made.flat.model.config
    width, layers = config.hidden_size, config.num_hidden_layers
    inner = getattr(config, "intermediate_size", None) or config.hidden_dim
    tokens, texts = float(lengths.sum()), len(lengths)
    squares = float((lengths.double() ** 2).sum())
    key_value, rest = 2 * width * width, 2 * width * width + 2 * width * inner
    linear = tokens * layers * key_value + (tokens * (layers - 1) + texts) * rest
    attention = 2 * width * (squares * (layers - 1) + tokens)
    return 6 * (linear + attention)
