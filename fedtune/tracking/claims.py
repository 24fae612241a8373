"""Who writes a trial's run: one store at a time, or rounds would be in MLflow twice.

A lock in the store keeps two launches from one trial (see ``folder.py``), but nothing keeps two
stores from tracking the same trial of the same sweep on one server. So a run that is at work says
in a tag who writes it, and another store leaves it alone as long as that one lives. MLflow cannot
compare and set in one step: whoever writes looks again before each write, and of two runs that were
made in the same moment one goes.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from fedtune.tracking import names
from fedtune.trial.folder import TrialFolder
from fedtune.trial.locks import TrialInUse, launched

#: Seconds between two signs of life in MLflow, and after how many a writer of another machine that
#: gave none is taken for dead. On this machine its lock tells.
RENEW_S, DEAD_S = 60.0, 300.0


@dataclass(frozen=True)
class Claim:
    """What the tag says: a process on a host, its store, when the trial was begun there, and when
    it last gave a sign of life (both Unix times in ms).
    """

    process: int
    host: str
    store: str
    begun_ms: int
    at_ms: int

    @classmethod
    def read(cls, run: Run) -> Claim | None:
        try:
            return cls(**json.loads(run.data.tags[names.WRITER]))
        except (KeyError, ValueError, TypeError):
            return None

    def text(self) -> str:
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, which tracks it from the store {self.store}"


class Claims:
    """Those of one store on the runs of its trials."""

    def __init__(self, client: MlflowClient, store: Path):
        self._client, self._store = client, str(store.resolve())
        self._begun: dict[str, int] = {}  # by the id of a run that is held
        self._renewed = time.monotonic()

    def tag(self, begun_ms: int) -> dict[str, str]:
        """What a run is tagged with when this store takes it."""
        now = round(1000 * time.time())
        claim = Claim(os.getpid(), socket.gethostname(), self._store, begun_ms, now)
        return {names.WRITER: claim.text()}

    def check(self, run: Run, trial_id: str, begun_ms: int) -> None:
        """Raise TrialInUse where another store is writing the run."""
        claim = Claim.read(run)
        if claim is None or run.info.status != "RUNNING" or self._is_own(claim, begun_ms):
            return
        if _lives(claim, trial_id):
            raise TrialInUse(trial_id, str(claim))

    def take(self, run_id: str, begun_ms: int) -> None:
        self._client.set_tag(run_id, names.WRITER, self.tag(begun_ms)[names.WRITER])
        self._begun[run_id] = begun_ms

    def drop(self, run_id: str) -> None:
        """The run is written no more."""
        self._begun.pop(run_id, None)

    def holds(self, run: Run) -> bool:
        """Is the run still this store's?"""
        claim, begun_ms = Claim.read(run), self._begun.get(run.info.run_id)
        return claim is not None and begun_ms is not None and self._is_own(claim, begun_ms)

    def renew(self) -> None:
        """Give a sign of life where that is due."""
        if time.monotonic() - self._renewed < RENEW_S:
            return
        self._renewed = time.monotonic()
        for run_id, begun_ms in list(self._begun.items()):
            if self.holds(self._client.get_run(run_id)):
                self.take(run_id, begun_ms)

    def _is_own(self, claim: Claim, begun_ms: int) -> bool:
        """Is it of this store, within which a lock keeps others out? A folder that machines share
        is one store; two folders that are called the same began the trial at two times.
        """
        here = claim.host == socket.gethostname()
        return claim.store == self._store and (here or claim.begun_ms == begun_ms)


def _lives(claim: Claim, trial_id: str) -> bool:
    store = Path(claim.store)
    if claim.host == socket.gethostname() and store.exists():
        return TrialFolder(store, trial_id).in_use or trial_id in launched(store)
    return time.time() - claim.at_ms / 1000 < DEAD_S


def one_of(runs: Sequence[Run]) -> Run:
    """Of several runs of one trial the one that stays, whoever asks."""
    return min(runs, key=lambda run: str(run.info.run_id))
