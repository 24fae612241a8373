"""What people call settings and combinations of them."""

from __future__ import annotations

from collections.abc import Mapping

#: What people call FedAvg with an optimiser of the server's.
SERVER_OPTIMIZERS: Mapping[str, str] = {
    "fedavgm": "momentum",
    "fedadagrad": "adagrad",
    "fedadam": "adam",
    "fedyogi": "yogi",
}

#: Settings that are a name or a place: the same one may be spelt in several ways.
PLACES = ("model", "dataset", "distill_dataset")

#: Strategies whose server trains a model on what the clients' models say of texts.
DISTILLING = ("feddf", "one-shot")


def strategy_name(strategy: str, server_optimizer: str) -> str:
    """What a strategy with an optimiser of the server's is called.

    >>> strategy_name("fedavg", "adam"), strategy_name("scaffold", "adam")
    ('fedadam', 'scaffold+adam')
    """
    if server_optimizer == "none":
        return strategy
    names = {optimizer: name for name, optimizer in SERVER_OPTIMIZERS.items()}
    return names[server_optimizer] if strategy == "fedavg" else f"{strategy}+{server_optimizer}"
