"""The runner without Ray: one trial after another, in this process."""

from __future__ import annotations

from functools import partial

from fedtune.federated.local import Diverged
from fedtune.run.launch import Launch
from fedtune.trial.folder import TrialFolder
from fedtune.trial.results import target_of
from fedtune.trial.simulation import note_failure, run_trial
from fedtune.trial.stopping import Target


def run_here(launch: Launch) -> None:
    """Run the launch's trials in the order of the plan; one that fails does not stop the others."""
    for planned in launch.todo:
        trial = launch.release(planned)
        if trial is None:
            continue  # its baseline failed or diverged
        launch.started(trial)
        folder = TrialFolder(launch.store, trial.trial_id)
        target = target_of(launch.store, trial)
        try:
            for record in run_trial(trial, folder, partial(_same, target)):
                launch.round_done(trial.trial_id, record)
        except Diverged:
            pass  # a result: the folder says where
        except Exception as error:
            launch.fail(trial.trial_id, note_failure(folder, error))
            continue
        launch.ended(trial.trial_id)


def _same(target: Target) -> Target:
    return target
