"""A trial that was run before, under the names that its classes have now.

Names of classes are no part of a trial: the same texts and labels give the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedtune.models.configuration import head_settings
from fedtune.trial.durable import write_atomically
from fedtune.trial.folder import TrialFolder
from fedtune.trial.locks import TrialInUse


def name_classes(folder: TrialFolder, label_names: Sequence[str]) -> None:
    """Give the trial's checkpoint and partition these names of classes. Whoever calls holds it."""
    for path, changed in _outdated(folder, label_names):
        write_atomically(path, json.dumps(changed, indent=2, sort_keys=True) + "\n")


def name_classes_of_ended(folder: TrialFolder, label_names: Sequence[str]) -> None:
    """The same for a trial that nobody is at work on; one in use is left to its owner."""
    if _outdated(folder, label_names):
        with suppress(TrialInUse), folder.lock():
            name_classes(folder, label_names)


def _outdated(folder: TrialFolder, label_names: Sequence[str]) -> list[tuple[Path, dict[str, Any]]]:
    # As JSON has them: keys are strings there.
    head = json.loads(json.dumps(head_settings(label_names)))
    wanted = {
        folder.checkpoint / "config.json": head,
        folder.partition: {"label_names": list(label_names)},
    }
    found = []
    for path, values in wanted.items():
        try:
            current = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # it is not there, or damaged, which others tell
        if isinstance(current, dict) and any(current.get(k) != v for k, v in values.items()):
            found.append((path, current | values))
    return found
