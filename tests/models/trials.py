"""A trial of any model that takes a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedtune import TrialConfig


def quick(model: Path, **settings: Any) -> TrialConfig:
    return TrialConfig(
        **{
            "model": str(model),
            "dataset": "toy",
            "clients": 2,
            "threads": 1,
            "train_examples": 12,
            "test_examples": 6,
            "max_length": 32,
            "batch_size": 4,
            "budget_rounds": 1,
            "max_rounds": 1,
            "local_epochs": 1,
            "learning_rate": 0.05,
            **settings,
        }
    )
