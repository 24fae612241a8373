"""The live table that a launch shows on a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment

from fedtune.plan.plan import Plan
from fedtune.run.progress import Row, Rows
from fedtune.tables import Column, FittedTable
from fedtune.trial.activity import Activity, ActivityFile
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.units import duration, number

#: What a trial does and waits for, for narrow screens.
_BRIEF_STATES = {"waits for its baseline": "waits", "loads model": "loads"}

#: Room for what will stand in a column, lest columns come and go while a launch runs.
_LONGEST_TIME, _LONGEST_STATE = len("≤ 59 min 59 s"), len("evaluates")


class Screen(Rows):
    """A table that is drawn again as the trials go on, and within their rounds.

    It is never higher than the terminal: where there is no room for all trials, those that run come
    first, then those that ended last.
    """

    def __init__(
        self,
        plan: Plan,
        store: Path,
        console: Console,
        stopped: Callable[[], None] = lambda: None,
    ):
        super().__init__(plan, console, stopped)
        self._began, self._room = time.monotonic(), 0
        self._activities = {key: ActivityFile(TrialFolder(store, key)) for key in self.rows}
        # Drawn anew twice a second, so that clock, bars and times left move between two rounds too.
        self._live = Live(self, console=console, refresh_per_second=2, transient=True)

    def started(self, trial: Trial, last: Mapping[str, Any] | None = None) -> None:
        super().started(trial, last)
        self._activities[trial.trial_id].remove()  # of a process that was killed

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()
        super().__exit__(*error)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As many rows as there is room for, with the lines that they really take."""
        count = min(self._room or console.height, len(self.rows))
        drawn = self._draw(count, console, options)
        while count > 1 and len(drawn) >= console.height:
            # Waiting trials, which are left out first, take fewer lines than those that run.
            count = max(min(count - 1, count * console.height // len(drawn)), 1)
            drawn = self._draw(count, console, options)
        self._room = count + max(console.height - 1 - len(drawn), 0)  # drawn once, as a rule
        for line in drawn:
            yield from line

    def _draw(self, count: int, console: Console, options: ConsoleOptions) -> list[list[Segment]]:
        rows = list(self.rows.values())
        if count < len(rows):  # else they stay where they are
            rows.sort(key=_importance)
        table = self._table(rows[:count], rows[count:])
        return console.render_lines(table, options, pad=False, new_lines=True)

    def _table(self, rows: Sequence[Row], others: Sequence[Row]) -> FittedTable:
        doing = [self._activity(row) for row in rows]
        states = [_state(row, now) for row, now in zip(rows, doing, strict=True)]
        rounds = ["" if r.round_num is None else f"{r.round_num}/{r.limit}" for r in rows]
        times = [self.time_left(row) for row in rows]
        brief_states = [_BRIEF_STATES.get(state, state) for state in states]
        names, brief_names = [r.name for r in rows], [r.short_name for r in rows]
        widest_round = max(2 * len(str(row.limit)) + 1 for row in rows)
        return FittedTable(
            [
                Column("trial", names, "name", key=True, short=brief_names),
                Column("round", rounds, reserve=widest_round),
                Column("accuracy", [number(row.accuracy) for row in rows]),
                Column("target", [number(row.target) for row in rows], rank=3),
                Column("time left", times, rank=2, reserve=_LONGEST_TIME),
                Column("this round", [_bar(activity) for activity in doing], rank=4),
                Column("state", states, "text", 1, short=brief_states, reserve=_LONGEST_STATE),
            ],
            title=self._title(),
            caption=_left_out(others),
        )

    def _title(self) -> str:
        elapsed = f"{duration(time.monotonic() - self._began)} so far"
        idle = all(row.state.startswith("waits") for row in self.rows.values())
        if idle:
            return f"{elapsed}; the first worker starts"
        left = self.launch_left()
        return f"{elapsed}, {left} left" if left else elapsed

    def _activity(self, row: Row) -> Activity | None:
        """What the trial does at the moment; None where it does nothing or does not say."""
        if row.state != "runs":
            return None
        found = self._activities[row.trial.trial_id].read()
        is_over = found and row.round_num is not None and found.round_num <= row.round_num
        return None if is_over else found


def _importance(row: Row) -> tuple[int, float]:
    if row.state == "runs":
        return 0, 0.0
    if row.state.startswith("failed"):
        return 1, 0.0
    return (3, 0.0) if row.state.startswith("waits") else (2, -row.changed)


def _state(row: Row, now: Activity | None) -> str:
    if now is not None:
        return now.doing
    return "starts" if row.state == "runs" and row.round_num is None else row.state


def _bar(activity: Activity | None) -> ProgressBar | str:
    if activity is None or not activity.total:
        return ""
    return ProgressBar(activity.total, activity.done, width=10)


def _left_out(rows: Sequence[Row]) -> str:
    """``and 120 more: 90 done, 30 waiting``, for the trials that there is no room for."""
    if not rows:
        return ""
    kinds = ("running", "failed", "done", "waiting")
    counts = Counter(kinds[_importance(row)[0]] for row in rows)
    return f"and {len(rows)} more: " + ", ".join(
        f"{counts[kind]} {kind}" for kind in kinds if counts[kind]
    )
