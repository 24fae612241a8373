"""Live progress of one simulation: a bar that moves within the round, and a line per round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from fedtune.bars import new_bar, stream
from fedtune.trial.activity import Activity
from fedtune.trial.stopping import StopRule


class RoundBar:
    """What ``simulate(config, progress=True)`` shows. ``watch`` is the trial's watch."""

    def __init__(self, rule: StopRule):
        self._rule = rule
        self._bar = new_bar("", 1)
        self._shown: tuple[int, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def watch(self, activity: Activity) -> None:
        """Move the bar; a new part of the round begins a new one."""
        part = activity.round_num, activity.doing
        if part != self._shown:
            self._shown = part
            self._bar.reset(activity.total or 1)
            where = f"round {activity.round_num}/{self._rule.last}"
            self._bar.set_description_str(f"{where} {activity.doing}")
        self._bar.update(activity.done - self._bar.n)

    def round_done(self, record: Mapping[str, Any]) -> None:
        """A line with the round's accuracy and loss; the bar makes way for what the caller prints
        before the next round.
        """
        self._bar.write(told(record, self._rule), file=stream())
        self._bar.clear()


def told(record: Mapping[str, Any], rule: StopRule) -> str:
    """``round 3/10, accuracy 0.803, loss 1.098``; one that was not evaluated has no accuracy."""
    parts = [f"round {record['round']}/{rule.last}"]
    if rule.metric in record:
        parts.append(f"accuracy {record[rule.metric]:.3f}")
    if "train/loss" in record:
        parts.append(f"loss {record['train/loss']:.3f}")
    return ", ".join(parts)
