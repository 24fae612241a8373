"""Is what a strategy gives what a round can use? One of a user's own may give anything."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from fedtune.federated.flat import digest
from fedtune.federated.strategy import FedAvg, Server


def check_memory(strategy: FedAvg, memory: object) -> None:
    """Raise ValueError unless what a strategy keeps between rounds are tensors by name."""
    if not isinstance(memory, dict):
        raise _unfit(strategy, "memory", type(memory).__name__, "is a dict of tensors by name")
    for name, kept in memory.items():
        if not isinstance(kept, Tensor):
            allowed = "is a tensor (torch.tensor(...) of a number)"
            raise _unfit(strategy, "memory", f"{name!r}: {type(kept).__name__}", allowed)


def check_weights(strategy: FedAvg, weights: Sequence[float], num_clients: int) -> None:
    """Raise ValueError unless there is a weight for each client of the cohort."""
    if len(weights) != num_clients:
        allowed = f"is {num_clients}, one a client"
        raise _unfit(strategy, "weights", f"{len(weights)} weights", allowed)


def check_shape(strategy: FedAvg, method: str, given: object, server: Server) -> None:
    """Raise ValueError for what would be spread over all parameters, or is no vector at all."""
    shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
    if shape != tuple(server.params.shape):
        allowed = f"is a tensor of shape {tuple(server.params.shape)}"
        raise _unfit(strategy, method, str(shape), allowed)


@contextmanager
def server_left_alone(strategy: FedAvg, server: Server, params_digest: str) -> Iterator[None]:
    """Raise ValueError where the server's model has changed in place within the context, whatever
    else was raised there. Its digest before is known; that after it costs a pass over all bytes.
    """
    try:
        yield
    finally:
        if digest(server.params) != params_digest:
            name = type(strategy).__name__
            raise ValueError(
                f"{name} changes server.params in place; allowed is to give what is to be added "
                "(take server.params.clone() to compute with)"
            )


#: What fedtune itself tells of a trial.
_RESERVED = (
    *("test/", "validation/", "summary/", "data/", "model/", "stages/", "by_clients/", "system/"),
    *("time/", "throughput/", "clients/accuracy_"),
)


def check_metrics(strategy: FedAvg, told: Mapping[str, float], taken: Collection[str]) -> None:
    """Raise ValueError unless what a strategy tells of a round are finite numbers under names of
    their own: with a slash, and neither ``taken`` nor reserved.
    """
    for name, value in told.items():
        is_own = "/" in name and name not in taken and not name.startswith(_RESERVED)
        if not (is_own and math.isfinite(value)):
            allowed = "are finite numbers under names with a slash that no other metric has"
            raise _unfit(strategy, "metrics", f"{name!r}: {value}", allowed)


def _unfit(strategy: FedAvg, method: str, given: str, allowed: str) -> ValueError:
    name = type(strategy).__name__
    return ValueError(f"{name}.{method} gives {given}; allowed {allowed}")
