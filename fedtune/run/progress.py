"""What a launch tells while it runs, and the lines that it prints where nobody watches a screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from rich.console import Console

from fedtune.cost.launch_cost import LaunchCost
from fedtune.cost.remaining import Remaining
from fedtune.plan.plan import Plan
from fedtune.tracking.names import run_name, short_names
from fedtune.trial.bar import told
from fedtune.trial.identity import Trial
from fedtune.trial.results import Result
from fedtune.units import duration


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
class Row:
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


class Rows:
    """Keeps a row per trial; subclasses show them. ``stopped`` is called where a user or a
    scheduler ends the launch, once nothing is shown any more.
    """

    def __init__(self, plan: Plan, console: Console, stopped: Callable[[], None] = lambda: None):
        self.console, self._stopped = console, stopped
        self._remaining: Remaining | None = None
        shorter = short_names(plan.trials, plan.axes)
        self.rows = {
            trial.trial_id: Row(
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

    def time_left(self, row: Row) -> str:
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

    def _row(self, trial_id: str) -> Row:
        row = self.rows[trial_id]
        row.changed = time.monotonic()
        return row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        ended = error[1] if error else None
        if isinstance(ended, BaseException) and not isinstance(ended, Exception):
            self._stopped()  # Ctrl-C, and SystemExit, which Ray makes of a SIGTERM


class Lines(Rows):
    """A line per event, for logs and pipes."""

    def started(self, trial: Trial, last: Mapping[str, Any] | None = None) -> None:
        super().started(trial, last)
        target = "" if trial.own_target is None else f", target {trial.own_target:.3f}"
        how = "starts" if last is None else f"goes on after round {last['round']}"
        if last is not None and last["round"] >= trial.stop_rule.last:
            how = "is run again for evaluations within its rounds"
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
