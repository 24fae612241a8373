"""A trial's folder: what it was asked, its round log and its checkpoint.

The round log on disk is the truth. A round is committed in this order: write ``checkpoint.new``
(its ``state.json``, written last, holds the records of the rounds since the checkpoint before),
sync it, move ``checkpoint`` to ``checkpoint.previous`` and ``checkpoint.new`` to ``checkpoint``,
append the records to ``rounds.jsonl`` and sync. Wherever that is cut off,
:meth:`TrialFolder.recover` finds either a whole round or none, and finishes what is pending.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fedtune.provenance import git_commit, hardware, libraries
from fedtune.redaction import redacted
from fedtune.trial.begun import ORIGIN, read_begun
from fedtune.trial.durable import remove, sync, write_atomically
from fedtune.trial.held_folder import HeldFolder
from fedtune.trial.identity import ENGINE, Trial
from fedtune.trial.round_log import (
    ANEW,
    DIGEST,
    DamagedFolder,
    check_log,
    check_machine,
    is_count,
    is_number,
    parse_records,
)
from fedtune.trial.stopping import Record


class TrialFolder(HeldFolder):
    """The folder of a trial, with the promises above."""

    def __init__(self, store: Path, trial_id: str):
        super().__init__(store, trial_id)
        self.rounds_path = self.path / "rounds.jsonl"
        self.checkpoint = self.path / "checkpoint"
        self.samples = self.path / "system.jsonl"
        self.vectors = self.path / "client-vectors.bin"
        self.partition = self.path / "partition.json"
        self.failure = self.path / "error.log"

    @property
    def exists(self) -> bool:
        return (self.path / "config.yaml").is_file()

    @property
    def has_rounds(self) -> bool:
        """Is a round committed, or its commit begun?"""
        return self.rounds_path.is_file() or any(self.path.glob("checkpoint*"))

    # What was asked

    def begin(self, trial: Trial, facts: Mapping[str, Any], partition: Mapping[str, Any]) -> None:
        """Write what the trial is begun with, before its first round."""
        self.write_config(trial, {DIGEST: True, **facts})
        self.write_json(self.partition.name, partition)

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
        identity |= {key: begun[key] for key in (*ORIGIN, DIGEST) if key in begun}
        if computes:
            now = {"hardware": hardware(str(trial.config.device)), "libraries": libraries()}
            for key, name in now.items():
                told = begun[key].split("; ") if key in begun else []
                identity[key] = "; ".join(dict.fromkeys([*told, name]))
        values = trial.to_dict() | identity | dict(facts)
        self._make()
        write_atomically(self.path / "config.yaml", yaml.safe_dump(values, sort_keys=False))

    def read_config(self) -> dict[str, Any]:
        """The values of ``config.yaml``; empty where the trial was never begun."""
        path = self.path / "config.yaml"
        content = self._read(path)
        return {} if content is None else read_begun(content, path, self.trial_id)

    def partition_file(self, num_clients: int) -> Path | None:
        """The file that says what each client has; None where there is none, DamagedFolder where it
        does not say so of each.
        """
        way_out = "remove it, no round depends on it"
        told = self.read_json(self.partition.name, way_out)
        if told is None:
            return None
        clients = told.get("clients")
        if not isinstance(clients, list) or not all(map(_has_examples, clients)):
            clients = []
        if len(clients) != num_clients:
            has = f"does not have the examples of {num_clients} clients"
            raise DamagedFolder(f"{self.partition} {has}; {way_out}")
        return self.partition

    def read_divergence(self) -> tuple[int, int | None] | None:
        """The round in which the trial diverged, and the client (None: the server's model)."""
        place = self.read_json("diverged.json")
        if place is None:
            return None
        round_num, client_id = place.get("round"), place.get("client_id")
        if not is_count(round_num) or not (client_id is None or is_count(client_id)):
            raise DamagedFolder(f"{self.path}/diverged.json names no round and client; {ANEW}")
        return round_num, client_id

    def predictions_path(self, round_num: int) -> Path:
        """Where the test predictions after a round are kept (the budget's, of every trial)."""
        return self.path / f"round-{round_num}" / "predictions.npy"

    def write_predictions(self, round_num: int, predictions: np.ndarray) -> None:
        """Keep labels and predicted classes, (2, num_test), after a round.

        Before the round is committed: should that be cut off, the same bytes are written again.
        """
        path = self.predictions_path(round_num)
        self._make()
        self.check_to_write(path)
        path.parent.mkdir(exist_ok=True)
        np.save(path, predictions, allow_pickle=False)
        for written in (path, path.parent, self.path):
            sync(written)

    def write_peak_memory(self, megabytes: float) -> float:
        """Keep the most memory that the trial took, in MB, and give what was kept."""
        self.write_json("memory.json", {"peak_mb": round(megabytes, 1)})
        return round(megabytes, 1)

    def read_peak_memory(self) -> float | None:
        """The most memory that the trial took so far, in MB; None where that was not kept."""
        way_out = "remove it, nothing depends on it"
        kept = self.read_json("memory.json", way_out)
        if kept is None:
            return None
        peak = kept.get("peak_mb")
        if not is_number(peak) or peak <= 0:
            raise DamagedFolder(f"{self.path}/memory.json has no peak_mb above 0; {way_out}")
        return float(peak)

    def note_failure(self, text: str) -> Path | None:
        """Keep why the trial failed (a traceback, say) until it is run again.

        Where it is kept; None where that fails too, as on a disk that is full, or in a store that
        was removed.
        """
        try:
            self.check_to_write(self.path)
            self.path.mkdir(exist_ok=True)
            write_atomically(self.failure, redacted(text))
        except (OSError, DamagedFolder):
            return None
        return self.failure

    def forget_failure(self) -> None:
        """The trial is run again, so why it failed before is no longer kept."""
        remove(self.failure)

    @contextmanager
    def lock(self, wait_s: float = 0.0) -> Iterator[None]:
        self.check_to_write(self.samples)
        self._check_to_open(self.vectors)
        with super().lock(wait_s):
            yield

    # Rounds

    def records(self) -> list[dict[str, Any]]:
        """The committed rounds, in order. Reads only; a line that was cut off is left out.

        Raises DamagedFolder where a whole line is no record, or none of this trial.
        """
        lines = (self._read(self.rounds_path) or b"").split(b"\n")[:-1]  # the rest is torn
        records = parse_records(lines, self.rounds_path)
        check_log(records, self.read_config() if records else {}, self.rounds_path)
        return records

    def commit(self, records: Sequence[Record], save_model: Callable[[Path], None]) -> None:
        """Make ``records`` (the rounds since the last commit) and the model after them durable."""
        new, previous = self.path / "checkpoint.new", self.path / "checkpoint.previous"
        self._make()
        for path in (new, previous, self.checkpoint, self.rounds_path):
            self.check_to_write(path)
        remove(new)
        new.mkdir()
        save_model(new)
        for path in new.iterdir():
            sync(path)
        write_atomically(new / "state.json", _lines(records))  # whole, where it is there at all
        sync(new)
        remove(previous)
        if self.checkpoint.exists():
            self.checkpoint.rename(previous)
        new.rename(self.checkpoint)
        sync(self.path)
        self._append(records)

    def recover(self) -> list[dict[str, Any]]:
        """Finish whatever a commit left pending, and return the committed rounds.

        Raises DamagedFolder where log and checkpoint cannot belong together.
        """
        new, previous = self.path / "checkpoint.new", self.path / "checkpoint.previous"
        for path in (new, previous, self.checkpoint, self.rounds_path):
            self.check_to_write(path)
        if not self.checkpoint.exists():
            # The cut was between the two renames; state.json is written last, so new is whole.
            source = new if (new / "state.json").is_file() else previous
            if source.exists():
                source.rename(self.checkpoint)
        remove(new)
        self._drop_torn_line()
        records = self.records()
        if self.checkpoint.exists():
            pending = self._pending(records)
            check_log([*records, *pending], self.read_config(), self.checkpoint / "state.json")
            self._append(pending)
            records += pending
        if [record["round"] for record in records] != list(range(len(records))):
            raise DamagedFolder(f"{self.rounds_path}: rounds are not 0, 1, 2, … in order; {ANEW}")
        return records

    def _pending(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """What the checkpoint's state has beyond the log; DamagedFolder where they disagree."""
        path, logged = self.checkpoint / "state.json", len(records)
        state = parse_records((self._read(path) or b"").splitlines(), path)
        if not state:
            raise DamagedFolder(f"{path} is empty or missing; {ANEW}")
        pending = [record for record in state if record["round"] >= logged]
        if logged + len(pending) != state[-1]["round"] + 1:
            end = f"the log ends at round {logged - 1}" if logged else "the log is empty"
            raise DamagedFolder(
                f"{self.path}: {end}, the checkpoint is of round {state[-1]['round']}; {ANEW}"
            )
        for record in state[: len(state) - len(pending)]:
            if record != records[record["round"]]:
                raise DamagedFolder(
                    f"{self.path}: log and checkpoint contradict each other in round "
                    f"{record['round']}; {ANEW}"
                )
        return pending

    def check_machine(self) -> None:
        """Raise DamagedFolder where the rounds were not computed on what ``config.yaml`` says."""
        check_machine(self.records(), self.read_config(), self.rounds_path)

    def check_checkpoint(self) -> None:
        """Raise DamagedFolder where a file of the checkpoint is a link out of the store."""
        for path in (self.checkpoint, *self.checkpoint.rglob("*")):
            self.check_to_read(path)

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


def _has_examples(client: object) -> bool:
    labels = client.get("labels") if isinstance(client, dict) else None
    return isinstance(labels, list) and all(map(is_count, labels))


def _lines(records: Sequence[Record]) -> str:
    return "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
