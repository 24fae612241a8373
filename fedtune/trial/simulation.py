"""One trial from round 0 to its stop: set up, resume, loop, log, checkpoint."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from fedtune.config import TrialConfig
from fedtune.data.partition import Draw
from fedtune.errors import BadInput, check_writable, first_line
from fedtune.federated.local import Diverged
from fedtune.federated.strategy import FedAvg
from fedtune.machine import device_exists
from fedtune.paths import expanded
from fedtune.trial.activity import Activity, ActivityFile, Watch, unwatched
from fedtune.trial.bar import RoundBar
from fedtune.trial.by_step import StepFile, owed
from fedtune.trial.class_names import name_classes
from fedtune.trial.federation import Federation
from fedtune.trial.folder import TrialFolder
from fedtune.trial.held_folder import FolderGone
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import open_examples
from fedtune.trial.isolation import in_plain_torch
from fedtune.trial.memory import PeakMemory
from fedtune.trial.own import NOTHING_OWN, Own, check_own
from fedtune.trial.prepare import prepare
from fedtune.trial.results import divergence, read_result
from fedtune.trial.round_log import DamagedFolder, LogDigest, begun_with
from fedtune.trial.stopping import Target
from fedtune.trial.system import sampled

#: How long a worker waits for one that was killed and has not let go of the trial yet.
HANDOVER_S = 30.0


def checkpoint_pause(took_s: float) -> float:
    """Seconds until the next checkpoint after one that took ``took_s`` to write.

    Rounds that are quicker wait, and are committed together, so that no more than a tenth of a
    trial is writing: 440 MB of a BERT beside rounds of a second on a GPU.
    """
    return max(1.0, 10 * took_s)


@in_plain_torch
def simulate(
    config: TrialConfig,
    store: str | Path | None = None,
    progress: bool = False,
    *,
    strategy: FedAvg | None = None,
    partition: Draw | None = None,
) -> Iterator[dict[str, Any]]:
    """Run one trial and give the record of every round, round 0 (the untrained model) first.

    With a ``store`` the trial lives in ``<store>/<trial_id>``: rounds that are there already are
    given at once, the rest are run, and each is on disk before it is given. Without one nothing is
    written but caches. Needs neither Ray nor MLflow. With ``progress`` a bar moves while texts are
    tokenised and within every round, and each round's accuracy and loss are printed: on standard
    error, or in the notebook.

    A ``strategy`` of your own (a subclass of :class:`fedtune.FedAvg`) takes the place of the
    configuration's, and so does a ``partition``: a function ``(labels, num_clients, rng)`` that
    gives each client's examples as indices into ``labels``. Neither goes with a ``store``, where a
    trial is named by its configuration. See docs/extending.md.

    Ends by the stop rule (:class:`fedtune.trial.stopping.StopRule`), with ``target_accuracy`` as
    the target. Raises BadInput before anything starts, and Diverged when a loss or a parameter
    stops being finite. As with every generator, that is when the first record is asked for.

    What the caller has set in PyTorch (``no_grad``, a default dtype or device, autocast …) is kept
    away from the trial, and is as it was whenever the caller has the word.

    >>> config = TrialConfig(model="mini-bert", dataset="toy", clients=2, budget_rounds=1)
    >>> [record["round"] for record in simulate(config)]  # doctest: +SKIP
    [0, 1, 2]
    """
    if not isinstance(config, TrialConfig):
        kind = type(config).__name__
        raise BadInput.of("config", None, f"allowed is a fedtune.TrialConfig, this is a {kind}")
    if store is not None and not str(store):
        raise BadInput.of("store", store, "allowed is a folder; for none leave store out")
    if store is None and config.eval_steps != "none":
        what = "eval_steps has no effect without a store, in which evaluations within rounds are"
        warnings.warn(f"{what} kept", stacklevel=2)
    own = Own(strategy, partition)
    check_own(own, config, store)
    if store is not None:
        store = expanded(store).absolute()  # the caller may change the folder between two rounds
        check_writable("store", store)
    trial = prepare(config, progress=progress)
    folder = None
    if store is not None:
        store.mkdir(parents=True, exist_ok=True)
        folder = TrialFolder(store, trial.trial_id)
    target = Target(trial.own_target)
    # Copies, since the stop rule goes on reading the records.
    if not progress:
        with closing(run_trial(trial, folder, lambda: target, own=own)) as rounds:
            for record in rounds:
                yield dict(record)
        return
    with RoundBar(trial.stop_rule) as bar:
        for record in run_trial(trial, folder, lambda: target, bar.watch, own):
            bar.round_done(record)
            yield dict(record)


def run_trial(
    trial: Trial,
    folder: TrialFolder | None,
    target: Callable[[], Target],
    watch: Watch = unwatched,
    own: Own = NOTHING_OWN,
) -> Generator[dict[str, Any]]:
    """Run a prepared trial to its end; ``target`` is asked after every round.

    A target may become known while the trial runs (its baseline finishes meanwhile): the trial then
    ends as soon as it is known and has been met. ``watch`` is told what is being done; where there
    is a folder, so is whoever reads it (:class:`fedtune.trial.activity.ActivityFile`).
    """
    if folder is None:
        watch(Activity(0, "loads model"))
        federation = Federation(trial, watch, own=own)
        digest = LogDigest(begun_with(trial, federation.facts))
        yield from _new_rounds(federation, [], digest, None, target)
        return
    if not folder.store.is_dir():  # who wants one makes it; a launch's may have been removed
        raise FolderGone(f"the store {folder.store} is not there (any more)")
    with folder.lock(HANDOVER_S), ActivityFile(folder) as note:
        folder.forget_failure()
        trial = as_begun(trial, folder)
        records = folder.recover()
        by_step = StepFile(folder)
        missing = owed(trial, records, by_step.keep(records))
        is_whole = trial.stop_rule.ended(records, target()) or bool(divergence(folder, trial))
        has_ended = is_whole and not missing
        if not has_ended:
            folder.check_machine()
        if records:  # how long it runs may have changed, what it runs on, what things are called
            folder.write_config(trial, _facts(folder), computes=not has_ended)
            name_classes(folder, open_examples(trial)[1].label_names)
        yield from records[: trial.stop_rule.last + 1]  # a longer log is read up to the cap
        if has_ended:
            return
        if records and not is_whole and not folder.checkpoint.exists():
            raise DamagedFolder(
                f"{folder.path} has a log but no checkpoint, so it cannot be continued; "
                "ask for no more rounds than it has, or move it away to start the trial anew"
            )
        memory = PeakMemory(str(trial.config.device), first=Federation.is_first(trial))

        def tell(activity: Activity) -> None:
            watch(activity)
            note(activity)

        tell(Activity(len(records), "loads model"))
        federation = Federation(trial, tell, folder.vectors)
        if missing:
            run_again(federation, records, missing, by_step)
        if is_whole:
            return
        if records:
            folder.check_checkpoint()
            try:
                federation.load(folder.checkpoint, records[-1])
            except ValueError as error:
                raise DamagedFolder(f"{error}; move {folder.path} away to start anew") from error
        else:
            folder.begin(trial, federation.facts, federation.partition)
        digest = LogDigest(folder.read_config())
        for record in records:
            digest.add(record)
        noted = folder.read_peak_memory() or 0.0
        config = trial.config
        samples = sampled(folder.samples, config.device) if config.system_metrics else nullcontext()
        with samples:
            for record in _new_rounds(federation, records, digest, folder, target):
                peak = memory.megabytes()
                if (
                    peak is not None and peak > 1.01 * noted
                ):  # it settles after a few rounds, and a file costs milliseconds
                    noted = folder.write_peak_memory(peak)
                yield record


def _new_rounds(
    federation: Federation,
    records: list[dict[str, Any]],
    digest: LogDigest,
    folder: TrialFolder | None,
    target: Callable[[], Target],
) -> Iterator[dict[str, Any]]:
    try:
        yield from _rounds(federation, records, digest, folder, target)
    finally:
        federation.flat.drop_graphs()


def _rounds(
    federation: Federation,
    records: list[dict[str, Any]],
    digest: LogDigest,
    folder: TrialFolder | None,
    target: Callable[[], Target],
) -> Iterator[dict[str, Any]]:
    rule = federation.trial.stop_rule
    records = list(records)
    pending: list[dict[str, Any]] = []
    looked: list[dict[str, Any]] = []  # within the pending rounds
    committed_at, pause = time.monotonic(), checkpoint_pause(0.0)
    # With rounds pending the trial goes on to the next commit, even if a target has become known
    # since the last look: otherwise they would be lost.
    while pending or not rule.ended(records, target()):
        round_num = len(records)
        try:
            if records:
                steps = federation.due_in(round_num) if folder else ()
                record = federation.round(round_num, rule.evaluates(round_num), steps)
            else:
                record = federation.round_zero()
        except Diverged as diverged:
            if folder is not None:
                if pending:
                    StepFile(folder).add(looked)
                    folder.commit(pending, federation.save)
                yield from pending
                folder.write_json(
                    "diverged.json",
                    {"round": diverged.round_num, "client_id": diverged.client_id},
                )
            raise
        if folder is not None and round_num == rule.budget:
            folder.write_predictions(round_num, federation.test_predictions)
        record = digest.sealed(record)
        records.append(record)
        pending.append(record)
        begun_at = time.monotonic()
        due = begun_at - committed_at >= pause
        due = due or federation.commits_each_round or round_num == 0
        looked += federation.within.points
        if folder is None or due or rule.ended(records, target()):
            if folder is not None:
                StepFile(folder).add(looked)
                looked.clear()
                folder.commit(pending, federation.save)
            committed_at = time.monotonic()
            pause = checkpoint_pause(committed_at - begun_at)
            yield from pending
            pending.clear()


def run_again(
    federation: Federation,
    records: Sequence[Mapping[str, Any]],
    missing: Mapping[int, Sequence[int]],
    by_step: StepFile,
) -> None:
    """Run committed rounds once more for the evaluations within them that are ``missing`` (steps by
    round); the log stays as it is. What was found in a round is kept when it has ended.

    Raises DamagedFolder where a round does not give the model that it gave before.
    """
    for record in records[1 : max(missing) + 1]:
        round_num = record["round"]
        again = federation.round(round_num, False, missing.get(round_num, ()))
        if again["params_digest"] != record.get("params_digest"):
            raise DamagedFolder(
                f"{by_step.path.parent}: round {round_num} was run again for eval_steps and gave "
                "another model than in the log, as other hardware or libraries do; set eval_steps "
                "to none, or begin the trial anew in another --store"
            )
        by_step.add(federation.within.points)


def as_begun(trial: Trial, folder: TrialFolder, *, elsewhere: bool = False) -> Trial:
    """The trial with what ``auto`` became when its first round ran: device, precision, threads.

    Raises BadInput where rounds are missing, to be run here, and the device is not there any more.
    """
    begun = folder.read_config()
    if not begun or not folder.has_rounds:
        return trial
    kept = {key: begun[key] for key in ("device", "precision", "threads")}
    begun_trial = Trial(**{**vars(trial), "config": trial.config.replace(**kept)})
    has_device = elsewhere or device_exists(kept["device"])
    if not has_device and not read_result(folder.path.parent, begun_trial).ended:
        raise BadInput.of(
            "device",
            kept["device"],
            f"trial {folder.trial_id} was begun there and this machine has no such device; "
            "go on where there is one, or begin anew in another --store",
        )
    return begun_trial


def _facts(folder: TrialFolder) -> dict[str, Any]:
    return {key: value for key, value in folder.read_config().items() if "/" in key}


def note_failure(folder: TrialFolder, error: Exception) -> str:
    """Keep the traceback in the trial's folder and return a line that says what and where."""
    if isinstance(error, FolderGone):  # there is no place to keep more
        return first_line(error)
    path = folder.note_failure("".join(traceback.format_exception(error)))
    where = f" (see {path})" if path else ""
    return f"{type(error).__name__}: {first_line(error)}{where}"
