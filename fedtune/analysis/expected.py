"""What a sweep is to have in the end, begun or not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fedtune.tracking import names


@dataclass(frozen=True)
class Expected:
    """The values of the whole grid; nothing where that is not tracked."""

    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    clients: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def num_trials(self) -> int:
        """The trials of the whole grid, one for each combination; 0 where it is not known."""
        axes = (self.models, self.datasets, self.clients, self.seeds)
        return math.prod(len(values) for values in axes)

    def renamed(self, models: Mapping[str, str], datasets: Mapping[str, str]) -> Expected:
        """With other names for models and data sets."""
        return replace(
            self,
            models=tuple(models[name] for name in self.models),
            datasets=tuple(datasets[name] for name in self.datasets),
        )


NOTHING_EXPECTED = Expected()


def read_expected(tags: Mapping[str, str]) -> Expected:
    """The plan that the sweep's tags tell; nothing where they tell none, or none that is valid."""
    try:
        told = json.loads(tags.get(names.PLANNED) or "{}")
        return Expected(
            models=tuple(map(str, told.get("model", ()))),
            datasets=tuple(map(str, told.get("dataset", ()))),
            clients=tuple(map(int, told.get("clients", ()))),
            seeds=tuple(map(int, told.get("seed", ()))),
        )
    except (ValueError, TypeError, AttributeError):
        return NOTHING_EXPECTED
