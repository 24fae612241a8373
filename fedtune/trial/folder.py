"""A trial's folder: what it was asked, its round log, its checkpoint, and who is at work in it.

The round log on disk is the truth. A round is committed in this order: write ``checkpoint.new``
(its ``state.json``, written last, holds the records of the rounds since the checkpoint before),
sync it, move ``checkpoint`` to ``checkpoint.previous`` and ``checkpoint.new`` to ``checkpoint``,
append the records to ``rounds.jsonl`` and sync. Wherever that is cut off,
:meth:`TrialFolder.recover` finds either a whole round or none, and finishes what is pending.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml
from filelock import lock_descriptor

from fedtune.errors import Refusal
from fedtune.provenance import git_commit, hardware, libraries
from fedtune.trial.identity import ENGINE, Trial
from fedtune.trial.stopping import Record
from fedtune.yaml_text import load_yaml


class TrialInUse(Refusal):
    """Another process holds the trial; the message names it."""

    def __init__(self, trial_id: str, owner: str):
        self.trial_id, self.owner = trial_id, owner
        super().__init__(f"trial {trial_id} is in use by {owner}")

    def __reduce__(self) -> tuple[type[TrialInUse], tuple[str, str]]:
        return type(self), (self.trial_id, self.owner)


class DamagedFolder(Refusal):
    """A trial's folder contradicts itself, so nothing can be continued from it safely."""


#: What ``config.yaml`` tells of a trial's beginning, beside its settings and its identity.
ORIGIN = ("begun_ms", "git_commit", "hardware", "libraries")

#: Held by whoever simulates the trial, and by the launch that planned it.
LOCKS = ("lock", "launch.lock")

#: The locks that this process holds. To wait for one of them would be to wait for oneself.
_held_here: set[Path] = set()

_HELD_HERE = (
    "an earlier simulate() of this process that was not read to its end; read it on, close() it, "
    "or let go of it"
)

_ANEW = "move the trial's folder away to start it anew"


class TrialFolder:
    """The folder ``<store>/<trial_id>``, with the promises above. Making one writes nothing."""

    def __init__(self, store: Path, trial_id: str):
        self.path = Path(store) / trial_id
        self.trial_id = trial_id
        self.rounds_path = self.path / "rounds.jsonl"
        self.checkpoint = self.path / "checkpoint"
        self.samples = self.path / "system.jsonl"
        self.failure = self.path / "error.log"

    @property
    def exists(self) -> bool:
        return (self.path / "config.yaml").is_file()

    @property
    def has_rounds(self) -> bool:
        """Is a round committed, or its commit begun?"""
        return self.rounds_path.is_file() or any(self.path.glob("checkpoint*"))

    # What was asked

    def write_config(
        self, trial: Trial, facts: Mapping[str, Any], *, computes: bool = True
    ) -> None:
        """Write ``config.yaml``: the resolved configuration, identity and facts, as flat keys.

        ``begun_ms`` (Unix time) and ``git_commit`` stay those of the first round; where the trial
        goes on (``computes``) with other hardware or libraries, both are named.
        """
        identity = {
            "trial_id": trial.trial_id,
            "baseline_trial_id": trial.baseline_id,
            "engine": ENGINE,
            "begun_ms": round(1000 * time.time()),
            "git_commit": git_commit(),
        }
        begun = self.read_config() if self.has_rounds else {}
        identity |= {key: begun[key] for key in ORIGIN if key in begun}
        if computes:
            now = {"hardware": hardware(str(trial.config.device)), "libraries": libraries()}
            for key, name in now.items():
                told = begun[key].split("; ") if key in begun else []
                identity[key] = "; ".join(dict.fromkeys([*told, name]))
        values = trial.to_dict() | identity | dict(facts)
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "config.yaml", yaml.safe_dump(values, sort_keys=False))

    def read_config(self) -> dict[str, Any]:
        """The values of ``config.yaml``; empty where the trial was never begun."""
        if not self.exists:
            return {}
        values = load_yaml((self.path / "config.yaml").read_text())
        if not isinstance(values, dict):
            raise DamagedFolder(f"{self.path}/config.yaml holds no settings")
        return values

    def write_json(self, name: str, value: object) -> None:
        """Write a small JSON file beside the log, atomically."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / name, json.dumps(value, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        """The content of a small JSON file, or None where there is none."""
        path = self.path / name
        return json.loads(path.read_text()) if path.is_file() else None

    def predictions_path(self, round_num: int) -> Path:
        """Where the test predictions after a round are kept (the budget's, of every trial)."""
        return self.path / f"round-{round_num}" / "predictions.npy"

    def write_predictions(self, round_num: int, predictions: np.ndarray) -> None:
        """Keep labels and predicted classes, (2, num_test), after a round.

        Before the round is committed: should that be cut off, the same bytes are written again.
        """
        path = self.predictions_path(round_num)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, predictions, allow_pickle=False)
        for written in (path, path.parent, self.path):
            _sync(written)

    def write_peak_memory(self, megabytes: float) -> float:
        """Keep the most memory that the trial took, in MB, and give what was kept."""
        self.write_json("memory.json", {"peak_mb": round(megabytes, 1)})
        return round(megabytes, 1)

    def read_peak_memory(self) -> float | None:
        """The most memory that the trial took so far, in MB; None where that was not kept."""
        kept = self.read_json("memory.json")
        return float(kept["peak_mb"]) if kept else None

    def note_failure(self, text: str) -> Path | None:
        """Keep why the trial failed (a traceback, say) until it is run again.

        Where it is kept; None where that fails too, as on a disk that is full.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.failure, text)
        except OSError:
            return None
        return self.failure

    # Rounds

    def records(self) -> list[dict[str, Any]]:
        """The committed rounds, in order. Reads only; a line that was cut off is left out.

        Raises DamagedFolder where a whole line is no record.
        """
        if not self.rounds_path.is_file():
            return []
        lines = self.rounds_path.read_bytes().split(b"\n")[:-1]  # what follows the last \n is torn
        return self._parse(lines, self.rounds_path)

    def commit(self, records: Sequence[Record], save_model: Callable[[Path], None]) -> None:
        """Make ``records`` (the rounds since the last commit) and the model after them durable."""
        new, previous = self.path / "checkpoint.new", self.path / "checkpoint.previous"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        save_model(new)
        for path in new.iterdir():
            _sync(path)
        write_atomically(new / "state.json", _lines(records))  # whole, where it is there at all
        _sync(new)
        shutil.rmtree(previous, ignore_errors=True)
        if self.checkpoint.exists():
            self.checkpoint.rename(previous)
        new.rename(self.checkpoint)
        _sync(self.path)
        self._append(records)

    def recover(self) -> list[dict[str, Any]]:
        """Finish whatever a commit left pending, and return the committed rounds.

        Raises DamagedFolder where log and checkpoint cannot belong together.
        """
        new, previous = self.path / "checkpoint.new", self.path / "checkpoint.previous"
        if not self.checkpoint.exists():
            # The cut was between the two renames; state.json is written last, so new is whole.
            source = new if (new / "state.json").is_file() else previous
            if source.exists():
                source.rename(self.checkpoint)
        shutil.rmtree(new, ignore_errors=True)
        self._drop_torn_line()
        records = self.records()
        if self.checkpoint.exists():
            logged = len(records)
            path = self.checkpoint / "state.json"
            state = self._parse(path.read_bytes().splitlines() if path.is_file() else [], path)
            if not state:
                raise DamagedFolder(f"{path} is empty or missing; {_ANEW}")
            pending = [record for record in state if record["round"] >= logged]
            if logged + len(pending) != state[-1]["round"] + 1:
                raise DamagedFolder(
                    f"{self.path}: the log ends at round {logged - 1}, the checkpoint at "
                    f"round {state[-1]['round']}; {_ANEW}"
                )
            self._append(pending)
            records += pending
        if [record["round"] for record in records] != list(range(len(records))):
            raise DamagedFolder(f"{self.rounds_path}: rounds are not 0, 1, 2, … in order; {_ANEW}")
        return records

    def _parse(self, lines: Sequence[bytes], path: Path) -> list[dict[str, Any]]:
        try:
            records = [json.loads(line) for line in lines]
            if all(isinstance(record["round"], int) for record in records):
                return records
        except (ValueError, TypeError, KeyError):
            pass
        raise DamagedFolder(f"{path} holds something that is no record of a round; {_ANEW}")

    def _append(self, records: Sequence[Record]) -> None:
        if records:
            with self.rounds_path.open("a") as file:
                file.write(_lines(records))
                file.flush()
                os.fsync(file.fileno())

    def _drop_torn_line(self) -> None:
        if not self.rounds_path.is_file():
            return
        whole = self.rounds_path.read_bytes().rpartition(b"\n")
        if whole[2]:
            os.truncate(self.rounds_path, len(whole[0]) + len(whole[1]))

    # Who is at work

    @contextmanager
    def lock(self, name: str = "lock", wait_s: float = 0.0) -> Iterator[None]:
        """Hold the trial; TrialInUse where another process still has it after ``wait_s`` seconds,
        or, at once, where this process has it already.

        The lock is the operating system's, so it is gone with the process that held it, however
        that ended. ``name`` tells two kinds of owner apart (LOCKS).
        """
        self.path.mkdir(parents=True, exist_ok=True)
        path = (self.path / name).resolve()
        with path.open("a+") as file:
            _acquire(file, path, self.trial_id, time.monotonic() + wait_s)
            file.truncate(0)
            # After one byte, since on Windows the byte that is locked cannot be read.
            file.write(f" process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            _held_here.add(path)
            try:
                yield
            finally:
                _held_here.discard(path)

    @property
    def in_use(self) -> bool:
        """Is a launch or a simulation at work here? Writes nothing: the store may be another's."""
        return any(_is_held(self.path / name) for name in LOCKS)


def _is_held(path: Path) -> bool:
    try:
        # Over NFS only what may be written can be locked.
        with path.open("r+" if os.access(path, os.W_OK) else "r") as file:
            return not lock_descriptor(file.fileno(), blocking=False)
    except FileNotFoundError:
        return False


def _acquire(file: IO[str], path: Path, trial_id: str, deadline: float) -> None:
    while not lock_descriptor(file.fileno(), blocking=False):
        if path in _held_here:
            raise TrialInUse(trial_id, _HELD_HERE)
        if time.monotonic() >= deadline:
            file.seek(1)
            raise TrialInUse(trial_id, file.read() or "another process")
        time.sleep(0.1)


def write_atomically(path: Path, text: str) -> None:
    """Replace the file at ``path``: a reader sees the old text or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    _sync(temporary)
    temporary.replace(path)


def _lines(records: Sequence[Record]) -> str:
    return "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders; it keeps renames in a journal of its own
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
