"""The trials of a sweep by model, data set, variant, K and seed: what is compared with what."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from fedtune.analysis.axis import NOWHERE, Axis, axis_of
from fedtune.analysis.cell import Cell, Series, series_of
from fedtune.analysis.expected import NOTHING_EXPECTED, Expected
from fedtune.analysis.roles import TITLES, role_of
from fedtune.analysis.tracked import TrackedTrial


@dataclass(frozen=True)
class Grid:
    """Trials that can be looked up by what they are.

    Models, data sets, numbers of clients and seeds are also those that are planned and not begun.
    ``originals`` has the old name for each new one of a grid that was renamed, and so its order.
    A baseline is held against every trial that shares its settings, those about clients aside.
    """

    trials: tuple[TrackedTrial, ...]
    expected: Expected = NOTHING_EXPECTED
    originals: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def axis(self) -> Axis:
        """What runs along x."""
        planned = self.expected.settings([trial.params for trial in self.trials])
        return axis_of([*(t.settings for t in self.trials), *planned], self.expected.clients)

    @property
    def series(self) -> list[Series]:
        """What has trials; baselines are a series only where they are alone, or bear its name."""
        federated = [trial for trial in self.trials if not trial.is_baseline]
        families = {trial.family for trial in federated}
        lonely = [t for t in self.trials if t.is_baseline and t.family not in families]
        have = {series_of(trial) for trial in [*federated, *lonely]}
        order = itertools.product(self.models, self.datasets, self.variants)
        return [series for names in order if (series := Series(*names)) in have]

    @property
    def models(self) -> list[str]:
        return self._in_order([*self.expected.models, *(t.model for t in self.trials)])

    @property
    def datasets(self) -> list[str]:
        planned = (place.dataset for place in self.expected.places)
        return self._in_order(
            [*self.expected.datasets, *(t.dataset for t in self.trials), *planned]
        )

    @property
    def variants(self) -> list[str]:
        planned = (place.variant for place in self.expected.places)
        names = {*(trial.variant for trial in self.trials), *planned}
        old = {name: self.originals.get(name, name) for name in names}
        plain = {
            name: old[name].partition(",")[0] == "fedavg" for name in names
        }  # what others mend
        return sorted(names, key=lambda name: (not plain[name], _by_number(old[name])))

    @property
    def xs(self) -> list[float]:
        """The values along x, those of K as integers."""
        return list(self.axis.values)

    @property
    def places(self) -> list[float]:
        """Where they are drawn, and so where there are ticks."""
        return [self.axis.place(x) for x in self.xs]

    @property
    def texts(self) -> list[str]:
        """What stands at the ticks."""
        return [self.axis.text(x) for x in self.xs]

    @property
    def clients(self) -> list[int]:
        return sorted({*self.expected.clients, *(trial.clients for trial in self.trials)})

    @property
    def seeds(self) -> list[int]:
        return sorted({*self.expected.seeds, *(trial.seed for trial in self.trials)})

    @property
    def most_seeds(self) -> int:
        """The seeds of the cell that has most of them: what a reader sees side by side."""
        cells = (cell for series in self.series for cell in self.cells(series))
        return max((len(cell.trials) for cell in cells), default=0)

    def _in_order(self, names: Iterable[str]) -> list[str]:
        """Each name once, in the paper's order, then any other by name."""
        old = {name: self.originals.get(name, name) for name in names}
        roles, base = list(TITLES), {n: old[n].partition(", ")[0] for n in old}
        rank = {n: roles.index(r) if (r := role_of(base[n])) else len(roles) for n in old}
        return sorted(old, key=lambda name: (rank[name], base[name], _by_number(old[name])))

    def of_variant(self, variant: str) -> Grid:
        """The trials of a variant, begun or planned, with the baselines that they are held against,
        which may bear another name.
        """
        own = [trial for trial in self.trials if trial.variant == variant]
        families = {trial.family for trial in own}
        kept = {id(t) for t in self.trials if t.is_baseline and t.family in families}
        kept |= {id(trial) for trial in own}
        places = tuple(p for p in self.expected.places if p.variant == variant)
        return replace(
            self,
            trials=tuple(trial for trial in self.trials if id(trial) in kept),
            expected=replace(self.expected, places=places),
        )

    def renamed(
        self, models: Mapping[str, str], datasets: Mapping[str, str], variants: Mapping[str, str]
    ) -> Grid:
        """The same with other names for models, data sets and variants."""
        trials = (
            replace(
                trial,
                model=models[trial.model],
                dataset=datasets[trial.dataset],
                variant=variants[trial.variant],
            )
            for trial in self.trials
        )
        originals = {
            new: old for names in (models, datasets, variants) for old, new in names.items()
        }
        renamed = self.expected.renamed(models, datasets, variants)
        return Grid(tuple(trials), renamed, originals)

    def cell(self, series: Series, x: float) -> Cell:
        """The trials of a series; where K runs along x, those of K = 1 are its baselines, unless
        it has others.
        """
        found = {
            trial.seed: trial
            for trial in self._of(series)
            if not trial.is_baseline and self.axis.of(trial.settings) == x
        }
        if not found and self.axis.is_clients and x == 1:
            return self.alone(series, x)
        return self._cell(series, x, found)

    def cells(self, series: Series) -> list[Cell]:
        """The cells of a series that have trials, in the order of x."""
        cells = [self.cell(series, x) for x in self.xs]
        return [cell for cell in cells if cell.trials]

    def every_cell(self) -> list[Cell]:
        """Each cell that has trials, once: baselines that series share under their own name."""
        found: dict[tuple[Series, bool, float], Cell] = {}
        for series, x in itertools.product(self.series, self.xs):
            for cell in (self.alone(series, x), self.cell(series, x)):
                for trial in [*cell.trials.values()][:1]:
                    own = series_of(trial)
                    key = own, trial.is_baseline, cell.x
                    found.setdefault(key, replace(cell, series=own))
        return list(found.values())

    def where(self, series: Series, x: float) -> str:
        """The data set, and the value along x unless that is K."""
        return series.dataset + ("" if self.axis.is_clients else f", {self.axis.told(x)}")

    def alone(self, series: Series, x: float) -> Cell:
        """The baselines of a series, which is with one client; ``x`` matters where they differ in
        what runs along it.
        """
        here = [t for t in self._of(series) if self._shares_baseline(t, x)]
        families = {trial.family for trial in here}
        found = {t.seed: t for t in self.trials if t.is_baseline and t.family in families}
        place = 1 if self.axis.is_clients else NOWHERE
        return self._cell(series, x if self.axis.of_baselines else place, found)

    def _shares_baseline(self, trial: TrackedTrial, x: float) -> bool:
        return not self.axis.of_baselines or self.axis.of(trial.settings) == x

    def _of(self, series: Series) -> list[TrackedTrial]:
        return self.by_series.get(series, [])

    @cached_property
    def by_series(self) -> dict[Series, list[TrackedTrial]]:
        found: dict[Series, list[TrackedTrial]] = {}
        for trial in self.trials:
            found.setdefault(series_of(trial), []).append(trial)
        return found

    def _cell(self, series: Series, x: float, found: dict[int, TrackedTrial]) -> Cell:
        place = self.axis.place(x) if self.axis.is_clients or x in self.xs else math.nan
        return Cell(series, x, found, place, self.axis.text(x))


def _by_number(name: str) -> list[tuple[float, str]]:
    """A key by which 2 comes before 10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(float(part), "") if i % 2 else (math.inf, part) for i, part in enumerate(parts)]
