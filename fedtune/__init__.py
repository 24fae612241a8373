"""fedtune: what does it cost to spread the fine-tuning of a transformer over K clients?

``TrialConfig`` and ``simulate`` need PyTorch alone. ``trainable``, ``BaselineFirstSearcher`` and
``MlflowCallback`` are for Ray Tune scripts of your own; they are imported when they are first used,
so that ``import fedtune`` stays quick and works where neither Ray nor MLflow is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedtune.config import TrialConfig
    from fedtune.errors import BadInput
    from fedtune.run.callback import MlflowCallback
    from fedtune.run.searcher import BaselineFirstSearcher
    from fedtune.run.trainable import trainable
    from fedtune.trial.simulation import simulate

__version__ = "0.1.0"

_HOMES = {
    "BadInput": "fedtune.errors",
    "TrialConfig": "fedtune.config",
    "simulate": "fedtune.trial.simulation",
    "trainable": "fedtune.run.trainable",
    "BaselineFirstSearcher": "fedtune.run.searcher",
    "MlflowCallback": "fedtune.run.callback",
}

__all__ = [
    "BadInput",
    "BaselineFirstSearcher",
    "MlflowCallback",
    "TrialConfig",
    "simulate",
    "trainable",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fedtune' has no attribute {name!r}")
