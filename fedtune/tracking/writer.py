"""The one writer to MLflow of a launch, on a thread of its own.

A tracking server that hangs would otherwise hold up every trial of the launch. Nothing is queued
but the names of trials whose logs have grown: the logs are on disk, so a write that failed is
simply done again later, here or by ``fedtune sync``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fedtune.errors import first_line
from fedtune.trial.identity import Trial
from fedtune.trial.results import read_result
from fedtune.trial.stopping import Outcome

if TYPE_CHECKING:
    from fedtune.tracking.projection import Projection

#: Seconds before a trial whose projection failed is tried again.
_RETRY_S = 5.0


class Writer:
    """Projects trials in the background; ``trials`` are those of the sweep, by ``trial_id``.

    ``connect`` makes the projection; it is called on the writer's thread, since importing MLflow
    and opening its database take seconds.
    """

    def __init__(self, connect: Callable[[], Projection], store: Path, trials: Mapping[str, Trial]):
        self._connect, self._store, self.trials = connect, store, dict(trials)
        self._due: dict[str, str] = {}  # trial_id -> MLflow status
        self._outcomes: dict[str, Outcome] = {}
        self._problems: dict[str, str] = {}
        self._busy: str | None = None
        self._written = 0
        self._condition = threading.Condition()
        self._closing = False
        self.projection: Projection | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def update(self, trial_id: str, status: str = "RUNNING") -> None:
        """The log of this trial has grown, or (any other MLflow ``status``) has ended."""
        with self._condition:
            self._add(trial_id, status)
            self._condition.notify()

    def set_outcome(self, trial_id: str, outcome: Outcome) -> None:
        """This trial was not brought to its end."""
        with self._condition:
            self._outcomes[trial_id] = outcome
            self._add(trial_id, "FAILED")
            self._condition.notify()

    def flush(self, patience_s: float = 60.0) -> dict[str, str]:
        """Write what is due and stop; the trials (by id) that are not in MLflow, and the reason.

        Gives up when no trial could be written for ``patience_s`` seconds.
        """
        with self._condition:
            self._closing = True
            self._condition.notify()
        written = -1
        while self._thread.is_alive() and written != self._written:
            written = self._written
            self._thread.join(patience_s)
        silence = f"MLflow did not answer within {patience_s:.0f} s"
        with self._condition:
            left = [*self._due, *([self._busy] if self._busy else [])]
            return {trial_id: self._problems.get(trial_id, silence) for trial_id in left}

    def _add(self, trial_id: str, status: str) -> None:
        if self._due.get(trial_id, "RUNNING") == "RUNNING":
            self._due[trial_id] = status

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._due or self._closing)
                due, closing = list(self._due), self._closing
            for trial_id in due:
                self._attempt(trial_id)
            if closing:
                return
            with self._condition:
                if self._problems:
                    self._condition.wait_for(lambda: self._closing, _RETRY_S)

    def _attempt(self, trial_id: str) -> None:
        with self._condition:  # taken off first: what comes while it is written is due again
            status, self._busy = self._due.pop(trial_id), trial_id
        problem = self._write(trial_id, status)
        with self._condition:
            self._busy = None
            self._problems.pop(trial_id, None)
            if problem is None:
                self._written += 1
            else:
                self._problems[trial_id] = problem
                self._add(trial_id, status)

    def _write(self, trial_id: str, status: str) -> str | None:
        """Project the trial; what went wrong, if something did."""
        try:
            if self.projection is None:
                projection = self._connect()
                projection.open_sweep()
                self.projection = projection
            result = read_result(self._store, self.trials[trial_id])
            if result.records:
                self.projection.project(result, status)
            if trial_id in self._outcomes:
                self.projection.set_outcome(result, self._outcomes[trial_id])
        except Exception as error:  # whatever a database, a network or a server can raise
            return f"{type(error).__name__}: {first_line(error)}"[:300]
        return None
