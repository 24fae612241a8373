"""When rounds were over and how long was worked, by adding up the times in the round logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fedtune.trial.results import Result
from fedtune.trial.stopping import Record


def times_ms(records: Sequence[Record], started_ms: int) -> Mapping[int, int]:
    """When each round was over (Unix time, ms), for a trial that was begun at ``started_ms``."""
    times, elapsed = {}, 0.0
    for record in records:
        elapsed += record.get("time/round_s", 0.0) + record.get("time/eval_s", 0.0)
        times[record["round"]] = started_ms + round(1000 * elapsed)
    return times


def work_ms(results: Iterable[Result]) -> int:
    """How long at least one of the trials was at work; pauses between them do not count."""
    spans = []
    for result in results:
        begun = int(result.origin.get("begun_ms", 0))
        ends = times_ms(result.records, begun)
        if ends:
            spans.append((begun, max(ends.values())))
    total, until = 0, 0
    for begun, ended in sorted(spans):
        total += max(ended - max(begun, until), 0)
        until = max(until, ended)
    return total
