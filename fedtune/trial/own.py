"""What a user brings in place of what has a name: see :func:`fedtune.simulate`."""

from __future__ import annotations

from dataclasses import dataclass

from fedtune.data.partition import Draw
from fedtune.errors import BadInput
from fedtune.federated.strategy import FedAvg


@dataclass(frozen=True)
class Own:
    """A strategy and a partition of a user's own, where there is one."""

    strategy: FedAvg | None = None
    partition: Draw | None = None


NOTHING_OWN = Own()


def check_own(own: Own, store: object) -> None:
    """Raise BadInput for what is no strategy or no partition, and where it has no place."""
    if own.strategy is not None and not isinstance(own.strategy, FedAvg):
        kind = type(own.strategy).__name__
        message = f"allowed is an instance of a subclass of fedtune.FedAvg, this is a {kind}"
        raise BadInput.of("strategy", None, message)
    if own.partition is not None and not callable(own.partition):
        message = "allowed is a function of labels, number of clients and generator"
        raise BadInput.of("partition", None, message)
    if own != NOTHING_OWN and store is not None:
        what = "strategy" if own.strategy else "partition"
        message = "yours is no part of a trial's name, by which a store keeps it; leave store out"
        raise BadInput.of(what, None, message)
