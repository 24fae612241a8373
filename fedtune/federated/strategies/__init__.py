"""Strategies, each in a module of its own, and the one that a configuration asks for."""

from __future__ import annotations

from pathlib import Path

from fedtune.config import TrialConfig
from fedtune.federated.client_vectors import ClientVectors
from fedtune.federated.server_optimizers import ServerOptimizer
from fedtune.federated.strategies.agnostic import AgnosticFL
from fedtune.federated.strategies.distillation import FedDF, OneShot, Pool
from fedtune.federated.strategies.fednova import FedNova
from fedtune.federated.strategies.fedprox import FedProx
from fedtune.federated.strategies.scaffold import Scaffold
from fedtune.federated.strategy import FedAvg

#: The classes by the names that ``strategy=`` has for them.
STRATEGIES: dict[str, type[FedAvg]] = {
    kind.name: kind for kind in (FedAvg, FedProx, Scaffold, FedNova, AgnosticFL, FedDF, OneShot)
}


def strategy_of(
    config: TrialConfig, num_parameters: int, vectors: Path | None, pool: Pool | None = None
) -> FedAvg:
    """The strategy that ``config`` asks for. ``vectors`` is the file in which it may keep a vector
    for each client between processes, ``pool`` what one that distils does so on.
    """
    optimizer = server_optimizer_of(config)
    if config.strategy == "fedprox":
        return FedProx(config.prox_mu, optimizer)
    if config.strategy == "scaffold":
        return Scaffold(ClientVectors(vectors, config.num_clients, num_parameters), optimizer)
    if config.strategy == "fednova":
        return FedNova(optimizer)
    if config.strategy == "afl":
        return AgnosticFL(config.afl_step_size, optimizer)
    if config.distils:
        assert pool is not None
        return (FedDF if config.strategy == "feddf" else OneShot)(pool, optimizer)
    return FedAvg(optimizer)


def server_optimizer_of(config: TrialConfig) -> ServerOptimizer | None:
    """The server's optimiser; None where the mean change is added as it is."""
    if config.server_optimizer == "none":
        return None
    return ServerOptimizer(
        config.server_optimizer,
        learning_rate=config.server_learning_rate,
        # FedAdagrad has no momentum (Reddi et al. 2021, section 5.1).
        momentum=0.0 if config.server_optimizer == "adagrad" else config.server_momentum,
        beta2=config.server_beta2,
        tau=config.server_tau,
    )
