"""What a launch shows while it runs: a live table on a terminal, plain lines when piped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment

from fedtune.cost.launch_cost import LaunchCost
from fedtune.cost.remaining import Remaining
from fedtune.plan.plan import Plan
from fedtune.tables import Column, FittedTable
from fedtune.tracking.names import run_name, short_names
from fedtune.trial.activity import Activity, ActivityFile
from fedtune.trial.bar import told
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.results import Result
from fedtune.units import duration

#: What a trial does and waits for, for narrow screens.
_BRIEF_STATES = {"waits for its baseline": "waits", "loads model": "loads"}

#: Room for what will stand in a column, lest columns come and go while a launch runs.
_LONGEST_TIME, _LONGEST_STATE = len("≤ 59 min 59 s"), len("evaluates")


class Progress(Protocol):
    """What a launch tells about its trials, as it happens."""

    def expect(self, cost: LaunchCost) -> None: ...
    def started(self, trial: Trial, last: Mapping[str, Any] | None = None) -> None: ...
    def round_done(self, trial_id: str, record: Mapping[str, Any]) -> None: ...
    def ended(self, result: Result) -> None: ...
    def failed(self, trial_id: str, reason: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


class Silent:
    """Shows nothing."""

    def expect(self, cost: LaunchCost) -> None: ...
    def started(self, trial: Trial, last: Mapping[str, Any] | None = None) -> None: ...
    def round_done(self, trial_id: str, record: Mapping[str, Any]) -> None: ...
    def ended(self, result: Result) -> None: ...
    def failed(self, trial_id: str, reason: str) -> None: ...
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...


@dataclass
class _Row:
    """What is known of one trial while the launch runs."""

    trial: Trial
    name: str
    short_name: str
    state: str = "waits for its baseline"
    round_num: int | None = None
    accuracy: float | None = None
    target: float | None = None
    changed: float = 0.0
    has_ended: bool = False

    @property
    def limit(self) -> int:
        return self.trial.stop_rule.last

    @property
    def rounds_left(self) -> int:
        """Until the cap at the latest; it ends sooner where the target is met."""
        return 0 if self.has_ended else self.limit - (self.round_num or 0)


class _Rows:
    """Keeps a row per trial; subclasses show them. ``stopped`` is called where a user or a
    scheduler ends the launch, once nothing is shown any more.
    """

    def __init__(self, plan: Plan, console: Console, stopped: Callable[[], None] = lambda: None):
        self.console, self._stopped = console, stopped
        self._remaining: Remaining | None = None
        shorter = short_names(plan.trials, plan.axes)
        self.rows = {
            trial.trial_id: _Row(
                trial,
                run_name(trial, plan.axes),
                short,
                "waits" if trial.is_baseline else "waits for its baseline",
            )
            for trial, short in zip(plan.trials, shorter, strict=True)
        }

    def expect(self, cost: LaunchCost) -> None:
        """What the launch was said to cost, which rounds that are run correct."""
        self._remaining = Remaining(cost)

    def launch_left(self) -> str:
        """``≤ 3 min 5 s``, until all trials have ended; "" where that is not known, or now."""
        left = {key: row.rounds_left for key, row in self.rows.items() if row.rounds_left}
        seconds = self._remaining.of_launch(left) if self._remaining and left else None
        return "" if seconds is None else f"≤ {duration(seconds)}"

    def time_left(self, row: _Row) -> str:
        """The same of one trial, once a round of it has been run."""
        if row.state != "runs" or not row.round_num or not row.rounds_left or not self._remaining:
            return ""
        seconds = self._remaining.of_trial(row.trial.trial_id, row.rounds_left)
        return "" if seconds is None else f"≤ {duration(seconds)}"

    def started(self, trial: Trial, last: Mapping[str, Any] | None = None) -> None:
        """``last``: the record of the round after which the trial goes on."""
        row = self._row(trial.trial_id)
        row.trial, row.state, row.target = trial, "runs", trial.own_target
        if last is not None:
            row.round_num, row.accuracy = last["round"], last.get(trial.stop_rule.metric)

    def round_done(self, trial_id: str, record: Mapping[str, Any]) -> None:
        row = self._row(trial_id)
        row.round_num = record["round"]
        row.accuracy = record.get(row.trial.stop_rule.metric, row.accuracy)
        if self._remaining:
            self._remaining.round_done(trial_id, record)

    def ended(self, result: Result) -> None:
        row = self._row(result.trial.trial_id)
        row.state, row.has_ended = "done", True
        summary = result.summary
        if summary is not None:
            row.round_num = result.records[-1]["round"]
            metric = result.trial.stop_rule.metric
            row.accuracy = result.records[-1].get(metric, row.accuracy)
            row.target = summary.target_accuracy
            row.state = summary.outcome or "done"
            if row.state == "baseline":
                row.state, row.target = "done", None

    def failed(self, trial_id: str, reason: str) -> None:
        row = self._row(trial_id)
        row.state, row.has_ended = f"failed: {reason}", True

    def _row(self, trial_id: str) -> _Row:
        row = self.rows[trial_id]
        row.changed = time.monotonic()
        return row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        ended = error[1] if error else None
        if isinstance(ended, BaseException) and not isinstance(ended, Exception):
            self._stopped()  # Ctrl-C, and SystemExit, which Ray makes of a SIGTERM


class Lines(_Rows):
    """A line per event, for logs and pipes."""

    def started(self, trial: Trial, last: Mapping[str, Any] | None = None) -> None:
        super().started(trial, last)
        target = "" if trial.own_target is None else f", target {trial.own_target:.3f}"
        how = "starts" if last is None else f"goes on after round {last['round']}"
        self._line(trial.trial_id, how + target)

    def round_done(self, trial_id: str, record: Mapping[str, Any]) -> None:
        super().round_done(trial_id, record)
        row = self.rows[trial_id]
        own, whole = self.time_left(row), self.launch_left()
        if whole and whole != own and record["round"] and len(self.rows) > 1:
            whole = f"launch {whole}"
            left = f", {own} left ({whole})" if own else f" ({whole} left)"
        else:
            left = f", {own} left" if own else ""
        self._line(trial_id, told(record, row.trial.stop_rule) + left)

    def ended(self, result: Result) -> None:
        super().ended(result)
        row = self.rows[result.trial.trial_id]
        self._line(result.trial.trial_id, f"{row.state} after round {row.round_num}")

    def failed(self, trial_id: str, reason: str) -> None:
        super().failed(trial_id, reason)
        self._line(trial_id, f"failed: {reason}")

    def _line(self, trial_id: str, text: str) -> None:
        line = f"{self.rows[trial_id].name}: {text}"
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)


class Screen(_Rows):
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

    def _table(self, rows: Sequence[_Row], others: Sequence[_Row]) -> FittedTable:
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

    def _activity(self, row: _Row) -> Activity | None:
        """What the trial does at the moment; None where it does nothing or does not say."""
        if row.state != "runs":
            return None
        found = self._activities[row.trial.trial_id].read()
        is_over = found and row.round_num is not None and found.round_num <= row.round_num
        return None if is_over else found


def _importance(row: _Row) -> tuple[int, float]:
    if row.state == "runs":
        return 0, 0.0
    if row.state.startswith("failed"):
        return 1, 0.0
    return (3, 0.0) if row.state.startswith("waits") else (2, -row.changed)


def _state(row: _Row, now: Activity | None) -> str:
    if now is not None:
        return now.doing
    return "starts" if row.state == "runs" and row.round_num is None else row.state


def _bar(activity: Activity | None) -> ProgressBar | str:
    if activity is None or not activity.total:
        return ""
    return ProgressBar(activity.total, activity.done, width=10)


def _left_out(rows: Sequence[_Row]) -> str:
    """``and 120 more: 90 done, 30 waiting``, for the trials that there is no room for."""
    if not rows:
        return ""
    kinds = ("running", "failed", "done", "waiting")
    counts = Counter(kinds[_importance(row)[0]] for row in rows)
    return f"and {len(rows)} more: " + ", ".join(
        f"{counts[kind]} {kind}" for kind in kinds if counts[kind]
    )


def number(value: float | None) -> str:
    """An accuracy as people read it; nothing where there is none."""
    return "" if value is None else f"{value:.3f}"
