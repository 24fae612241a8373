"""What a sweep is to have in the end, begun or not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import NamedTuple

from fedtune.analysis.axis import DEFAULTS, Settings, settings_of
from fedtune.tracking import names


class Place(NamedTuple):
    """A trial that is planned: where a grid has it (``x`` is the value on its axis), and K."""

    model: str
    dataset: str
    variant: str
    x: float
    seed: int
    clients: int
    is_baseline: bool


@dataclass(frozen=True)
class Expected:
    """The values of the whole grid; nothing where that is not tracked.

    Where further settings vary, each of ``points`` has K and their values: every model meets every
    data set, seed and point. ``places`` are all these trials, once they are named.
    """

    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    clients: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    points: tuple[Mapping[str, str], ...] = ()
    places: tuple[Place, ...] = field(default=(), repr=False)

    @property
    def num_trials(self) -> int:
        """The trials of the whole grid, one for each combination; 0 where it is not known."""
        axes = (self.models, self.datasets, self.points or self.clients, self.seeds)
        return math.prod(len(values) for values in axes)

    def settings(self, known: Sequence[Mapping[str, str]]) -> list[Settings]:
        """Those of every planned trial; none where no further settings vary.

        What does not vary of a model and a data set is as in the parameters that are ``known``.
        """
        pairs = {(params["model"], params["dataset"]): params for params in known}
        other = next(iter(known), DEFAULTS)
        grid = product(self.models, self.datasets, self.seeds, self.points)
        return [
            settings_of(
                {**pairs.get((model, dataset), other), "model": model, "dataset": dataset}
                | {"seed": str(seed), **point}
            )
            for model, dataset, seed, point in grid
        ]

    def placed(self, planned: Sequence[Settings], where: Callable[[Settings], Place]) -> Expected:
        """With the places of the planned trials."""
        return replace(self, places=tuple(dict.fromkeys(map(where, planned))))

    def renamed(
        self,
        models: Mapping[str, str],
        datasets: Mapping[str, str],
        variants: Mapping[str, str] | None = None,
    ) -> Expected:
        """With other names for models, data sets and (of ``places``) variants."""
        return replace(
            self,
            models=tuple(models[name] for name in self.models),
            datasets=tuple(datasets[name] for name in self.datasets),
            places=tuple(
                p._replace(
                    model=models[p.model],
                    dataset=datasets[p.dataset],
                    variant=variants[p.variant] if variants else p.variant,
                )
                for p in self.places
            ),
        )


NOTHING_EXPECTED = Expected()


def read_expected(tags: Mapping[str, str]) -> Expected:
    """The plan that the sweep's tags tell; nothing where they tell none, or none that is valid."""
    try:
        told = json.loads(tags.get(names.PLANNED) or "{}")
        fields = told.get("fields", ())
        points = [dict(zip(fields, map(str, p), strict=True)) for p in told.get("points", ())]
        if any("clients" not in point for point in points):
            return NOTHING_EXPECTED
        return Expected(
            models=tuple(map(str, told.get("model", ()))),
            datasets=tuple(map(str, told.get("dataset", ()))),
            clients=tuple(map(int, told.get("clients", {p["clients"]: None for p in points}))),
            seeds=tuple(map(int, told.get("seed", ()))),
            points=tuple(points),
        )
    except (ValueError, TypeError, AttributeError):
        return NOTHING_EXPECTED
