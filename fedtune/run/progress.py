"""What a launch shows while it runs: a live table on a terminal, plain lines when piped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from fedtune.plan.plan import Plan
from fedtune.tracking.names import run_name
from fedtune.trial.identity import Trial
from fedtune.trial.results import Result
from fedtune.units import duration


class Progress(Protocol):
    """What a launch tells about its trials, as it happens."""

    def started(self, trial: Trial, last: Mapping[str, Any] | None = None) -> None: ...
    def round_done(self, trial_id: str, record: Mapping[str, Any]) -> None: ...
    def ended(self, result: Result) -> None: ...
    def failed(self, trial_id: str, reason: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


class Silent:
    """Shows nothing."""

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
    state: str = "waits for its baseline"
    round_num: int | None = None
    accuracy: float | None = None
    target: float | None = None
    round_times: list[float] = field(default_factory=list)

    @property
    def limit(self) -> int:
        return self.trial.stop_rule.last

    def time_left(self) -> str:
        """Until the cap at the latest; it ends sooner where the target is met."""
        if self.state != "runs" or not self.round_times or self.round_num in (None, self.limit):
            return ""
        recent = self.round_times[-5:]
        return "≤ " + duration((self.limit - self.round_num) * sum(recent) / len(recent))


class _Rows:
    """Keeps a row per trial; subclasses show them."""

    def __init__(self, plan: Plan, console: Console):
        self.console = console
        self.names = {t.trial_id: run_name(t, plan.axes) for t in plan.trials}
        self.rows = {
            t.trial_id: _Row(t, "waits" if t.config.clients == 1 else "waits for its baseline")
            for t in plan.trials
        }

    def started(self, trial: Trial, last: Mapping[str, Any] | None = None) -> None:
        """``last``: the record of the round after which the trial goes on."""
        row = self.rows[trial.trial_id]
        row.trial, row.state, row.target = trial, "runs", trial.own_target
        if last is not None:
            row.round_num, row.accuracy = last["round"], last.get(trial.stop_rule.metric)

    def round_done(self, trial_id: str, record: Mapping[str, Any]) -> None:
        row = self.rows[trial_id]
        row.round_num = record["round"]
        row.accuracy = record.get(row.trial.stop_rule.metric, row.accuracy)
        if record["round"]:
            seconds = record["time/round_s"] + record.get("time/eval_s", 0.0)
            row.round_times.append(seconds)

    def ended(self, result: Result) -> None:
        row = self.rows[result.trial.trial_id]
        row.state = "done"
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
        self.rows[trial_id].state = f"failed: {reason}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...


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
        parts = [f"round {row.round_num}/{row.limit}"]
        metric = row.trial.stop_rule.metric
        if metric in record:
            parts.append(f"accuracy {record[metric]:.3f}")
        if "train/loss" in record:
            parts.append(f"loss {record['train/loss']:.3f}")
        if row.time_left():
            parts.append(f"{row.time_left()} left")
        self._line(trial_id, ", ".join(parts))

    def ended(self, result: Result) -> None:
        super().ended(result)
        row = self.rows[result.trial.trial_id]
        self._line(result.trial.trial_id, f"{row.state} after round {row.round_num}")

    def failed(self, trial_id: str, reason: str) -> None:
        super().failed(trial_id, reason)
        self._line(trial_id, f"failed: {reason}")

    def _line(self, trial_id: str, text: str) -> None:
        line = f"{self.names[trial_id]}: {text}"
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)


class Screen(_Rows):
    """A table that is drawn again as the trials go on."""

    def __init__(self, plan: Plan, console: Console):
        super().__init__(plan, console)
        self._began = time.monotonic()
        # A callable, so that the clock and the times left move between two rounds as well.
        self._live = Live(
            console=console, get_renderable=self._table, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def _table(self) -> Table:
        elapsed = duration(time.monotonic() - self._began)
        table = Table(title=f"{elapsed} so far", title_justify="left")
        table.add_column("trial", no_wrap=True)
        for column in ("round", "accuracy", "target", "time left"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("state", overflow="ellipsis", no_wrap=True)
        height = max(self.console.height - 8, 4)
        rows = sorted(self.rows.items(), key=lambda item: item[1].state != "runs")
        for trial_id, row in rows[:height]:
            table.add_row(
                escape(self.names[trial_id]),
                "" if row.round_num is None else f"{row.round_num}/{row.limit}",
                number(row.accuracy),
                number(row.target),
                row.time_left(),
                escape(row.state),
            )
        if len(rows) > height:
            table.caption = f"and {len(rows) - height} more (`fedtune status` shows all)"
        return table


def number(value: float | None) -> str:
    """An accuracy as people read it; nothing where there is none."""
    return "" if value is None else f"{value:.3f}"
