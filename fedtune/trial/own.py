"""What a user brings in place of what has a name: see :func:`fedtune.simulate`."""

from __future__ import annotations

from dataclasses import dataclass

from fedtune.config import TrialConfig, fields_about
from fedtune.data.partition import Draw
from fedtune.errors import BadInput
from fedtune.federated.strategy import FedAvg


@dataclass(frozen=True)
class Own:
    """A strategy and a partition of a user's own, where there is one."""

    strategy: FedAvg | None = None
    partition: Draw | None = None


NOTHING_OWN = Own()


def check_own(own: Own, config: TrialConfig, store: object) -> None:
    """Raise BadInput for what is no strategy or no partition, and where it has no place: beside
    settings of ``config`` that it would put out of effect, and in a store.
    """
    if own.strategy is not None and not isinstance(own.strategy, FedAvg):
        kind = type(own.strategy).__name__
        message = f"allowed is an instance of a subclass of fedtune.FedAvg, this is a {kind}"
        raise BadInput.of("strategy", None, message)
    if own.strategy is not None and not hasattr(own.strategy, "optimizer"):
        kind = type(own.strategy).__name__
        message = f"{kind}.__init__ does not call super().__init__(); call it there first"
        raise BadInput.of("strategy", None, message)
    if own.partition is not None and not callable(own.partition):
        message = "allowed is a function of labels, number of clients and generator"
        raise BadInput.of("partition", None, message)
    for what in ("strategy", "partition"):
        changed = fields_about(what, config) if getattr(own, what) is not None else []
        if changed:
            message = f"has no effect beside a {what} of your own; leave one of the two out"
            raise BadInput.of(changed[0], getattr(config, changed[0]), message)
    if own != NOTHING_OWN and store is not None:
        what = "strategy" if own.strategy else "partition"
        message = "yours is no part of a trial's name, by which a store keeps it; leave store out"
        raise BadInput.of(what, None, message)
