"""The trials of a sweep by model, data set, K and seed: what is compared with what."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fedtune.analysis import numbers
from fedtune.analysis.expected import NOTHING_EXPECTED, Expected
from fedtune.analysis.quantities import Quantity, sample
from fedtune.analysis.samples import Sample
from fedtune.analysis.tracked import Reach, TrackedTrial


class Series(NamedTuple):
    """What one curve over K is drawn for."""

    model: str
    dataset: str
    variant: str = ""

    @property
    def label(self) -> str:
        """The model, with the variant where there is one."""
        return f"{self.model} ({self.variant})" if self.variant else self.model


@dataclass(frozen=True)
class Cell:
    """The trials of one series at one K, by seed. May be empty."""

    series: Series
    clients: int
    trials: dict[int, TrackedTrial]

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
    """

    trials: tuple[TrackedTrial, ...]
    expected: Expected = NOTHING_EXPECTED
    originals: Mapping[str, str] = field(default_factory=dict)

    @property
    def series(self) -> list[Series]:
        have = {Series(t.model, t.dataset, t.variant) for t in self.trials}
        order = itertools.product(self.models, self.datasets, self.variants)
        return [series for names in order if (series := Series(*names)) in have]

    @property
    def models(self) -> list[str]:
        return self._in_order([*self.expected.models, *(t.model for t in self.trials)])

    @property
    def datasets(self) -> list[str]:
        return self._in_order([*self.expected.datasets, *(t.dataset for t in self.trials)])

    @property
    def variants(self) -> list[str]:
        return self._in_order(trial.variant for trial in self.trials)

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
        roles = list(TITLES)
        rank = {n: roles.index(r) if (r := role_of(old[n])) else len(roles) for n in old}
        return sorted(old, key=lambda name: (rank[name], old[name]))

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
        return Grid(tuple(trials), self.expected.renamed(models, datasets), originals)

    def cell(self, series: Series, clients: int) -> Cell:
        found = {
            trial.seed: trial
            for trial in self.trials
            if trial.clients == clients
            and Series(trial.model, trial.dataset, trial.variant) == series
        }
        return Cell(series, clients, found)

    def cells(self, series: Series) -> list[Cell]:
        """The cells of a series that have trials, by K."""
        cells = [self.cell(series, clients) for clients in self.clients]
        return [cell for cell in cells if cell.trials]

    def missing(self) -> list[str]:
        """A line for every trial that the grid spans and that MLflow has not, or not to its end."""
        lines = [
            f"{trial.name}: {trial.state}" + _reason(trial)
            for trial in self.trials
            if not trial.ended
        ]
        for series in self.series:
            for clients in self.clients:
                have = self.cell(series, clients).trials
                for seed in self.seeds:
                    if seed not in have:
                        lines.append(
                            f"K{clients:03d} {series.label} {series.dataset} s{seed}: not begun"
                        )
        begun = {(series.model, series.dataset) for series in self.series}
        count = len(self.clients) * len(self.seeds)
        lines += [
            f"{model} on {dataset}: none of {count} trials has begun"
            for model in self.models
            for dataset in self.datasets
            if (model, dataset) not in begun
        ]
        return lines


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
