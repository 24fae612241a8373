"""``config.yaml`` of a trial's folder, read with care: it may have been edited, or be another's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fedtune.errors import first_line
from fedtune.trial import identity
from fedtune.trial.identity import Trial
from fedtune.trial.round_log import ANEW, DamagedFolder, is_count, is_number
from fedtune.yaml_text import load_dumped

#: What ``config.yaml`` tells of a trial's beginning, beside its settings and its identity.
ORIGIN = ("begun_ms", "git_commit", "hardware", "libraries")

#: Facts that are read together: where one is there, all are.
_FACTS = ("summary/chance", "summary/clients", "data/test_examples", "steps/per_round")


def read_begun(content: bytes, path: Path, trial_id: str) -> dict[str, Any]:
    """The values of a ``config.yaml``, given its content.

    Raises DamagedFolder where they are no settings of the trial: each identity is a hash of them.
    """
    try:
        return dict(_checked(content, trial_id, identity.ENGINE))
    except ValueError as error:
        raise DamagedFolder(f"{path} {error}; {ANEW}") from None


@lru_cache(maxsize=4096)
def _checked(content: bytes, trial_id: str, engine: int) -> Mapping[str, Any]:
    """ValueError says what is wrong. Kept, since parsing takes milliseconds and is asked for every
    round.
    """
    try:
        values = load_dumped(content.decode())
    except ValueError as error:  # BadYAML and UnicodeDecodeError are ValueErrors
        raise ValueError(f"is not valid YAML ({first_line(error)})") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ValueError("holds no settings")
    if values.get("trial_id") != trial_id:
        raise ValueError(f"is of trial {values.get('trial_id')}, and this is another's folder")
    wrong = [key for key, value in values.items() if not _has_its_type(key, value)]
    missing = [key for key in _FACTS if key not in values] if _FACTS[0] in values else []
    if wrong or missing:
        which = ", ".join([*wrong, *missing])
        raise ValueError(f"has no value of the right type for {which}")
    if values.get("engine") == engine:
        _check_identity(values, trial_id)
    return MappingProxyType(values)


def _has_its_type(key: str, value: object) -> bool:
    if "/" in key:
        return is_number(value)
    if key == "begun_ms":
        return is_count(value)
    return key not in ORIGIN or isinstance(value, str)


def _check_identity(values: Mapping[str, Any], trial_id: str) -> None:
    try:
        name = Trial.from_dict(values).trial_id
    except KeyError as error:
        raise ValueError(f"lacks {error.args[0]}") from None
    except (ValueError, TypeError) as error:  # BadInput is a ValueError
        raise ValueError(f"has settings that no trial has ({first_line(error)})") from None
    if name != trial_id:
        raise ValueError(
            f"has settings of another trial ({name}): they were changed after it was begun"
        )
