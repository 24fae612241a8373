"""Random numbers as a function of what they are for, never of what happened before.

Every draw in fedtune comes from a generator made here from a key such as ``(seed, "dropout",
round_num, client_id)``. Two trials, two machines or two attempts that ask for the same key get the
same numbers, whatever order, interruption or neighbour they had; so nothing about random state
needs to be saved in a checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(*key: int | str) -> int:
    """A 63-bit seed that depends on every part of ``key`` and on nothing else.

    SHA-256 rather than arithmetic on the parts, because sums such as ``seed + round_num`` give two
    neighbouring seeds the same stream one round apart.
    """
    text = "/".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator seeded by ``derive_seed(*key)``."""
    import torch

    return torch.Generator().manual_seed(derive_seed(*key))


@contextmanager
def seeded(*key: int | str) -> Iterator[None]:
    """What this thread draws on the CPU comes from ``generator(*key)``, whoever else draws.

    For code that is not fedtune's and takes no generator, such as an architecture's initialisation.
    An operation that can be given none draws from PyTorch's own, which is seeded by the same key,
    and put back after. (``torch.manual_seed`` would start CUDA on every GPU of the machine.)
    """
    import torch

    from fedtune.draws import drawing_from

    with torch.random.fork_rng(devices=[]), drawing_from(generator(*key)):
        torch.default_generator.manual_seed(derive_seed(*key))
        yield
