"""What steps alone say of other rates and other numbers of clients.

    mkdir -p trials && tar -xzf docs/results/mini-study/rounds.tar.gz -C trials
    python -m tools.step_law [--store trials] [--dataset ag_news_14k] [--cap 16]

The step law: accuracy is a function of the sum of the rates of all sequential steps, whatever K
is. From trials at one rate it takes that function for each model and seed, and reads off it when a
trial with another rate and K gets to 90 % of what one client has at its own budget. Nothing is
fitted.

Of each seed's trials the one with the most clients counts that has gone so far: steps of a single
client swing more (docs/results/mini-study), and averaging removes that.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import optimize

from fedtune.errors import BadInput
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.stopping import ROUNDING, Record

RATES = (0.025, 0.00625, 0.0015625, 0.000390625)
CLIENTS = (1, 2, 4, 8, 16, 32)
BUDGET, FRACTION = 8, 0.9
#: Rounds beyond which nobody wants to know.
FOREVER = 1000


@dataclass(frozen=True)
class Curve:
    """Test accuracy against the sum of the rates of all steps, made to rise (isotonic regression);
    the first point is the untrained model's.
    """

    path: Sequence[float]
    accuracy: Sequence[float]

    @classmethod
    def of(cls, records: Sequence[Record], rate: float) -> Curve:
        seen = [record for record in records if "test/accuracy" in record]
        path = [rate * record["steps/sequential"] for record in seen]
        first, *later = [record["test/accuracy"] for record in seen]
        return cls(path, [first, *optimize.isotonic_regression(later).x])

    def at(self, path: float) -> float:
        """Between two points along the logarithm of the path; before the first, along the path."""
        if path <= self.path[1]:
            return float(np.interp(path, self.path[:2], self.accuracy[:2]))
        return float(np.interp(math.log(path), np.log(self.path[1:]), self.accuracy[1:]))


@dataclass(frozen=True)
class Law:
    """The curves of one model and one seed by their numbers of clients."""

    curves: Mapping[int, Curve]
    num_examples: int
    batch_size: int
    local_epochs: int

    def steps(self, clients: int) -> int:
        """Sequential steps of a round."""
        largest = math.ceil(self.num_examples / clients)
        return self.local_epochs * math.ceil(largest / self.batch_size)

    def at(self, path: float) -> float:
        """From the trial with the most clients that went so far; the end of the longest beyond."""
        for clients in sorted(self.curves, reverse=True):
            if self.curves[clients].path[-1] >= path:
                return self.curves[clients].at(path)
        return max(self.curves.values(), key=lambda curve: curve.path[-1]).accuracy[-1]

    def base(self, rate: float) -> float:
        """What one client has at the budget."""
        return self.at(rate * BUDGET * self.steps(1))

    def rounds(self, rate: float, clients: int) -> int:
        """Rounds to target; FOREVER for more."""
        target, step = FRACTION * self.base(rate), rate * self.steps(clients)
        reached = (n for n in range(1, FOREVER) if self.at(n * step) >= target - ROUNDING)
        return next(reached, FOREVER)


def laws(store: Path, dataset: str) -> dict[str, dict[int, Law]]:
    """By model and seed, from all trials in the store on a data set. BadInput without any."""
    found: dict[str, dict[int, dict[int, Curve]]] = {}
    config = None
    for path in sorted(store.glob("*/rounds.jsonl")):
        folder = TrialFolder(store, path.parent.name)
        trial = Trial.from_dict(folder.read_config())
        if trial.config.dataset == dataset:
            config = trial.config
            curve = Curve.of(folder.records(), float(config.learning_rate))
            seeds = found.setdefault(config.model, {})
            seeds.setdefault(config.seed, {})[config.num_clients] = curve
    if config is None:
        raise BadInput.of("store", str(store), f"has no trial on {dataset}")
    size = int(config.train_examples)
    return {
        model: {
            seed: Law(curves, size, config.batch_size, config.local_epochs)
            for seed, curves in seeds.items()
        }
        for model, seeds in found.items()
    }


def table(found: Mapping[str, Mapping[int, Law]], cap: int) -> Iterable[str]:
    """A row for each rate and model: rounds to target by K, the median of the seeds; beyond the cap
    in brackets. And the accuracy of most clients at the budget.
    """
    columns = "".join(f" K = {clients} |" for clients in CLIENTS)
    yield f"| rate | model |{columns} at budget, K = {CLIENTS[-1]} |"
    yield "|---" * (len(CLIENTS) + 3) + "|"
    for rate in RATES:
        for model, seeds in sorted(found.items()):
            cells = []
            for clients in CLIENTS:
                each = statistics.median(law.rounds(rate, clients) for law in seeds.values())
                cells.append(f"{each:g}" if each <= cap else f"> {cap} ({each:g})")
            end = {k: law.at(rate * BUDGET * law.steps(CLIENTS[-1])) for k, law in seeds.items()}
            yield f"| {rate:g} | {model} | {' | '.join(cells)} | {np.mean([*end.values()]):.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--store", type=Path, default=Path("trials"))
    parser.add_argument("--dataset", default="ag_news_14k")
    parser.add_argument("--cap", type=int, default=2 * BUDGET)
    asked = parser.parse_args()
    for line in table(laws(asked.store, asked.dataset), asked.cap):
        print(line)


if __name__ == "__main__":
    main()
