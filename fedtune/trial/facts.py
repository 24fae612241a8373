"""What is tracked once about a trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedtune.config import TrialConfig
from fedtune.data.splits import Examples
from fedtune.federated.local import recipe_of
from fedtune.models.configuration import describe
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import open_examples, partition_of


def data_facts(trial: Trial) -> dict[str, Any]:
    """What is tracked once about a trial and can be told without its model, under its tracked
    names.

    ``steps/per_round`` is the number of sequential steps of a round: those of the largest client.
    """
    _, examples = open_examples(trial)
    config = trial.config
    sizes = partition_of(trial).sizes
    counts = np.bincount(examples.test.labels, minlength=examples.num_classes)
    facts = {
        "data/num_classes": examples.num_classes,
        "data/train_examples": _trained_on(examples, config, sizes),
        "data/test_examples": len(examples.test),
        "model/layers": describe(Path(trial.model_dir))["layers"],
        "steps/per_round": recipe_of(config).steps(max(sizes)),
        "summary/chance": max(1 / examples.num_classes, float(counts.max() / counts.sum())),
        "summary/clients": config.num_clients,
    }
    if examples.validation is not None:
        facts["data/validation_examples"] = len(examples.validation)
    return facts


def _trained_on(examples: Examples, config: TrialConfig, sizes: Sequence[int]) -> int:
    """The examples that clients have; with drop_last what it drops of an IID draw counts too."""
    return len(examples.train) if config.partition == "iid" else sum(sizes)
