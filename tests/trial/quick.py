"""Trials that take a tenth of a second a round."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedtune import TrialConfig, simulate
from fedtune.trial.folder import TrialFolder
from fedtune.trial.prepare import prepare

QUICK: dict[str, Any] = {
    "dataset": "toy",
    "clients": 3,
    "train_examples": 26,  # 9, 9 and 8
    "test_examples": 16,
    "batch_size": 4,
    "local_epochs": 1,
    "max_length": 32,
    "learning_rate": 0.05,
    "budget_rounds": 2,
    "max_rounds": 3,
    "threads": 1,
    "device": "cpu",
}


def quick(model: str, **changes: Any) -> TrialConfig:
    return TrialConfig(**{"model": model, **QUICK, **changes})


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    """A record without the keys that may differ between two runs of a trial."""
    return {k: v for k, v in record.items() if not k.startswith(("time/", "throughput/"))}


def run(config: TrialConfig, store: Path | None = None) -> list[dict[str, Any]]:
    return [timeless(record) for record in simulate(config, store)]


def folder_of(config: TrialConfig, store: Path) -> TrialFolder:
    return TrialFolder(store, prepare(config).trial_id)


def log_lines(config: TrialConfig, store: Path) -> list[str]:
    """The round log as it would be if time stood still, line by line."""
    text = folder_of(config, store).rounds_path.read_text()
    assert text.endswith("\n")
    return [json.dumps(timeless(json.loads(line))) for line in text.splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    """Everything below ``folder``, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def take(records: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The first ``count`` records; the trial is left there."""
    taken = [next(records) for _ in range(count)]
    records.close()  # type: ignore[attr-defined]
    return taken
