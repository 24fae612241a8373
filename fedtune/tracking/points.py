"""What is logged of a run in MLflow: tags, and points, each group of them whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunTag

from fedtune.tracking import names
from fedtune.trial.system import SAMPLE_MARKER

#: Present in every record, so its last step tells which rounds a run has.
ROUND_MARKER = "steps/sequential"

#: Present in every evaluation by sequential step.
STEP_MARKER = f"{names.BY_STEP}test/accuracy"

#: A summary that belongs to the machine: another store's value would not replace it but join it.
PEAK_MEMORY = "summary/peak_memory_mb"

#: A summary that every trial has which has ended.
_AT_THE_END = "summary/final_accuracy"


def metrics(values: Mapping[str, Any], timestamp_ms: int, step: int) -> list[Metric]:
    """The numbers of ``values`` that have tracked names (all have a slash), as points."""
    return [Metric(k, float(v), timestamp_ms, step) for k, v in values.items() if "/" in k]


def metrics_by_step(point: Mapping[str, Any], timestamp_ms: int) -> list[Metric]:
    """The numbers of an evaluation by sequential ``step``, as points at that step."""
    named = {f"{names.BY_STEP}{key}": value for key, value in point.items() if "/" in key}
    return metrics(named, timestamp_ms, point["step"])


def tag(client: MlflowClient, run_id: str, values: Mapping[str, str]) -> None:
    """Give a run these tags in one call."""
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in values.items()])


class Points:
    """Reads and writes the points of runs."""

    def __init__(self, client: MlflowClient):
        self._client = client

    def times(self, found: Run | None, metric: str) -> dict[int, int]:
        """When the run has which steps of a metric (Unix time, ms); empty without one."""
        return {point.step: point.timestamp for point in self._history(found, metric)}

    def are_doubled(self, found: Run) -> bool:
        """Did two write the run at once? What is logged together is there twice together."""
        for metric in (ROUND_MARKER, STEP_MARKER, SAMPLE_MARKER, PEAK_MEMORY):
            steps = [point.step for point in self._history(found, metric)]
            if len(steps) > len({*steps}):
                return True
        ends = [(point.step, point.value) for point in self._history(found, _AT_THE_END)]
        return len(ends) > len({*ends})

    def log(self, run_id: str, groups: Iterable[list[Metric]]) -> None:
        """Log points; those of a group (a round, say) are in MLflow together or not at all."""
        batch: list[Metric] = []
        for group in groups:
            if len(batch) + len(group) > names.LARGEST_BATCH:
                self._client.log_batch(run_id, metrics=batch)
                batch = []
            batch += group
        if batch:
            self._client.log_batch(run_id, metrics=batch)

    def _history(self, found: Run | None, metric: str) -> list[Metric]:
        if found is None or metric not in found.data.metrics:
            return []
        return list(self._client.get_metric_history(found.info.run_id, metric))
