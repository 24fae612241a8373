"""The runner without Ray: one trial after another, in this process."""

from __future__ import annotations

import traceback

from fedtune.federated.local import Diverged
from fedtune.sweep.launch import Launch
from fedtune.trial.folder import TrialFolder
from fedtune.trial.simulation import run_trial


def run_here(launch: Launch) -> None:
    """Run the launch's trials in order; a trial that fails does not stop the others."""
    for planned in launch.todo:
        trial = launch.release(planned)
        if trial is None:
            continue  # its baseline failed or diverged
        launch.started(trial)
        folder = TrialFolder(launch.store, trial.trial_id)
        try:
            for record in run_trial(trial, folder, lambda own=trial.own_target: own):  # type: ignore[misc]
                launch.round_done(trial.trial_id, record)
        except Diverged:
            pass  # a result: the folder says where
        except Exception as error:
            launch.fail(trial.trial_id, note_failure(folder, error))
            continue
        launch.ended(trial.trial_id)


def note_failure(folder: TrialFolder, error: Exception) -> str:
    """Keep the traceback in the trial's folder and return a line that says what and where."""
    path = folder.note_failure("".join(traceback.format_exception(error)))
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first} (see {path})"
