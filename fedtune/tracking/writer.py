"""The one writer to MLflow of a launch, on a thread of its own.

A tracking server that hangs would otherwise hold up every trial of the launch. Nothing is queued
but the names of trials whose logs have grown: the logs are on disk, so a write that failed is
simply done again later, here or by ``fedtune sync``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fedtune.errors import Refusal, first_line
from fedtune.trial.identity import Trial
from fedtune.trial.results import read_result
from fedtune.trial.stopping import Outcome

if TYPE_CHECKING:
    from fedtune.tracking.projection import Projection

#: Seconds before a trial whose projection failed is tried again, and between signs of life.
_RETRY_S, _SIGN_S = 5.0, 30.0

#: Seconds that a launch waits for MLflow before its first round; and, after its last one, without
#: anything having happened.
READY_S, PATIENCE_S = 10.0, 20.0


class Writer:
    """Projects trials in the background; ``trials`` are those of the sweep, by ``trial_id``.

    ``connect`` makes the projection and calls what it is given whenever MLflow has done something;
    ``describe`` tells the projection of the sweep before that is opened. Both are called on the
    writer's thread, since importing MLflow and opening its database take seconds.
    """

    def __init__(
        self,
        connect: Callable[[Callable[[], None]], Projection],
        store: Path,
        trials: Mapping[str, Trial],
        describe: Callable[[Projection], None] = lambda projection: None,
    ):
        self._connect, self._describe = connect, describe
        self._store, self.trials = store, dict(trials)
        self._due: dict[str, str] = {}  # trial_id -> MLflow status
        self._outcomes: dict[str, Outcome] = {}
        self._problems: dict[str, str] = {}
        self._busy: str | None = None
        self._steps = 0
        self._condition = threading.Condition()
        self._closing = False
        self._connection: Projection | None = None
        self._refusal: Refusal | None = None
        self._unreachable = ""
        self.projection: Projection | None = None
        #: Was it given up, since nothing happened any more?
        self.given_up = False
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)

    def begin(self) -> None:
        """Connect to MLflow, beside whatever else happens now."""
        if self._thread.ident is None:
            self._thread.start()

    def ready(self) -> str | None:
        """Wait until MLflow has answered, so that the launch can begin; why it did not, if that may
        pass. (A database that is being made is no reason to wait.)

        Raises BadInput for what will not pass, and TrialInUse.
        """
        self.begin()
        seen = self._progress()
        while not self._has_answered():
            if self._steps:  # a database is being made
                return None
            if seen == self._progress():
                return f"no answer within {READY_S:g} s"
            seen = self._progress()
        if self._refusal:
            raise self._refusal
        return self._unreachable or None

    def update(self, trial_id: str, status: str = "RUNNING") -> None:
        """The log of this trial has grown, or (any other MLflow ``status``) has ended."""
        with self._condition:
            self._add(trial_id, status)
            self._condition.notify_all()

    def set_outcome(self, trial_id: str, outcome: Outcome) -> None:
        """This trial was not brought to its end."""
        with self._condition:
            self._outcomes[trial_id] = outcome
            self._add(trial_id, "FAILED")
            self._condition.notify_all()

    def flush(self, patience_s: float | None = None) -> dict[str, str]:
        """Write what is due and stop; the trials (by id) that are not in MLflow, and the reason.

        Gives up when nothing has happened for ``patience_s`` seconds  [default: PATIENCE_S].
        """
        patience_s = PATIENCE_S if patience_s is None else patience_s
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        if self._due or self._thread.ident is not None:
            self.begin()
            self._wait_for(self._thread, patience_s)
        silence = f"MLflow did not answer within {patience_s:g} s"
        with self._condition:
            left = [*self._due, *([self._busy] if self._busy else [])]
            return {trial_id: self._problems.get(trial_id, silence) for trial_id in left}

    def conclude(
        self, job: Callable[[Projection], None], patience_s: float | None = None
    ) -> str | None:
        """Do a last thing with what was written, after :meth:`flush`; what went wrong, if something
        did. Gives up like that.
        """
        patience_s = PATIENCE_S if patience_s is None else patience_s
        projection, problems = self.projection, []
        if projection is None or self.given_up:
            return f"MLflow did not answer within {patience_s:g} s"

        def work() -> None:
            try:
                job(projection)
            except Exception as error:  # whatever a database, a network or a store raises
                problems.append(first_line(error))

        thread = threading.Thread(target=work, name="mlflow-end", daemon=True)
        thread.start()
        if not self._wait_for(thread, patience_s):
            return f"MLflow did not answer within {patience_s:g} s"
        return problems[0] if problems else None

    def _has_answered(self) -> bool:
        def answered() -> bool:
            return bool(self._connection or self._refusal or self._unreachable)

        with self._condition:
            return self._condition.wait_for(answered, READY_S)

    def _wait_for(self, thread: threading.Thread, patience_s: float) -> bool:
        """Wait for a thread's end; False where it was given up, since nothing happened any more."""
        seen = None
        while thread.is_alive() and seen != self._progress():
            seen = self._progress()
            thread.join(patience_s)
        self.given_up = thread.is_alive()
        return not self.given_up

    def _progress(self) -> tuple[int, int]:
        """Changes while something happens; on a busy machine MLflow's import alone takes long."""
        return self._steps, len(sys.modules)

    def _step(self) -> None:
        self._steps += 1

    def _add(self, trial_id: str, status: str) -> None:
        if self._due.get(trial_id, "RUNNING") == "RUNNING":
            self._due[trial_id] = status

    def _work(self) -> None:
        self._try_to_connect()
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._due or self._closing, _SIGN_S)
                due, closing = list(self._due), self._closing
            for trial_id in due:
                if not self.given_up:
                    self._attempt(trial_id)
            if closing:
                return
            self._keep_alive()
            with self._condition:
                if self._problems:
                    self._condition.wait_for(lambda: self._closing, _RETRY_S)

    def _try_to_connect(self) -> None:
        refusal, unreachable = None, ""
        try:
            self._connection = self._connect(self._step)
        except Refusal as error:
            refusal = error
        except Exception as error:  # whatever a database, a network or a server can raise
            unreachable = first_line(error)
        with self._condition:
            self._refusal, self._unreachable = refusal, unreachable
            self._condition.notify_all()

    def _attempt(self, trial_id: str) -> None:
        with self._condition:  # taken off first: what comes while it is written is due again
            status, self._busy = self._due.pop(trial_id), trial_id
        problem = self._write(trial_id, status)
        with self._condition:
            self._busy = None
            self._problems.pop(trial_id, None)
            if problem is None:
                self._steps += 1
            else:
                self._problems[trial_id] = problem
                self._add(trial_id, status)

    def _write(self, trial_id: str, status: str) -> str | None:
        """Project the trial; what went wrong, if something did."""
        try:
            if self._connection is None:
                self._connection = self._connect(self._step)
            if self.projection is None:
                self._describe(self._connection)
                self._connection.open_sweep()
                self.projection = self._connection
            trial = self.trials[trial_id]
            # As this sweep asks for it: of another length in the store, perhaps, for another sweep.
            baseline = self.trials.get(trial.baseline_id)
            result = read_result(self._store, trial, baseline)
            if result.records:
                self.projection.project(result, status)
            if trial_id in self._outcomes:
                self.projection.set_outcome(result, self._outcomes[trial_id])
        except Refusal as error:
            return first_line(error)
        except Exception as error:  # whatever a database, a network or a server can raise
            return f"{type(error).__name__}: {first_line(error)}"[:300]
        return None

    def _keep_alive(self) -> None:
        try:
            if self.projection is not None:
                self.projection.keep_alive()
        except Exception:  # the next write tells of it
            return
