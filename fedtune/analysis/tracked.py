"""A sweep's trials in plain dataclasses, and what their rounds amount to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedtune.analysis.axis import Naming, Settings, spread_of
from fedtune.analysis.expected import NOTHING_EXPECTED, Expected, Place
from fedtune.analysis.words import on_one_line
from fedtune.config import OF_CLIENTS
from fedtune.tracking import names
from fedtune.trial.stopping import (
    Baseline,
    Record,
    StopRule,
    Summary,
    accuracy_at,
    choose_target,
    read_baseline,
    summarize,
)


@dataclass(frozen=True)
class Reach:
    """When a trial met its target: ``rounds``, or None where ``cap`` rounds were not enough."""

    rounds: int | None
    cap: int

    @property
    def order(self) -> float:
        """For comparing: a target that was not met comes after every round."""
        return math.inf if self.rounds is None else self.rounds

    def __str__(self) -> str:
        return f"> {self.cap}" if self.rounds is None else str(self.rounds)


@dataclass(frozen=True, eq=False)
class Tested:
    """Which test examples a trial classified rightly after its budget.

    ``test_set`` is a digest of the ``labels``: trials that share it were tested on the same
    examples in the same order.
    """

    test_set: str
    labels: NDArray[np.int64]
    correct: NDArray[np.bool_]


@dataclass(frozen=True)
class TrackedTrial:
    """One trial as MLflow has it. ``records`` are its rounds under their tracked names, in order.

    ``facts`` are tracked once (``data/*``, ``model/*``, ``steps/per_round``); ``variant`` names
    swept settings other than model, data set, clients and seed ("" where there are none).
    ``state`` is the outcome, or how far the trial has got. ``shares`` (K, C) are the training
    examples of each class that each client has, where that is tracked, and ``class_names`` what
    the classes are called; ``own_tests`` is whether clients are judged on test examples of their
    own rather than by their classes. ``baseline_levels`` are how accurate the baseline is in the
    end (:func:`level_at_the_end`), by metric: the stop rule takes the evaluation at the budget,
    comparisons take this, which hangs less on a single one.
    """

    name: str
    run_id: str
    trial_id: str
    baseline_id: str
    model: str
    dataset: str
    clients: int
    seed: int
    variant: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    facts: Mapping[str, float]
    records: Sequence[Record]
    tracked: Mapping[str, float]
    rule: StopRule
    started_ms: int
    baseline: Baseline | None = None
    baseline_test_accuracy: float | None = None
    baseline_levels: Mapping[str, float] = field(default_factory=dict)
    summary: Summary | None = None
    tested: Tested | None = None
    baseline_tested: Tested | None = None
    ended: bool = False
    state: str = ""
    shares: NDArray[np.int64] | None = None
    class_names: Sequence[str] = ()
    own_tests: bool = False

    @property
    def is_baseline(self) -> bool:
        """Is it centralised training, which others are held against?"""
        return self.tags[names.KIND] == "baseline"

    @property
    def settings(self) -> Settings:
        """Its parameters, and whether those about clients matter."""
        return Settings(self.params, self.is_baseline)

    @cached_property
    def family(self) -> tuple[str, ...]:
        """The settings that it shares with its baselines, of whatever seed."""
        apart = ("clients", "seed", *OF_CLIENTS)
        return tuple(f"{k}={self.params[k]}" for k in sorted(self.params) if k not in apart)

    @property
    def spread(self) -> str:
        """How its clients differ: ``iid``, ``dirichlet 0.1``."""
        return spread_of(self.params)

    @property
    def chance(self) -> float:
        """The accuracy of always guessing the largest class, or 1/C where that is larger."""
        return self.facts["summary/chance"]

    @property
    def num_test(self) -> int:
        return int(self.facts["data/test_examples"])

    @property
    def steps_per_round(self) -> int:
        """Sequential steps of a round: those of the largest client."""
        return int(self.facts["steps/per_round"])

    @property
    def accuracy(self) -> float | None:
        """Test accuracy after exactly the budget's rounds; None before that."""
        return accuracy_at(self.records, self.rule.budget, "test/accuracy")

    @property
    def headroom(self) -> float | None:
        """How far the baseline is above chance in the end; None where it is not clearly so."""
        base = self.baseline_levels.get("test/accuracy")
        if base is None or self.baseline is None or not self.baseline.above_chance:
            return None
        return base - self.chance if base > self.chance else None

    @property
    def retention(self) -> float | None:
        """The part of the headroom that is kept at the budget: all of it by the baseline itself.

        None where that has no value.
        """
        if self.accuracy is None or self.headroom is None:
            return None
        if self.is_baseline:
            return 1.0
        return (self.accuracy - self.chance) / self.headroom

    @property
    def target(self) -> float:
        """The accuracy to reach. Only where ``reach`` is known: there is none otherwise."""
        assert self.summary is not None
        assert self.summary.target_accuracy is not None
        return self.summary.target_accuracy

    @property
    def reach(self) -> Reach | None:
        """Rounds to target; None where that is not known yet, or where there is no target."""
        if self.summary is None or self.summary.target_accuracy is None:
            return None
        if self.summary.rounds_to_target is None and not self.ended:
            return None
        return Reach(self.summary.rounds_to_target, self.rule.last)

    def at(self, round_num: int | None, metric: str) -> float | None:
        """A metric after a round; None where either is not known."""
        return None if round_num is None else accuracy_at(self.records, round_num, metric)

    @cached_property
    def curve(self) -> dict[int, float]:
        """Test accuracy by round, evaluated rounds only."""
        return {r["round"]: r["test/accuracy"] for r in self.records if "test/accuracy" in r}

    @property
    def peak_memory_mb(self) -> float | None:
        """The most memory that the trial took, where that is tracked."""
        return self.tracked.get("summary/peak_memory_mb")

    @property
    def seconds(self) -> float:
        """Time spent computing rounds and evaluations."""
        times = (r.get("time/round_s", 0.0) + r.get("time/eval_s", 0.0) for r in self.records)
        return float(sum(times))

    def mean_of(self, metric: str) -> float | None:
        """The mean of a metric over the rounds up to the budget, or to an earlier end.

        None where it has none, and for a trial that is on its way there: drift falls as a trial
        goes on, so that the mean over its first rounds is not comparable.
        """
        if not self.ended and self.accuracy is None:
            return None
        values = [r[metric] for r in self.records if metric in r and r["round"] <= self.rule.budget]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Sweep:
    """A sweep's run and its trials, ordered by model, data set, variant, K and seed.

    ``left_out`` counts earlier trials that the sweep has no more: others took their place.
    """

    name: str
    run_id: str
    status: str
    started_ms: int
    trials: tuple[TrackedTrial, ...]
    tags: Mapping[str, str]
    expected: Expected = NOTHING_EXPECTED
    left_out: int = 0


#: The evaluations whose mean says how accurate a baseline is in the end.
LAST_EVALUATIONS = 3


def level_at_the_end(trial: TrackedTrial, metric: str) -> float | None:
    """The mean of a trial's last three evaluations up to its budget, all in the second half of it.

    None before the budget.
    """
    budget = trial.rule.budget
    if trial.at(budget, metric) is None:
        return None
    late = [r[metric] for r in trial.records if metric in r and budget / 2 < r["round"] <= budget]
    last = late[-LAST_EVALUATIONS:]
    return float(sum(last) / len(last))


def current(trials: Sequence[TrackedTrial]) -> list[TrackedTrial]:
    """Of trials with the same settings those of the newest engine, model and data: what is trained
    on, the groups that the clients are made of, and the texts that are distilled on.

    A new engine, say, gives every trial and its baseline another id, and what was run before stays
    in MLflow. Comparisons across the two would not be paired.
    """
    newest: dict[tuple[object, ...], str] = {}
    for trial in sorted(trials, key=lambda trial: trial.started_ms):
        newest |= _computed_from(trial)
    return [t for t in trials if all(newest[key] == v for key, v in _computed_from(t).items())]


def _computed_from(trial: TrackedTrial) -> dict[tuple[object, ...], str]:
    """What a trial is computed from, each under the settings that ask for it."""
    own = trial.family, trial.seed
    found: dict[tuple[object, ...], str] = {own: trial.baseline_id}
    for tag, asked in ((names.GROUPS_HASH, "client_column"), (names.POOL_HASH, "distill_dataset")):
        if tag in trial.tags:
            found[*own, asked, trial.params[asked]] = trial.tags[tag]
    return found


def named_apart(
    trials: Sequence[TrackedTrial], expected: Expected = NOTHING_EXPECTED
) -> tuple[list[TrackedTrial], Expected]:
    """Trials and plan with short names for models and data sets, and the variant of each trial."""
    models = _tails({trial.params["model"] for trial in trials} | set(expected.models))
    datasets = _tails({trial.params["dataset"] for trial in trials} | set(expected.datasets))
    planned = expected.settings([trial.params for trial in trials])
    naming = Naming.of([*(trial.settings for trial in trials), *planned], expected.clients)

    def where(settings: Settings) -> Place:
        params = settings.params
        return Place(
            models[params["model"]],
            naming.dataset(datasets[params["dataset"]], settings),
            naming.variant(settings),
            naming.axis.of(settings),
            int(params["seed"]),
            int(params["clients"]),
            settings.is_baseline,
        )

    named = []
    for trial in trials:
        place = where(trial.settings)
        named.append(
            replace(trial, model=place.model, dataset=place.dataset, variant=place.variant)
        )
    return named, expected.renamed(models, datasets).placed(planned, where)


def _tails(full: set[str]) -> dict[str, str]:
    """Each name without its folders or its owner on the hub, where that tells it from the rest."""
    tails = {name: on_one_line(Path(name).name) for name in sorted(full)}
    have = list(tails.values())
    alone = {name: tail for name, tail in tails.items() if tail and have.count(tail) == 1}
    return {name: alone.get(name, on_one_line(name)) for name in tails}


def judged(trials: Sequence[TrackedTrial]) -> list[TrackedTrial]:
    """The trials with their summaries, read from the rounds by the rules of the trials' own end."""
    chances = {
        t.tags["fedtune.dataset_hash"]: t.chance for t in trials if "summary/chance" in t.facts
    }
    known = []
    for trial in trials:
        facts = dict(trial.facts) | {"summary/clients": trial.clients}
        chance = chances.get(trial.tags["fedtune.dataset_hash"])
        if chance is None and "data/num_classes" in facts:  # no sibling has ended yet
            chance = 1 / facts["data/num_classes"]
        known.append(replace(trial, facts=facts | {"summary/chance": chance or 0.0}))
    by_id = {trial.trial_id: trial for trial in known}
    return [_with_summary(trial, by_id.get(trial.baseline_id)) for trial in known]


def _with_summary(trial: TrackedTrial, against: TrackedTrial | None) -> TrackedTrial:
    trial = replace(trial, records=trial.rule.read(trial.records))
    told = trial.tags.get(names.OUTCOME, "")
    if not trial.records or "data/test_examples" not in trial.facts:
        return replace(trial, state=told or "not started")
    baseline = base_accuracy = None
    levels: dict[str, float] = {}
    if against is not None and "data/test_examples" in against.facts:
        baseline = read_baseline(against.records, against.rule, against.facts)
        base_accuracy = against.accuracy
        found = {m: level_at_the_end(against, m) for m in ("test/accuracy", trial.rule.metric)}
        levels = {metric: value for metric, value in found.items() if value is not None}
    asked = trial.tags["fedtune.target_accuracy"]
    own = None if asked == "none" else float(asked)
    fraction = float(trial.tags["fedtune.target_fraction"])
    target = choose_target(own, baseline, fraction)
    ended = trial.rule.ended(trial.records, target)
    diverged = not ended and names.DIVERGED in trial.tags
    summary = summarize(
        trial.records,
        trial.rule,
        trial.facts,
        baseline=baseline,
        own_target=own,
        fraction=fraction,
        diverged=diverged,
    )
    state = summary.outcome or ("done" if ended else f"at round {trial.records[-1]['round']}")
    return replace(
        trial,
        baseline=baseline,
        baseline_test_accuracy=base_accuracy,
        baseline_levels=levels,
        baseline_tested=against.tested if against is not None else None,
        summary=summary,
        ended=ended or diverged,
        state=told if told in ("failed", "waiting") and not ended else state,
    )
