"""Evaluations within the rounds of a baseline: at which steps, and where they are kept.

For one client the model of the client is the server's at every step. For several the server's
exists between rounds only, where it is evaluated anyway. So ``eval_steps`` adds evaluations to
baselines alone, in ``by_step.jsonl`` beside the round log, a line each in the order of the steps.
They change nothing in the rounds, and rounds that were run without them can be run again for them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fedtune.trial.durable import sync, write_atomically
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.round_log import DamagedFolder, is_count, parse_records
from fedtune.trial.stopping import Record

#: The grid `geometric`: 8 · 2^(i/3). A factor of 1.26 is within 12 % of any step.
GRID_FIRST, GRID_PER_DOUBLING = 8, 3

_WAY_OUT = "remove it, and the same command makes it anew"


def steps_within(asked: str | int, after: int, last: int) -> Sequence[int]:
    """The sequential steps above ``after`` and up to ``last`` at which ``eval_steps`` asks for an
    evaluation, rising.

    >>> steps_within("geometric", 0, 40), steps_within("8,16", 8, 99), [*steps_within(4, 9, 20)]
    ([8, 10, 13, 16, 20, 25, 32, 40], [16], [12, 16, 20])
    """
    if asked == "none":
        return []
    if isinstance(asked, int):
        return range(after - after % asked + asked, last + 1, asked)
    named = asked.split(",") if asked != "geometric" else _geometric(last)
    grid = sorted({int(step) for step in named})
    return [step for step in grid if after < step <= last]


def _geometric(last: int) -> Iterator[int]:
    number, step = 0, GRID_FIRST
    while step <= last:
        yield step
        number += 1
        step = round(GRID_FIRST * 2 ** (number / GRID_PER_DOUBLING))


def due_in(trial: Trial, round_num: int, after: int, last: int) -> list[int]:
    """The steps within round ``round_num``, which has those above ``after`` up to ``last``, at
    which ``trial`` is to be evaluated. Not the round's end where that is evaluated itself.
    """
    if not trial.is_baseline or round_num == 0:
        return []
    steps = steps_within(trial.config.eval_steps, after, last)
    return [step for step in steps if step != last or not trial.stop_rule.evaluates(round_num)]


def owed(trial: Trial, records: Sequence[Record], points: Iterable[Record]) -> dict[int, list[int]]:
    """The steps by round that committed rounds were to be evaluated at, and were not.

    Which of their ends were evaluated is in the log: ``eval_every`` may have been another one.
    """
    known = {point["step"] for point in points}
    known |= {int(record["steps/sequential"]) for record in records if _evaluated(record)}
    found: dict[int, list[int]] = {}
    after = 0
    for record in trial.stop_rule.read(records) if trial.is_baseline else ():
        last = int(record["steps/sequential"])
        asked = steps_within(trial.config.eval_steps, after, last)
        missing = [step for step in asked if step not in known]
        if missing:
            found[record["round"]] = missing
        after = last
    return found


def merged(
    trial: Trial, records: Sequence[Record], points: Sequence[Record]
) -> list[dict[str, Any]]:
    """All evaluations of a trial by ``step``, with the ``round`` that they are of, where
    ``eval_steps`` asks for some or some are there: those at the rounds' ends, and ``points``.
    """
    if trial.config.eval_steps == "none" and not points:
        return []
    found = {
        int(record["steps/sequential"]): {"round": record["round"], **_evaluated(record)}
        for record in records
        if _evaluated(record)
    }
    within = {p["step"]: {"round": p["round"], **_evaluated(p)} for p in points}
    found = within | found
    return [{"step": step, **found[step]} for step in sorted(found)]


def _evaluated(record: Record) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k.startswith(("test/", "validation/"))}


class StepFile:
    """``by_step.jsonl`` of a trial's folder."""

    def __init__(self, folder: TrialFolder):
        self._folder = folder
        self.path = folder.path / "by_step.jsonl"

    def read(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """The evaluations within the rounds of ``records`` (0, 1, 2, …), in the order of the steps.
        Those of later rounds, and a line that was cut off, are left out.

        Raises DamagedFolder where a whole line is no evaluation, or none of its round.
        """
        lines = self._content().split(b"\n")[:-1]
        points = parse_records(lines, self.path, "is no evaluation", _WAY_OUT)
        found = [point for point in points if point["round"] < len(records)]
        if not all(_is_within(point, records) for point in found):
            what = "holds an evaluation after a step that its round has not"
            raise DamagedFolder(f"{self.path} {what}; {_WAY_OUT}")
        by_step = {point["step"]: point for point in found}
        return [by_step[step] for step in sorted(by_step)]

    def keep(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """Drop what is of no committed round, and give the rest.

        A round is evaluated before it is committed: of one that was cut off there may be lines, and
        it will be run again.
        """
        kept = self.read(records)
        if self._content() != _lines(kept).encode():
            self._folder.check_to_write(self.path)
            write_atomically(self.path, _lines(kept))
        return kept

    def add(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Append evaluations, durably."""
        if not points:
            return
        self._folder.check_to_write(self.path)
        with self.path.open("a") as file:
            file.write(_lines(points))
            file.flush()
            os.fsync(file.fileno())
        sync(self._folder.path)

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes() if self._folder.file(self.path) else b""
        except OSError as error:
            raise DamagedFolder(f"{self.path} cannot be read ({error.strerror})") from None


def _lines(points: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(point, allow_nan=False) + "\n" for point in points)


def _is_within(point: Mapping[str, Any], records: Sequence[Record]) -> bool:
    """Is it an evaluation, after a step that its round has?"""
    round_num, step = point["round"], point.get("step")
    if not (round_num and is_count(step) and "test/accuracy" in point):
        return False
    first, last = (record["steps/sequential"] for record in records[round_num - 1 : round_num + 1])
    return bool(first < step <= last)
