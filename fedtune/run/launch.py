"""A launch: run what a plan still lacks, keep MLflow up to date, and say how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtune.plan.plan import Plan
from fedtune.plan.plan_file import save_plan
from fedtune.trial.class_names import name_classes_of_ended
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import open_examples
from fedtune.trial.locks import Hold, launching
from fedtune.trial.results import Result, baseline_result, read_result
from fedtune.trial.round_log import DamagedFolder
from fedtune.trial.simulation import HANDOVER_S
from fedtune.trial.stopping import choose_target

if TYPE_CHECKING:
    from fedtune.run.progress import Progress
    from fedtune.tracking.writer import Writer


@dataclass(frozen=True)
class LaunchResult:
    """How a launch ended: every trial's result, and what went wrong, by ``trial_id``."""

    results: tuple[Result, ...]
    failed: Mapping[str, str]
    waiting: Mapping[str, str]
    not_tracked: Mapping[str, str]

    @classmethod
    def of_store(cls, store: Path, plan: Plan) -> LaunchResult:
        """How the trials of a plan stand by what is on disk, whoever ran them."""
        by_id = plan.by_id()
        # The plan of a Tune script of one's own may have no baselines.
        results = tuple(read_result(store, t, by_id.get(t.baseline_id)) for t in plan.trials)
        failed = {
            result.trial.trial_id: str(TrialFolder(store, result.trial.trial_id).failure)
            for result in results
            if not result.ended and TrialFolder(store, result.trial.trial_id).failure.is_file()
        }
        stuck = failed.keys() | {r.trial.trial_id for r in results if r.diverged}
        waiting = {
            r.trial.trial_id: "its baseline failed"
            for r in results
            if not r.trial.is_baseline and not _outcome(r) and r.trial.baseline_id in stuck
        }
        return cls(results, failed, waiting, {})

    @property
    def exit_code(self) -> int:
        return 1 if self.failed or self.waiting or self.not_tracked else 0

    @property
    def status(self) -> str:
        """How MLflow calls it: FAILED, KILLED (trials lack rounds) or FINISHED."""
        if self.failed or self.waiting:
            return "FAILED"
        return "FINISHED" if all(result.ended for result in self.results) else "KILLED"


class Launch:
    """What a runner (Ray Tune, or this process) tells, and what it asks.

    A runner takes the trials of :attr:`todo` in order, asks :meth:`release` for each federated one
    until it gives the trial with its target, and reports rounds, ends and failures.
    """

    def __init__(self, plan: Plan, store: Path, progress: Progress, writer: Writer | None):
        self.plan, self.store, self.progress, self.writer = plan, store, progress, writer
        self.failed: dict[str, str] = {}
        self._hold: Hold | None = None
        self.todo = [trial for trial in plan.trials if not self._ended(trial)]
        self._last_round: dict[str, Mapping[str, Any]] = {
            trial.trial_id: records[-1]
            for trial in self.todo
            if (records := TrialFolder(store, trial.trial_id).records())
        }

    def run(self, runner: Any) -> LaunchResult:
        """Run what is missing with ``runner(launch)``, then collect. KeyboardInterrupt goes
        through.
        """
        lacking = {trial.trial_id for trial in self.todo}
        with self._held():
            save_plan(self.plan, self.store)
            for trial in self.plan.trials:
                if trial.trial_id not in lacking:
                    folder = TrialFolder(self.store, trial.trial_id)
                    name_classes_of_ended(folder, open_examples(trial)[1].label_names)
                    self._show(trial)
                    self._track(trial, "FINISHED")
            try:
                if self.todo:
                    with self.progress:
                        runner(self)
            except BaseException:  # Ctrl-C, and SystemExit, which Ray makes of a SIGTERM
                self._abandon()
                raise
            return self._complete()

    def begun_ms(self) -> dict[str, int]:
        """When the trials that lack rounds were begun (Unix time, ms; 0: not yet), by their ids."""
        folders = (TrialFolder(self.store, trial.trial_id) for trial in self.todo)
        return {folder.trial_id: int(folder.read_config().get("begun_ms", 0)) for folder in folders}

    def release(self, trial: Trial) -> Trial | None:
        """The trial with its target set, or None while its baseline has not ended.

        Where the baseline is not above chance there is no target, not even one of the user's own,
        which therefore waits too; the trial runs its budget. None, too, where the store was removed
        since the launch began, which :meth:`doomed` then says.
        """
        if self._store_is_gone:
            return None
        if trial.is_baseline:
            return trial
        baseline = baseline_result(self.store, trial, self.plan.baseline_of(trial))
        if baseline is None:
            return None
        fraction = trial.config.target_fraction
        target = choose_target(trial.own_target, baseline, fraction).accuracy
        if target is None:
            return trial
        return replace(trial, config=trial.config.replace(target_accuracy=target))

    def doomed(self, trial: Trial) -> str | None:
        """Why the trial will never be released, now that its baseline has ended; else None."""
        if self._store_is_gone:
            return f"the store {self.store} was removed or replaced while the launch ran"
        baseline = self.plan.baseline_of(trial)
        if baseline.trial_id in self.failed:
            return "its baseline failed"
        result = self.result(baseline)
        if not result.ended or self.release(trial) is not None:
            return None
        if result.diverged:
            return "its baseline diverged"
        budget = baseline.stop_rule.budget
        return f"its baseline was not evaluated at round {budget}; choose another budget or store"

    @property
    def _store_is_gone(self) -> bool:
        return self._hold is not None and not self._hold.lasts

    def started(self, trial: Trial) -> None:
        """A trial begins, or goes on after the rounds that are in the store."""
        self.progress.started(trial, self._last_round.get(trial.trial_id))

    def round_done(self, trial_id: str, record: Mapping[str, Any]) -> None:
        """A round is committed. (A trial that goes on tells its earlier rounds first.)"""
        last = self._last_round.get(trial_id)
        if last is None or record["round"] > last["round"]:
            self._last_round[trial_id] = record
            self.progress.round_done(trial_id, record)
        if self.writer:
            self.writer.update(trial_id)

    def ended(self, trial_id: str) -> None:
        trial = self.plan.by_id()[trial_id]
        self._show(trial)
        self._track(trial, "FINISHED")

    def fail(self, trial_id: str, reason: str) -> None:
        self.failed[trial_id] = reason
        self.progress.failed(trial_id, reason)
        if self.writer:
            self.writer.set_outcome(trial_id, "failed")

    def result(self, trial: Trial) -> Result:
        return read_result(self.store, trial, self.plan.baseline_of(trial))

    def _ended(self, trial: Trial) -> bool:
        return self.result(trial).ended and (
            trial.is_baseline
            or baseline_result(self.store, trial, self.plan.baseline_of(trial)) is not None
        )

    def _show(self, trial: Trial) -> None:
        self.progress.ended(self.result(trial))

    def _track(self, trial: Trial, status: str) -> None:
        if self.writer:
            self.writer.update(trial.trial_id, status)

    def _abandon(self) -> None:
        """Track that the trials that have not come to an end do not go on."""
        for trial in self.todo:
            with suppress(DamagedFolder):  # it would hide what ended the launch
                if trial.trial_id not in self.failed and not self._ended(trial):
                    self._track(trial, "KILLED")
        self._flush()

    def _complete(self) -> LaunchResult:
        waiting: dict[str, str] = {}
        for trial in self.todo:
            if _outcome(self.result(trial)):
                continue  # it has come to its end, whatever became of its baseline
            gone, reason = self._store_is_gone, None
            if gone and trial.trial_id in self.failed:
                continue
            if gone or not trial.is_baseline:
                reason = self.doomed(trial)
            if reason:
                waiting[trial.trial_id] = reason
            elif trial.trial_id not in self.failed and not self._ended(trial):
                self.fail(trial.trial_id, "it did not come to its end, and nothing said why")
        if self.writer:
            for trial_id in waiting:
                self.writer.set_outcome(trial_id, "waiting")
        not_tracked = self._flush()
        results = tuple(self.result(trial) for trial in self.plan.trials)
        return LaunchResult(results, dict(self.failed), waiting, not_tracked)

    def _flush(self) -> Mapping[str, str]:
        return self.writer.flush() if self.writer else {}

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold every trial that will be worked on; TrialInUse where another launch has one."""
        with launching(self.store, (trial.trial_id for trial in self.todo)) as self._hold:
            for trial in self.todo:  # a worker of a launch that was killed lets go in seconds
                TrialFolder(self.store, trial.trial_id).wait_until_free(HANDOVER_S / 2)
            yield
        self._hold = None


def _outcome(result: Result) -> str | None:
    return result.summary.outcome if result.summary else None
