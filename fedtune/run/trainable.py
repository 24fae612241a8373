"""What runs in a Ray worker: one trial, a report per round."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtune.federated.local import Diverged
from fedtune.paths import expanded
from fedtune.run.space import trial_of_space
from fedtune.trial.device import DEVICE_ERRORS
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.prepare import prepare
from fedtune.trial.results import target_of
from fedtune.trial.simulation import note_failure, run_trial

#: Keys of a report beside a round's record. (`trial_id` is Tune's own.)
TRIAL_ID, DIVERGED, FAILED = "fedtune_trial_id", "diverged", "failed"


def trainable(config: Mapping[str, Any]) -> None:
    """One trial for Ray Tune, resumable: ``tune.Tuner(fedtune.trainable,
    param_space={...}).fit()``, after ``ray.init(address="local")``. Without that Tune takes the Ray
    that runs on this machine, or that of ``$RAY_ADDRESS``, whoever's it is.

    ``config`` holds fields of :class:`fedtune.TrialConfig` and, if wanted, ``store`` (default:
    ``./trials`` where the script was started). Reports every round's record under its tracked
    names, with ``round``. A worker that died goes on after its last committed round. A federated
    trial whose baseline is not finished goes on, and stops as soon as the target is known and met.
    A trial that diverges reports ``diverged`` and ends. ``device`` and ``threads`` on ``auto`` are
    what Tune gave the trial (``tune.with_resources``): the CPU, unless that has a GPU.
    """
    trial, store = _resolve(config)
    store.mkdir(parents=True, exist_ok=True)
    _report(trial, store)


def _report(trial: Trial, store: Path) -> None:
    from ray import tune

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

    The same computation would fail the same way again; retrying is for workers that die, and for
    GPUs that broke down or were too full: those get a new process.
    """
    from ray import tune

    try:
        _report(*_resolve(config))  # in a store that the launch has made
    except Exception as error:
        trial, store = _resolve(config)
        reason = note_failure(TrialFolder(store, trial.trial_id), error)
        if isinstance(error, DEVICE_ERRORS):
            raise
        tune.report({TRIAL_ID: trial.trial_id, FAILED: reason})


def _resolve(config: Mapping[str, Any]) -> tuple[Trial, Path]:
    # Tune moves its workers into a folder of their own; a path means what it meant to the user.
    home = os.environ.get("TUNE_ORIG_WORKING_DIR", ".")
    store = Path(home, expanded(config.get("store", "trials"))).absolute()
    found = trial_of_space(config)
    if isinstance(found, Trial):
        return found, store
    # Here `auto` is what Tune gave the trial, not the whole machine.
    if found.threads == "auto":
        found = found.replace(threads=max(int(_assigned("CPU", 1.0)), 1))
    if found.device == "auto" and not _assigned("GPU", 0.0):
        found = found.replace(device="cpu")
    with contextlib.chdir(home):
        return prepare(found), store


def _assigned(kind: str, otherwise: float) -> float:
    import ray

    found: float = ray.get_runtime_context().get_assigned_resources().get(kind, otherwise)
    return found
