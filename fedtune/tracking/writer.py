"""The one writer to MLflow of a launch, on a thread of its own.

A tracking server that hangs would otherwise hold up every trial of the launch. Nothing is queued
but the names of trials whose logs have grown: the logs are on disk, so a write that failed is
simply done again later, here or by ``fedtune sync``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from fedtune.tracking.projection import Projection
from fedtune.trial.prepare import Trial
from fedtune.trial.results import read_result
from fedtune.trial.stopping import Outcome

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
        self._condition = threading.Condition()
        self._closing = False
        self.projection: Projection | None = None
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def update(self, trial_id: str, status: str = "RUNNING") -> None:
        """The log of this trial has grown, or (any other MLflow ``status``) has ended."""
        with self._condition:
            if self._due.get(trial_id, "RUNNING") == "RUNNING":
                self._due[trial_id] = status
            self._condition.notify()

    def set_outcome(self, trial_id: str, outcome: Outcome) -> None:
        """This trial was not brought to its end."""
        with self._condition:
            self._outcomes[trial_id] = outcome
            self._due[trial_id] = "FAILED"
            self._condition.notify()

    def flush(self, timeout_s: float = 60.0) -> dict[str, str]:
        """Write what is due and stop; the trials (by id) that are not in MLflow, and the reason."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(timeout_s)
        reason = self.problem or f"MLflow did not answer within {timeout_s:.0f} s"
        with self._condition:
            return dict.fromkeys(self._due, reason)

    def _work(self) -> None:
        while True:
            with self._condition:
                if not self._due and not self._closing:
                    self._condition.wait()
                due, closing = dict(self._due), self._closing
            for trial_id, status in due.items():
                self._attempt(trial_id, status)
            if closing:
                return
            with self._condition:
                if self.problem and not self._closing:
                    self._condition.wait(_RETRY_S)

    def _attempt(self, trial_id: str, status: str) -> None:
        try:
            if self.projection is None:
                projection = self._connect()
                projection.open_sweep()
                self.projection = projection
            result = read_result(self._store, self.trials[trial_id])
            if result.records:
                self.projection.project(result, status)
            if trial_id in self._outcomes:
                self.projection.set_outcome(result.trial, self._outcomes[trial_id])
        except Exception as error:  # whatever a database, a network or a server can raise
            self.problem = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:300]
            return
        with self._condition:
            self.problem = None
            if self._due.get(trial_id) == status:
                del self._due[trial_id]
