"""The runner with Ray Tune."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
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

from fedtune.cost.memory import need  # noqa: E402
from fedtune.cost.resources import OBJECT_STORE_BYTES, request, too_large  # noqa: E402
from fedtune.errors import BadInput, Fault, first_line  # noqa: E402
from fedtune.machine import Machine  # noqa: E402
from fedtune.run.launch import Launch  # noqa: E402
from fedtune.run.own_ray import start_own_ray  # noqa: E402
from fedtune.run.searcher import BaselineFirstSearcher  # noqa: E402
from fedtune.run.trainable import DIVERGED, FAILED, TRIAL_ID, launch_trainable  # noqa: E402
from fedtune.trial.folder import TrialFolder  # noqa: E402
from fedtune.trial.identity import Trial  # noqa: E402

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
        folder = TrialFolder(self._launch.store, trial_id)
        noted = folder.failure.is_file()  # by a worker that could still say why
        why = f"see {folder.failure}" if noted else "out of memory?"
        reason = f"its worker died {WORKER_RETRIES + 1} times ({why})"
        if not noted:
            folder.note_failure(reason)
        self._launch.fail(trial_id, reason)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it into a file that fedtune never reads again


@contextmanager
def ray_cluster(address: str | None, here: Machine | None) -> Iterator[Machine | None]:
    """A local Ray of its own on the machine ``here``, or the cluster at ``address``; BadInput where
    there is none, Refusal where this machine starts none.

    Gives this machine where the launch starts Ray itself. Gives None for a Ray that was there
    before: which GPUs that has, and what else runs on it, is not known.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    if ray.is_initialized():  # by the caller, who also shuts it down
        yield None
        return
    on_sigterm = signal.getsignal(signal.SIGTERM)
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    with ExitStack() as stack:
        if here:
            clean = start_own_ray(
                ray.init,
                num_cpus=here.cores,
                _memory=int(here.memory),  # what was free when the launch was planned
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                resources={f"cuda:{number}": 1.0 for number in range(len(here.gpus))},
                **quiet,
            )
            stack.callback(clean)
        else:
            _join(address, quiet)
        stack.callback(ray.shutdown)
        # Ray's own handler prints a stack and soon aborts what is still being closed.
        if callable(on_sigterm):
            signal.signal(signal.SIGTERM, on_sigterm)
        yield here


def _join(address: str | None, quiet: Mapping[str, Any]) -> None:
    try:
        ray.init(address=address or "local", **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        why = f"no Ray could be reached there: {first_line(error)}"
        raise BadInput.of("address", address, why) from None


def requests_of(launch: Launch, machine: Machine | None) -> dict[str, dict[str, float]]:
    """What each trial of the launch asks Ray for (see :func:`request`), by ``trial_id``.

    Raises BadInput where no machine of the cluster could ever run a trial; Tune would wait.
    """
    nodes = _nodes()
    most_memory = max((node.get("memory", 0.0) for node in nodes), default=0.0)
    requests: dict[str, dict[str, float]] = {}
    faults: dict[str, Fault] = {}
    for trial in launch.todo:
        asked = requests[trial.trial_id] = request(trial, machine, most_memory)
        fault = _never_fits(trial, asked, nodes)
        if fault:
            faults[str(fault)] = fault
    if faults:
        raise BadInput(faults.values())
    return requests


def _never_fits(
    trial: Trial, asked: Mapping[str, float], nodes: Sequence[Mapping[str, float]]
) -> Fault | None:
    """Why no machine could ever run the trial; None where one could."""
    config = trial.config
    if need(trial).memory > asked["memory"]:
        who = "the largest machine of this Ray has"
        return too_large(trial, need(trial).memory, asked["memory"], who)
    if str(config.device).startswith("cuda:") and config.device not in asked:
        message = "allowed on a cluster is 'cuda' or 'cpu': Ray chooses the machine and its GPU"
        return Fault("device", config.device, message)
    kinds = ("cpu", "gpu") if asked["gpu"] else ("cpu",)
    if any(all(asked[kind] <= node.get(kind.upper(), 0.0) for kind in kinds) for node in nodes):
        return None
    wanted = " and ".join(f"{asked[kind]:g} {kind.upper()}" for kind in kinds)
    field = "device" if asked["gpu"] else "threads"
    message = f"needs a machine with {wanted}, and this Ray has none"
    return Fault(field, getattr(config, field), message)


def _nodes() -> list[dict[str, float]]:
    """The resources of each machine of the cluster, under Ray's names."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def slots_of(requests: Iterable[Mapping[str, float]], nodes: Iterable[Mapping[str, float]]) -> int:
    """How many trials the ``nodes`` can run at a time if all were like the smallest."""
    asked = list(requests)
    least = {kind: min(each.get(kind, 0.0) for each in asked) for kind in asked[0]}
    names = {"cpu": "CPU", "gpu": "GPU"}
    return sum(
        min(
            # In the four digits that Ray counts: 1.0 // 0.2 is 4 in floating point.
            round(1e4 * node.get(names.get(kind, kind), 0.0)) // round(1e4 * least[kind])
            for kind in least
            if least[kind]
        )
        for node in nodes
    )


def run_with_ray(
    launch: Launch,
    *,
    requests: Mapping[str, dict[str, float]],
    own: bool = False,
    reuse: bool = True,
) -> None:
    """Run the launch's trials as one Tune experiment; each asks Ray for its part of ``requests``.

    The experiment lives in a temporary folder: trials resume from their own folders, so nothing of
    Tune's is ever read again (and nothing is ever unpickled).

    Where Ray is its ``own``, a trial is chosen when there is room for it and no sooner. Tune would
    ask for many in advance, and baselines of later seeds, which are all that can be given then,
    would run before the first seed's federated trials. A cluster that is not fedtune's own may grow
    with what it is asked for, so there Tune asks in advance.

    With ``reuse`` a worker takes one trial after another, which saves 3 s of imports for each.
    """
    searcher = BaselineFirstSearcher.of_launch(launch)
    with tempfile.TemporaryDirectory(prefix="fedtune-") as folder:
        tune.Tuner(
            tune.with_resources(launch_trainable, partial(_resources, requests)),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=searcher.num_trials,
                max_concurrent_trials=slots_of(requests.values(), _nodes()) if own else None,
                reuse_actors=reuse,
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


def _resources(
    requests: Mapping[str, dict[str, float]], space: Mapping[str, Any]
) -> dict[str, float]:
    return dict(requests[Trial.from_dict(space).trial_id])
