"""fedtune: what does it cost to spread the fine-tuning of a transformer over K clients?

``TrialConfig`` and ``simulate`` need PyTorch alone, and so do ``FedAvg``, ``Server``,
``ClientInfo`` and ``ClientUpdate``, for strategies of your own. ``frame`` and ``plot`` need pandas
and matplotlib. ``trainable``, ``BaselineFirstSearcher`` and ``MlflowCallback`` are for Ray Tune
scripts of your own. Each is imported when it is first used, so that ``import fedtune`` stays quick
and works where neither Ray nor MLflow is installed.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedtune.config import TrialConfig
    from fedtune.errors import BadInput
    from fedtune.federated.strategy import ClientInfo, ClientUpdate, FedAvg, Server
    from fedtune.notebook import frame, plot
    from fedtune.run.callback import MlflowCallback
    from fedtune.run.searcher import BaselineFirstSearcher
    from fedtune.run.trainable import trainable
    from fedtune.trial.simulation import simulate

__version__ = "0.1.0"

# In a notebook without widgets tqdm warns as soon as a library imports it, and draws with letters.
warnings.filterwarnings("ignore", message="IProgress not found")

_HOMES = {
    "BadInput": "fedtune.errors",
    "TrialConfig": "fedtune.config",
    "simulate": "fedtune.trial.simulation",
    "FedAvg": "fedtune.federated.strategy",
    "Server": "fedtune.federated.strategy",
    "ClientInfo": "fedtune.federated.strategy",
    "ClientUpdate": "fedtune.federated.strategy",
    "frame": "fedtune.notebook",
    "plot": "fedtune.notebook",
    "trainable": "fedtune.run.trainable",
    "BaselineFirstSearcher": "fedtune.run.searcher",
    "MlflowCallback": "fedtune.run.callback",
}

__all__ = [
    "BadInput",
    "BaselineFirstSearcher",
    "ClientInfo",
    "ClientUpdate",
    "FedAvg",
    "MlflowCallback",
    "Server",
    "TrialConfig",
    "frame",
    "plot",
    "simulate",
    "trainable",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fedtune' has no attribute {name!r}")
