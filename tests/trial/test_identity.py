"""Finished trials keep their names, whatever fields come later."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedtune.config import FIELDS, LATER, OF_CLIENTS, UNHASHED
from fedtune.trial.identity import Trial

STUDY = Path(__file__).parents[2] / "docs" / "results" / "mini-study" / "rounds.tar.gz"

#: Every field that came after engine 3, with its default for good: another one would rename trials.
CAME_LATER = {
    "head": "own",  # 2026-11
    "balance_classes": False,  # 2026-11
    "dataset_config": "none",  # 2026-11
    "test_fraction": "none",  # 2026-11
    "test_split": "test",  # 2026-11
    "partition_alpha": 0.5,  # 2026-11
    "shards_per_client": 2,  # 2026-11
    "client_column": "none",  # 2026-11
    "examples_per_client": "none",  # 2026-11
    "min_client_examples": 1,  # 2026-11
    "participation": 1.0,  # 2026-11
    "prox_mu": 0.01,  # 2026-11
    "afl_step_size": 0.1,  # 2026-11
    "server_optimizer": "none",  # 2026-11
    "server_learning_rate": 1.0,  # 2026-11
    "server_momentum": 0.9,  # 2026-11
    "server_beta2": 0.99,  # 2026-11
    "server_tau": 1e-3,  # 2026-11
    "distill_examples": 0,  # 2026-11
    "one_shot_epochs": "auto",  # 2026-11
    "distill_dataset": "none",  # 2026-11
    "distill_steps": "auto",  # 2026-11
    "distill_learning_rate": "auto",  # 2026-11
}


#: Other values of those that are no words.
OTHER = {
    "head": "relu",
    "balance_classes": True,
    "test_fraction": 0.3,
    "server_optimizer": "adam",
    **dict.fromkeys(("shards_per_client", "examples_per_client", "min_client_examples"), 7),
    **dict.fromkeys(("partition_alpha", "participation", "prox_mu", "afl_step_size"), 0.25),
    **dict.fromkeys(("server_learning_rate", "server_momentum", "server_beta2"), 0.25),
    **dict.fromkeys(("server_tau", "distill_learning_rate"), 0.25),
    **dict.fromkeys(("distill_examples", "one_shot_epochs", "distill_steps"), 7),
}


@pytest.fixture(scope="module")
def published() -> list[dict[str, Any]]:
    """``config.yaml`` of every published trial."""
    found = []
    with tarfile.open(STUDY) as archive:
        for member in archive:
            if member.name.endswith("/config.yaml"):
                file = archive.extractfile(member)
                assert file is not None
                found.append(yaml.load(file, yaml.CSafeLoader))
    return found


def test_published_trials_keep_their_names(published: list[dict[str, Any]]) -> None:
    assert len(published) == 162
    for values in published:
        trial = Trial.from_dict(values)
        assert trial.trial_id == values["trial_id"]
        assert trial.baseline_id == values["baseline_trial_id"]


def test_fields_that_came_later_have_the_defaults_they_came_with(
    published: list[dict[str, Any]],
) -> None:
    assert dict(LATER) == CAME_LATER
    older = set(FIELDS) - set(LATER) - UNHASHED
    assert older <= set(published[0]), "a new field has to be marked as Later"


@pytest.mark.parametrize("field", sorted(CAME_LATER))
def test_a_later_field_is_hashed_where_it_differs(
    field: str, published: list[dict[str, Any]]
) -> None:
    assert field not in UNHASHED
    values = published[0] | {"balance_classes": False}
    trial = Trial.from_dict(values)
    said = Trial.from_dict(values | {field: CAME_LATER[field]})
    other = OTHER.get(field, "other")
    changed = Trial.from_dict(values | {field: other})
    assert said.trial_id == trial.trial_id
    assert changed.trial_id != trial.trial_id
    assert (changed.baseline_id == trial.baseline_id) == (field in OF_CLIENTS)
