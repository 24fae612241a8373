"""The trials of a sweep by model, data set, variant, K and seed: what is compared with what."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from fedtune.analysis import numbers
from fedtune.analysis.axis import NOWHERE, Axis, axis_of
from fedtune.analysis.expected import NOTHING_EXPECTED, Expected, Place
from fedtune.analysis.quantities import Quantity, sample
from fedtune.analysis.samples import Sample
from fedtune.analysis.tracked import Reach, TrackedTrial


class Series(NamedTuple):
    """What one curve over K, or over what else runs along x, is drawn for."""

    model: str
    dataset: str
    variant: str = ""

    @property
    def label(self) -> str:
        """The model, with the variant where there is one."""
        return f"{self.model} ({self.variant})" if self.variant else self.model


@dataclass(frozen=True)
class Cell:
    """The trials of one series at one value of x, by seed. May be empty.

    ``place`` is where it is drawn along x; ``text`` is the value for people.
    """

    series: Series
    x: float
    trials: dict[int, TrackedTrial]
    place: float
    text: str

    @property
    def clients(self) -> int:
        """K; of an empty cell what it would be, if K runs along x."""
        seen = [trial.clients for trial in self.trials.values()] or [int(self.x)]
        return seen[0]

    @property
    def is_baseline(self) -> bool:
        return bool(self.trials) and all(trial.is_baseline for trial in self.trials.values())

    def values(self, of: Callable[[TrackedTrial], float | None]) -> dict[int, float]:
        """What ``of`` gives for each seed, without the seeds for which it gives None."""
        found = {seed: of(trial) for seed, trial in self.trials.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def sample(self, quantity: Quantity) -> Sample:
        """A quantity with its uncertainty, by seed."""
        return sample(self.trials, quantity)

    @property
    def accuracies(self) -> dict[int, float]:
        """Test accuracy at the budget, by seed."""
        return self.values(lambda trial: trial.accuracy)

    @property
    def reaches(self) -> dict[int, Reach]:
        """Rounds to target of the seeds for which that is known."""
        found = {seed: trial.reach for seed, trial in self.trials.items()}
        return {seed: reach for seed, reach in found.items() if reach is not None}

    def median_rounds(self) -> float | None:
        """The median of rounds to target (inf: half or more did not meet it); None if unknown."""
        return numbers.median(r.order for r in self.reaches.values()) if self.reaches else None

    def median_text(self) -> str:
        """The median of rounds to target for people: a number, ``> cap``, or nothing."""
        middle = self.median_rounds()
        if middle is None:
            return ""
        cap = max(reach.cap for reach in self.reaches.values())
        return f"{middle:g}" if middle != float("inf") else f"> {cap}"

    def reached_text(self) -> str:
        """For example ``2 of 3``: how many seeds met their target."""
        if not self.reaches:
            return ""
        met = sum(reach.rounds is not None for reach in self.reaches.values())
        return f"{met} of {len(self.reaches)}"


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
        have = {_series_of(trial) for trial in [*federated, *lonely]}
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
        return Grid(tuple(t for t in self.trials if t.variant == variant), self.expected)

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
                    own = _series_of(trial)
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
        return self._by_series.get(series, [])

    @cached_property
    def _by_series(self) -> dict[Series, list[TrackedTrial]]:
        found: dict[Series, list[TrackedTrial]] = {}
        for trial in self.trials:
            found.setdefault(_series_of(trial), []).append(trial)
        return found

    def _cell(self, series: Series, x: float, found: dict[int, TrackedTrial]) -> Cell:
        place = self.axis.place(x) if self.axis.is_clients or x in self.xs else math.nan
        return Cell(series, x, found, place, self.axis.text(x))

    def missing(self) -> list[str]:
        """A line for every trial that the grid spans and that MLflow has not, or not to its end."""
        lines = [
            f"{trial.name}: {trial.state}" + _reason(trial)
            for trial in self.trials
            if not trial.ended
        ]
        have = {self._place(trial) for trial in self.trials}
        spanned = self.expected.places or self._spanned()
        absent = [place for place in spanned if place not in have]
        begun = {(place.model, place.dataset) for place in have}
        lines += [self._told(p) for p in absent if (p.model, p.dataset) in begun]
        unbegun = Counter((p.model, p.dataset) for p in absent)
        lines += [
            f"{model} on {dataset}: none of {count} trials has begun"
            for (model, dataset), count in unbegun.items()
            if (model, dataset) not in begun
        ]
        return lines

    def _spanned(self) -> list[Place]:
        """Every combination of what the grid has, and of what is planned where that is told.

        A baseline that bears another name than its series is never without its siblings.
        """
        names = self.series
        begun = {(series.model, series.dataset) for series in names}
        spread = {*self.expected.datasets, *(series.dataset for series in names)}
        pairs = itertools.product(self.models, [d for d in self.datasets if d in spread])
        names += [Series(*pair) for pair in pairs if pair not in begun]
        own = {_series_of(trial) for trial in self.trials if trial.is_baseline}
        most = max(self.clients, default=1)
        places = []
        for series, x in itertools.product(names, self.xs):
            alone = self.axis.is_clients and x == 1
            if not alone or series in own or series not in self._by_series:
                clients = int(x) if self.axis.is_clients else most
                places += [Place(*series, x, seed, clients, alone) for seed in self.seeds]
        return places

    def _place(self, trial: TrackedTrial) -> Place:
        series, x = _series_of(trial), self.axis.of(trial.settings)
        return Place(*series, x, trial.seed, trial.clients, trial.is_baseline)

    def _told(self, place: Place) -> str:
        label = Series(place.model, place.dataset, place.variant).label
        known = self.axis.is_clients or place.x == NOWHERE
        at = "" if known else f" {self.axis.told(place.x)}"
        name = f"K{place.clients:03d} {label} {place.dataset} s{place.seed}{at}"
        return f"{name}: not begun"


def _series_of(trial: TrackedTrial) -> Series:
    return Series(trial.model, trial.dataset, trial.variant)


def _by_number(name: str) -> list[tuple[float, str]]:
    """A key by which 2 comes before 10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(float(part), "") if i % 2 else (math.inf, part) for i, part in enumerate(parts)]


def _reason(trial: TrackedTrial) -> str:
    if trial.state == "waiting":
        return ", since its baseline has failed"
    if trial.state == "failed" and trial.records:
        return f" after round {trial.records[-1]['round']}"
    return ""


_ROLES = {
    "distilbert": re.compile(r"(mini-|tiny-)?distilbert([-_.].*)?"),
    "albert": re.compile(r"(mini-|tiny-)?albert([-_.].*)?"),
    "bert": re.compile(r"(mini-|tiny-)?bert([-_.].*)?"),
    "imdb": re.compile(r"imdb([-_.].*)?"),
    "yelp": re.compile(r"yelp([-_.].*)?"),
    "ag-news": re.compile(r"ag[-_]?news([-_.].*)?"),
}

#: What the paper calls them.
TITLES = {
    "bert": "BERT",
    "albert": "ALBERT",
    "distilbert": "DistilBERT",
    "ag-news": "AG News",
    "imdb": "IMDB",
    "yelp": "Yelp",
}


def role_of(name: str) -> str | None:
    """Which model or data set of the paper a name stands for: ``mini-bert`` for ``bert``."""
    tail = name.rstrip("/").split("/")[-1].lower()
    return next((role for role, pattern in _ROLES.items() if pattern.fullmatch(tail)), None)
