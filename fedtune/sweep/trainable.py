"""What runs in a Ray worker: one trial, a report per round."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtune.federated.local import Diverged
from fedtune.sweep.space import trial_of_space
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.prepare import prepare
from fedtune.trial.results import target_of
from fedtune.trial.simulation import note_failure, run_trial

#: Keys of a report beside a round's record. (`trial_id` is Tune's own.)
TRIAL_ID, DIVERGED, FAILED = "fedtune_trial_id", "diverged", "failed"


def trainable(config: Mapping[str, Any]) -> None:
    """One trial for Ray Tune, resumable: ``tune.Tuner(fedtune.trainable,
    param_space={...}).fit()``.

    ``config`` holds fields of :class:`fedtune.TrialConfig` and, if wanted, ``store`` (default:
    ``./trials`` where the script was started). Reports every round's record under its tracked
    names, with ``round``. A worker that died goes on after its last committed round. A federated
    trial whose baseline is not finished goes on, and stops as soon as the target is known and met.
    A trial that diverges reports ``diverged`` and ends.
    """
    from ray import tune

    trial, store = _resolve(config)
    folder = TrialFolder(store, trial.trial_id)
    label = {TRIAL_ID: trial.trial_id}
    last: dict[str, Any] = {}
    try:
        for record in run_trial(trial, folder, lambda: target_of(store, trial)):
            last = record
            tune.report(label | record)
    except Diverged:
        tune.report(label | last | {DIVERGED: True})


def launch_trainable(config: Mapping[str, Any]) -> None:
    """:func:`trainable` for fedtune's own launches: an error is reported, not retried.

    The same computation would fail the same way again; retrying is for workers that die.
    """
    from ray import tune

    try:
        trainable(config)
    except Exception as error:
        trial, store = _resolve(config)
        reason = note_failure(TrialFolder(store, trial.trial_id), error)
        tune.report({TRIAL_ID: trial.trial_id, FAILED: reason})


def _resolve(config: Mapping[str, Any]) -> tuple[Trial, Path]:
    # Tune moves its workers into a folder of their own; a path means what it meant to the user.
    home = os.environ.get("TUNE_ORIG_WORKING_DIR", ".")
    store = Path(home, config.get("store", "trials")).absolute()
    found = trial_of_space(config)
    if isinstance(found, Trial):
        return found, store
    if found.threads == "auto":  # here that is what Tune gave the trial, not the whole machine
        found = found.replace(threads=_assigned_cpus())
    with contextlib.chdir(home):
        return prepare(found), store


def _assigned_cpus() -> int:
    import ray

    cpus: float = ray.get_runtime_context().get_assigned_resources().get("CPU", 1.0)
    return max(int(cpus), 1)
