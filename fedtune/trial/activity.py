"""What a trial is doing within a round, for whoever shows it: a launch's table, a bar.

A worker of Ray's has no other cheap way to say so than a small file in its trial's folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from typing import NamedTuple, Self

from fedtune.trial.folder import TrialFolder
from fedtune.trial.round_log import is_count

#: The file is written at most so often.
_PAUSE_S = 1.0


class Activity(NamedTuple):
    """``doing`` (``trains``, ``distils``, ``evaluates``, ``loads model``) for round ``round_num``:
    ``done`` of ``total`` examples, 0 of 0 where there are none to count.
    """

    round_num: int
    doing: str
    done: int = 0
    total: int = 0


Watch = Callable[[Activity], None]


def unwatched(activity: Activity) -> None:
    """Nobody looks."""


def counting(watch: Watch, round_num: int, doing: str, total: int) -> Callable[[int], None]:
    """What is called with the number of examples that went by; ``watch`` is told their sum."""
    done = 0

    def seen(num_examples: int) -> None:
        nonlocal done
        done += num_examples
        watch(Activity(round_num, doing, done, total))

    seen(0)
    return seen


class ActivityFile:
    """The activity of a trial in its folder: a :data:`Watch` for one process, read by others.

    As a context it is removed at the end.
    """

    def __init__(self, folder: TrialFolder):
        self._path = folder.path / "activity.json"
        self._due = 0.0

    def __call__(self, activity: Activity) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _PAUSE_S
        unfinished = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # of a full disk the next commit will tell
            unfinished.unlink(missing_ok=True)  # one of an earlier process, or a link
            unfinished.write_text(json.dumps(activity))
            unfinished.replace(self._path)

    def read(self) -> Activity | None:
        """What the trial was doing a moment ago; None where it said nothing."""
        try:
            round_num, doing, done, total = json.loads(self._path.read_text())
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        if not isinstance(doing, str) or not all(map(is_count, (round_num, done, total))):
            return None
        return Activity(round_num, doing, done, total)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Nothing is being done any more."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
