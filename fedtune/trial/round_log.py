"""The lines of a trial's round log: what a record is, and the digest that binds it to its trial.

Every record carries ``log_digest``, ``0123456789ab-cpu-1-`` and 16 hex digits: name of the trial,
device and threads that the round was computed on, and what stands for precision, data facts and
every round up to this one, times aside. So a line that was changed, a log of another trial, and
settings that were changed after the first round contradict the log. It guards against accidents;
who forges all of it is not noticed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from fedtune.errors import Refusal
from fedtune.trial.identity import Trial
from fedtune.trial.stopping import Record

#: The key of the digest in a record, and in ``config.yaml`` that every record has to have one.
DIGEST = "log_digest"

#: What a user can do about a folder that contradicts itself.
ANEW = "move the trial's folder away to start it anew"

#: What may differ between two runs of a trial.
_FREE = ("time/", "throughput/")

_BEGUN_WITH = ("trial_id", "precision")


class DamagedFolder(Refusal):
    """A trial's folder contradicts itself, so nothing can be continued from it safely."""


def begun_with(trial: Trial, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial is begun with, as :class:`LogDigest` takes it and ``config.yaml`` keeps it."""
    return trial.to_dict() | {"trial_id": trial.trial_id} | dict(facts)


class LogDigest:
    """The running digest of a trial's log; ``begun`` has the values of its ``config.yaml``."""

    def __init__(self, begun: Mapping[str, Any]):
        self._name = f"{begun['trial_id']}-{_machine(begun)}"
        # Facts (the keys with a slash) are of the data that the rounds were computed on.
        bound = {k: v for k, v in begun.items() if k in _BEGUN_WITH or "/" in k}
        self._state = _hashed(bound)

    def add(self, record: Record) -> str:
        """The digest up to and with this record, the next of the log."""
        told = {k: v for k, v in record.items() if k != DIGEST and not k.startswith(_FREE)}
        self._state = _hashed([self._state, told])
        return f"{self._name}-{self._state[:16]}"

    def sealed(self, record: Record) -> dict[str, Any]:
        """The record with its digest."""
        return {**record, DIGEST: self.add(record)}


def _machine(begun: Mapping[str, Any]) -> str:
    return f"{begun['device']}-{begun['threads']}"


def _parts(digest: str) -> tuple[str, str, str]:
    """Trial, machine and digits of a digest."""
    trial_id, _, rest = digest.partition("-")
    machine, _, digits = rest.rpartition("-")
    return trial_id, machine, digits


def _hashed(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def check_log(records: Sequence[Record], begun: Mapping[str, Any], path: Path) -> None:
    """Raise DamagedFolder where the log at ``path`` is not that of the trial in ``begun``.

    Logs from before fedtune wrote digests have none. They are taken as they are; the first round
    that is added to one binds all before it.
    """
    if not records:
        return
    if not begun:
        raise DamagedFolder(
            f"{path.parent} has rounds and no config.yaml, so what they are of is not known; {ANEW}"
        )
    digest, due = LogDigest(begun), begun.get(DIGEST) is True
    for record in records:
        expected, told = digest.add(record), record.get(DIGEST)
        if told is None and not due:
            continue
        if told is None or _parts(told)[::2] != _parts(expected)[::2]:
            raise DamagedFolder(f"{path}: {_contradiction(record, begun['trial_id'])}; {ANEW}")
        due = True


def check_machine(records: Sequence[Record], begun: Mapping[str, Any], path: Path) -> None:
    """Raise DamagedFolder where the rounds were computed on another device, or with other threads,
    than ``begun`` says. It matters to who goes on: others give other bits.
    """
    told = {_parts(record[DIGEST])[1] for record in records if DIGEST in record}
    if told and told != {_machine(begun)}:
        on = " and ".join(sorted(told))
        raise DamagedFolder(
            f"{path}: the rounds were computed on {on} (device-threads), and config.yaml says "
            f"{_machine(begun)}; put that right, or {ANEW}"
        )


def _contradiction(record: Record, trial_id: str) -> str:
    told, round_num = record.get(DIGEST), record["round"]
    if told is None:
        return f"round {round_num} has no {DIGEST}, so it was not written by this trial"
    whose = _parts(told)[0]
    if whose != trial_id:
        return f"round {round_num} is of trial {whose}, and this is the folder of {trial_id}"
    return (
        f"round {round_num} contradicts its {DIGEST}: it, a round before it, or precision or data "
        "facts in config.yaml were changed afterwards"
    )


def parse_records(
    lines: Iterable[bytes],
    path: Path,
    what: str = "is no record of a round",
    way_out: str = ANEW,
) -> list[dict[str, Any]]:
    """The records of these lines of the file at ``path``; DamagedFolder where one is none."""
    try:
        records = [json.loads(line, parse_constant=_refuse) for line in lines]
    except (ValueError, RecursionError):
        records = [None]
    if not all(map(_is_record, records)):
        raise DamagedFolder(f"{path} holds something that {what}; {way_out}")
    return records


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of strict JSON")


def _is_record(value: object) -> bool:
    if not isinstance(value, dict) or not is_count(value.get("round")):
        return False
    words = ("params_digest", DIGEST)
    return all(
        is_number(entry) if "/" in key else key not in words or isinstance(entry, str)
        for key, entry in value.items()
    )


def is_number(value: object) -> TypeGuard[float]:
    """Is it a finite number? (JSON and YAML have true, which Python takes for one.)"""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max  # an integer may be beyond every float


def is_count(value: object) -> TypeGuard[int]:
    """Is it an integer of at least 0?"""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
