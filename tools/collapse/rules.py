"""The decision rules of docs/results/collapse/predictions.md, each as what it found and a verdict.

They were fixed with the predictions; nothing here was chosen after the trials.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedtune.analysis.inference import ONE_SIDED, Estimate
from tools.collapse.seen import Seen, Trials
from tools.step_law import CLIENTS, RATES, Law

#: Rule 1: the rounds for which a ratio can be read, how far it may be off, and in how many cells.
READABLE = (2, 16)
MOST_OFF, SHARE_CLOSE, SHARE_RIGHT, SLOPE = 0.25, 0.85, 0.92, 0.10
#: Predicted rounds so near to the cap that either outcome is right.
OPEN = (13, 20)
#: Rule 2: margins in accuracy and in test loss, at these steps.
POINT, NATS, AT_STEPS = 0.01, 0.02, (32, 64, 128)
#: Rule 3: DistilBERT's need over BERT's, and where baselines have not learned all that they can.
RATIO, RATIO_AT_LAST = (2.0, 3.0), (1.4, 2.4)
#: Rule 4: what a head has to change, on log2.
MATTERS, SURELY = 0.5, 0.25

Predicted = Callable[[str, float, int], int]


@dataclass(frozen=True)
class Cell:
    """A model at a rate with K clients: rounds to target as predicted, and as seen by seed
    (infinite beyond the cap).
    """

    model: str
    dataset: str
    rate: float
    clients: int
    predicted: int
    seen: Mapping[int, float]
    cap: int

    @property
    def observed(self) -> float:
        """The median over seeds."""
        return statistics.median(self.seen.values())

    @property
    def log2_ratio(self) -> float:
        """Of observed to predicted rounds; beyond the cap as if one round more had been enough."""
        observed = self.observed if math.isfinite(self.observed) else self.cap + 1
        return math.log2(observed / self.predicted)

    @property
    def is_readable(self) -> bool:
        """Is the ratio known? Both beyond the cap, or both within a round, say nothing of it."""
        low, high = READABLE
        return low <= self.predicted <= high or low <= self.observed <= high

    @property
    def is_close(self) -> bool:
        return math.isfinite(self.observed) and abs(self.observed - self.predicted) <= max(
            1, self.predicted / 4
        )

    @property
    def reached(self) -> bool:
        """In most seeds."""
        return math.isfinite(self.observed)


def predictions(laws: Mapping[str, Mapping[int, Law]]) -> Predicted:
    """Rounds by the step law: the median over the seeds of the published trials."""

    def predicted(model: str, rate: float, clients: int) -> int:
        return round(statistics.median(law.rounds(rate, clients) for law in laws[model].values()))

    return predicted


def cells(trials: Trials, dataset: str, predicted: Predicted) -> list[Cell]:
    """The phase diagram of a data set, as far as it has been run."""
    found = []
    plain = trials.where(dataset=dataset, head="own", head_init="shared", batch_size=8)
    for model in sorted({seen.model for seen in plain}):
        for rate in RATES:
            for clients in CLIENTS:
                here = [s for s in plain if (s.model, s.rate, s.clients) == (model, rate, clients)]
                rounds = {s.seed: n for s in here if (n := trials.rounds(s)) is not None}
                if rounds:
                    expected = predicted(model, rate, clients)
                    cap = here[0].cap
                    found.append(Cell(model, dataset, rate, clients, expected, rounds, cap))
    return found


@dataclass(frozen=True)
class Verdict:
    """What a rule found, in numbers and in a word: ``holds``, ``refuted`` or ``open``."""

    rule: str
    found: str
    verdict: str


def over_seeds(values: Sequence[float]) -> Estimate:
    """A mean with the error that seeds tell."""
    count = len(values)
    variance = statistics.variance(values) / count if count > 1 else 0.0
    return Estimate(statistics.fmean(values), variance, count - 1)


def step_law(found: Sequence[Cell]) -> list[Verdict]:
    """Rule 1, by its parts, and as a whole."""
    readable = [cell for cell in found if cell.is_readable]
    if not readable:
        return []
    off = statistics.median(abs(cell.log2_ratio) for cell in readable)
    close = statistics.fmean(cell.is_close for cell in readable)
    clear = [cell for cell in found if not OPEN[0] <= cell.predicted <= OPEN[1]]
    right = statistics.fmean(cell.reached == (cell.predicted <= cell.cap) for cell in clear)
    slope = _slope(readable)
    low, high = slope.interval() if slope else (-math.inf, math.inf)
    part_a = off <= MOST_OFF and close >= SHARE_CLOSE
    part_b, part_c = right >= SHARE_RIGHT, low >= -SLOPE and high <= SLOPE
    late = _late(found)
    refuted = low > SLOPE or high < -SLOPE or late.verdict == "refuted"
    whole = "refuted" if refuted else "holds" if part_a and part_b and part_c else "open"
    told = f"{slope.mean:+.2f} ({low:+.2f} to {high:+.2f})" if slope else "not known"
    return [
        Verdict(
            "1a rounds are as predicted",
            f"median |log2| {off:.2f} (at most {MOST_OFF}), {close:.0%} of {len(readable)} cells "
            f"close (at least {SHARE_CLOSE:.0%})",
            "holds" if part_a else "refuted",
        ),
        Verdict(
            "1b what is reached is as predicted",
            f"{right:.0%} of {len(clear)} cells (at least {SHARE_RIGHT:.0%})",
            "holds" if part_b else "refuted",
        ),
        Verdict(
            "1c the error does not change with K",
            f"slope of log2 on log2 K {told}, within ± {SLOPE}",
            "holds" if part_c else "refuted" if low > SLOPE or high < -SLOPE else "open",
        ),
        late,
        Verdict("1 steps alone decide (H1)", "a, b and c", whole),
    ]


def _slope(readable: Sequence[Cell]) -> Estimate | None:
    """Of log2(observed / predicted) on log2 K: by seed, then over seeds; reached cells alone."""
    seeds = sorted({seed for cell in readable for seed in cell.seen})
    slopes = []
    for seed in seeds:
        pairs = [
            (math.log2(cell.clients), math.log2(rounds / cell.predicted))
            for cell in readable
            if math.isfinite(rounds := cell.seen.get(seed, math.inf))
        ]
        if len({x for x, _ in pairs}) > 1:
            xs, ys = zip(*pairs, strict=True)
            slopes.append(float(np.polyfit(xs, ys, 1)[0]))
    return over_seeds(slopes) if len(slopes) > 1 else None


def _late(found: Sequence[Cell]) -> Verdict:
    """With most clients at small rates: 1.5 times the rounds, and surely more than predicted."""
    late, worst = [], 0.0
    for cell in found:
        if cell.clients != max(CLIENTS) or cell.rate > RATES[1] or cell.predicted > cell.cap:
            continue
        logs = [
            math.log2((n if math.isfinite(n) else cell.cap + 1) / cell.predicted)
            for n in cell.seen.values()
        ]
        estimate = over_seeds(logs)
        worst = max(worst, 2**estimate.mean)
        if 2**estimate.mean > 1.5 and estimate.interval()[0] > 0:
            late.append(cell)
    told = f"at most {worst:.2f} times the predicted rounds (1.5)" if worst else "no such cell"
    rule = f"1d K = {max(CLIENTS)} is not late"
    return Verdict(rule, told, "refuted" if late else "holds" if worst else "open")


@dataclass(frozen=True)
class Drift:
    """FedAvg minus one client with a batch of all clients' texts, at equal steps."""

    model: str
    clients: int
    steps: int
    accuracy: Estimate
    loss: Estimate
    seeds: int

    @property
    def verdict(self) -> str:
        if max(self.accuracy.p_within(POINT), self.loss.p_within(NATS)) <= 2 * ONE_SIDED:
            return "holds"
        return "refuted" if self.accuracy.interval()[1] < -POINT else "open"


def drift(trials: Trials, dataset: str) -> list[Drift]:
    """Rule 2, for each model, number of clients and number of steps at which both were seen."""
    found = []
    federated = [
        s
        for s in trials.where(dataset=dataset, head="own", head_init="shared", rate=RATES[0])
        if s.clients > 1
    ]
    alone = {
        (s.model, s.seed, s.batch_size): s
        for s in trials.where(dataset=dataset, head="own", clients=1, rate=RATES[0])
    }
    for model, clients in sorted({(s.model, s.clients) for s in federated}):
        here = [s for s in federated if (s.model, s.clients) == (model, clients)]
        pairs = [
            (s, other)
            for s in here
            if (other := alone.get((model, s.seed, s.batch_size * clients))) is not None
        ]
        for steps in AT_STEPS:
            both = [(a, b) for s, o in pairs if (a := s.at(steps)) and (b := o.at(steps))]
            if len(both) > 1:
                accuracy = over_seeds([a.accuracy - b.accuracy for a, b in both])
                loss = over_seeds([a.loss - b.loss for a, b in both])
                found.append(Drift(model, clients, steps, accuracy, loss, len(both)))
    return found


@dataclass(frozen=True)
class Ratio:
    """By how much more of the sum of rates one kind of trial needs than another, on log2."""

    what: str
    of: str
    estimate: Estimate
    seeds: int
    expected: tuple[float, float] = RATIO

    @property
    def factor(self) -> tuple[float, float, float]:
        """The mean and the interval, as factors."""
        low, high = self.estimate.interval()
        return 2**self.estimate.mean, 2**low, 2**high

    @property
    def matters(self) -> str:
        """Rule 4."""
        low, high = self.estimate.interval()
        if abs(self.estimate.mean) > MATTERS and (low > SURELY or high < -SURELY):
            return "matters"
        return "does not matter" if low > -MATTERS and high < MATTERS else "open"

    @property
    def as_published(self) -> str:
        """Rule 3: is the factor that of the published study?"""
        factor, low, high = self.factor
        least, most = self.expected
        if least <= factor <= most:
            return "holds"
        return "refuted" if low > most or high < least else "open"


def needs(trials: Trials, **where: object) -> dict[int, float]:
    """The sum of rates to target by seed: of the trial with the most clients that got there in more
    than one round, whose steps swing least; else of one client.
    """
    found: dict[int, float] = {}
    for seen in sorted(trials.where(**where), key=lambda s: s.clients):
        target = trials.target(seen)
        if target is None:
            continue
        path, rounds = seen.path_to(target), seen.rounds_to(target)
        if math.isfinite(path) and (seen.clients == 1 or rounds > 1):
            found[seen.seed] = path
    return found


def ratio(
    what: str, of: str, mine: Mapping[int, float], theirs: Mapping[int, float]
) -> Ratio | None:
    """Paired by seed; None with fewer than two seeds."""
    logs = [math.log2(mine[seed] / theirs[seed]) for seed in sorted(mine.keys() & theirs.keys())]
    return Ratio(what, of, over_seeds(logs), len(logs)) if len(logs) > 1 else None


def models(trials: Trials, dataset: str) -> list[Ratio]:
    """Rule 3: DistilBERT's need over BERT's at every rate."""
    found = []
    plain = {"dataset": dataset, "head": "own", "head_init": "shared", "batch_size": 8}
    for rate in RATES:
        mine = needs(trials, model="mini-distilbert", rate=rate, **plain)
        theirs = needs(trials, model="mini-bert", rate=rate, **plain)
        made = ratio(f"DistilBERT over BERT at {rate:g}", dataset, mine, theirs)
        at_last = rate == RATES[-1]
        found += [replace(made, expected=RATIO_AT_LAST if at_last else RATIO)] if made else []
    return found


#: Rule 4: which head over which, of which model.
ARMS = (
    ("mini-distilbert", {"head": "pooler"}, "DistilBERT with BERT's pooler over its own"),
    ("mini-bert", {"head": "relu"}, "BERT with DistilBERT's layer over its own"),
    ("mini-bert", {"head": "pooler"}, "BERT with a pooler drawn anew over its own"),
    ("mini-distilbert", {"head_init": "per_client"}, "DistilBERT with own heads over a shared one"),
    ("mini-bert", {"head_init": "per_client"}, "BERT with own heads over a shared one"),
)


def heads(trials: Trials, dataset: str) -> list[Ratio]:
    """Rule 4, with one client and with most, each arm beside the same seeds' own head."""
    found = []
    own = {"dataset": dataset, "head": "own", "head_init": "shared", "batch_size": 8}
    for model, changed, what in ARMS:
        for clients in sorted({s.clients for s in trials.where(model=model, **changed)}):
            at = {"model": model, "rate": RATES[1], "clients": clients}
            mine = _paths(trials, trials.where(**own | changed | at))
            theirs = _paths(trials, trials.where(**own | at))
            made = ratio(what, f"K = {clients}", mine, theirs)
            found += [made] if made else []
    return found


def _paths(trials: Trials, seen: Sequence[Seen]) -> dict[int, float]:
    paths = {s.seed: s.path_to(t) for s in seen if (t := trials.target(s)) is not None}
    return {seed: path for seed, path in paths.items() if math.isfinite(path)}
