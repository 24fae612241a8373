"""The runner with Ray Tune."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# Before Ray is imported: it reads these once.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own tables; fedtune has one of its own
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is handled by the launch
    "TUNE_MAX_PENDING_TRIALS_PG": "16",
    "TOKENIZERS_PARALLELISM": "false",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402

from fedtune.config import BadInput  # noqa: E402
from fedtune.sweep.launch import Launch  # noqa: E402
from fedtune.sweep.searcher import BaselineFirstSearcher  # noqa: E402
from fedtune.sweep.trainable import DIVERGED, FAILED, TRIAL_ID, launch_trainable  # noqa: E402
from fedtune.trial.folder import TrialFolder  # noqa: E402
from fedtune.trial.identity import Trial  # noqa: E402
from fedtune.trial.prepare import available_cores  # noqa: E402

#: How often a trial whose worker died is started again. It goes on after its last committed round.
WORKER_RETRIES = 2


class LaunchCallback(tune.Callback):
    """Carries what Tune sees to the launch."""

    def __init__(self, launch: Launch):
        self._launch = launch

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        planned = self._launch.plan.by_id()[Trial.from_dict(trial.config).trial_id]
        self._launch.started(self._launch.release(planned) or planned)

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        trial_id = result.get(TRIAL_ID)
        if trial_id is None:
            return
        if FAILED in result:
            self._launch.fail(trial_id, result[FAILED])
        elif DIVERGED not in result:
            self._launch.round_done(trial_id, result)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        trial_id = Trial.from_dict(trial.config).trial_id
        if trial_id not in self._launch.failed:
            self._launch.ended(trial_id)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        trial_id = Trial.from_dict(trial.config).trial_id
        reason = f"its worker died {WORKER_RETRIES + 1} times (out of memory?)"
        TrialFolder(self._launch.store, trial_id).note_failure(reason)
        self._launch.fail(trial_id, reason)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it into a file that fedtune never reads again


@contextmanager
def ray_cluster(address: str | None) -> Iterator[None]:
    """A local Ray of its own, or the cluster at ``address``; BadInput where there is none."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    if ray.is_initialized():  # somebody's notebook; it is theirs to end
        yield
        return
    try:
        ray.init(
            address=address or "local",
            num_cpus=None if address else available_cores(),
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput.of("address", address, f"no Ray could be reached there: {reason}") from None
    try:
        yield
    finally:
        ray.shutdown()


def run_with_ray(launch: Launch) -> None:
    """Run the launch's trials as one Tune experiment.

    The experiment lives in a temporary folder: trials resume from their own folders, so nothing of
    Tune's is ever read again (and nothing is ever unpickled).
    """
    searcher = BaselineFirstSearcher.of_launch(launch)
    with tempfile.TemporaryDirectory(prefix="fedtune-") as folder:
        tune.Tuner(
            tune.with_resources(launch_trainable, _resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=searcher.num_trials,
                reuse_actors=True,  # saves 3 s of imports per trial
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="launch",
                storage_path=folder,
                verbose=0,
                callbacks=[LaunchCallback(launch)],
                failure_config=tune.FailureConfig(max_failures=WORKER_RETRIES),
            ),
        ).fit()


def _resources(space: Mapping[str, Any]) -> dict[str, float]:
    # A device with a number is the user's own choice; Ray would hide all but one, and renumber it.
    on_gpu = space["device"] == "cuda"
    return {"cpu": float(space["threads"]), "gpu": 1.0 if on_gpu else 0.0}


def check_resources(launch: Launch) -> None:
    """Raise BadInput where no machine of the cluster could ever run a trial; Tune would wait."""
    largest: dict[str, float] = {}
    for node in ray.nodes():
        for kind, amount in node["Resources"].items():
            largest[kind] = max(largest.get(kind, 0.0), amount)
    for trial in launch.todo:
        for kind, amount in _resources(trial.to_dict()).items():
            there = largest.get(kind.upper(), 0.0)
            if amount > there:
                field = "threads" if kind == "cpu" else "device"
                raise BadInput.of(
                    field,
                    getattr(trial.config, field),
                    f"needs {amount:g} {kind.upper()}, and the largest machine has {there:g}",
                )
