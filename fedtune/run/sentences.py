"""What a comparison shows, in words: a sentence for each model and data set."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fedtune.config import TrialConfig
from fedtune.plan.plan import Plan
from fedtune.run.launch import LaunchResult
from fedtune.trial.results import Result
from fedtune.trial.stopping import Summary, chance_error, read_baseline

#: So many sentences are read; the table has the rest.
_MOST = 6

_REMEDY = "raise learning_rate, budget_rounds or train_examples"


class _Seed(NamedTuple):
    """Of one seed: the trial with the most clients (the baseline, where there is no other) and the
    baseline that it is held against.
    """

    baseline: Result
    result: Result

    @property
    def summary(self) -> Summary:
        assert self.result.summary is not None
        return self.result.summary


def sentences(plan: Plan, report: LaunchResult) -> list[str]:
    """What the most clients cost each model on each data set, and with each other setting.

    What has not ended, or failed, is left to the table.
    """
    told = [_sentence(*key, list(seeds.values())) for key, seeds in _compared(plan, report).items()]
    told = [sentence for sentence in told if sentence]
    if len(told) > _MOST:
        told[_MOST:] = [f"Of {len(told) - _MOST} more comparisons see the table."]
    return told


def _compared(plan: Plan, report: LaunchResult) -> dict[tuple[str, str], dict[str, _Seed]]:
    """By what is trained (with the settings that vary) and data set: by baseline, one per seed."""
    by_id = {result.trial.trial_id: result for result in report.results}
    others = [axis for axis in plan.axes if axis not in ("model", "dataset", "clients", "seed")]
    found: dict[tuple[str, str], dict[str, _Seed]] = {}
    for result in sorted(report.results, key=lambda result: result.trial.config.num_clients):
        config, baseline = result.trial.config, by_id.get(result.trial.baseline_id)
        if baseline is None or baseline.summary is None:  # a Tune script may have run none
            continue
        values = ((axis, config.called(axis)) for axis in others)
        named = ", ".join(f"{axis} {value}" for axis, value in values if value != "")
        model = Path(config.model).name + (f" with {named}" if named else "")
        seeds = found.setdefault((model, Path(config.dataset).name), {})
        seeds[result.trial.baseline_id] = _Seed(baseline, result)
    return {
        key: {which: seed for which, seed in seeds.items() if _has_ended(seed.result, report)}
        for key, seeds in found.items()
    }


def _has_ended(result: Result, report: LaunchResult) -> bool:
    left = report.failed.keys() | report.waiting.keys()
    return result.summary is not None and result.ended and result.trial.trial_id not in left


def _sentence(model: str, dataset: str, seeds: Sequence[_Seed]) -> str:
    hopeless = [seed.baseline for seed in seeds if _is_at_chance(seed.baseline)]
    if hopeless:
        where = f"{model} on {dataset} learned nothing in one place"
        return f"{where}{_of(hopeless, seeds)}: {_chance(hopeless)}; {_REMEDY}."
    most = max((seed.result.trial.config.num_clients for seed in seeds), default=1)
    federated = [seed for seed in seeds if seed.result.trial.config.num_clients == most > 1]
    if not federated:
        return ""
    spread = f"Spread over {most} clients, {model}"
    diverged = [seed.result for seed in federated if seed.result.diverged]
    at_chance = [s.result for s in federated if s.summary.collapsed and not s.result.diverged]
    if len(diverged) == len(federated):
        remedy = _against_divergence(diverged[0].trial.config)
        return f"{spread} diverged on {dataset} ({diverged[0].diverged}): {remedy}."
    if len(at_chance) == len(federated):
        alone = statistics.median(s.summary.baseline_accuracy or 0.0 for s in federated)
        return f"{spread} learned nothing on {dataset}: {_chance(at_chance)} (K = 1: {alone:.3f})."
    besides = "".join(
        f" It {what}{_of(those, federated)}."
        for what, those in (("diverged", diverged), ("learned nothing", at_chance))
        if those
    )
    return _target(spread, dataset, federated) + besides


def _against_divergence(config: TrialConfig) -> str:
    """Whose steps may be too large: the clients', or also those of the server's optimiser."""
    if config.server_optimizer == "none":
        return "lower learning_rate"
    rates = "lower server_learning_rate or learning_rate"
    return rates if config.server_optimizer == "momentum" else f"{rates}, or raise server_tau"


def _target(spread: str, dataset: str, seeds: Sequence[_Seed]) -> str:
    """Whether and when the target was reached; "" where no trial had one."""
    aimed = [seed for seed in seeds if seed.summary.outcome in ("reached", "not_reached")]
    if not aimed:
        return ""
    reached = [seed.result for seed in aimed if seed.summary.outcome == "reached"]
    first, rule = aimed[0], aimed[0].result.trial.stop_rule
    several = len(seeds) > 1
    target = "its target" if several else f"the target of {first.summary.target_accuracy:.3f}"
    alone = _rounds([seed.baseline for seed in aimed]) or "more rounds than its budget"
    taken = _rounds([seed.result for seed in aimed])
    if reached:
        when = f"after {taken}" if taken else f"within {rule.last} rounds"
        text = f"{spread} reaches {target} on {dataset}{_of(reached, seeds)} {when}"
    else:
        ends = statistics.median(_last(seed.result) for seed in aimed)
        text = (
            f"{spread} does not reach {target} on {dataset} within {rule.last} rounds "
            f"(it ends at {ends:.3f})"
        )
    return f"{text}; one client needs {alone}."


def _rounds(results: Sequence[Result]) -> str:
    """Rounds and steps to target, the median; "" where half or more did not reach it."""
    summaries = [result.summary for result in results]
    rounds = statistics.median((s and s.rounds_to_target) or math.inf for s in summaries)
    steps = statistics.median((s and s.steps_to_target) or math.inf for s in summaries)
    if not math.isfinite(rounds):
        return ""
    middle = " in the median" if len(results) > 1 else ""
    return f"{rounds:g} round{'s' * (rounds != 1)}{middle} ({steps:,.0f} sequential steps)"


def _is_at_chance(baseline: Result) -> bool:
    found = read_baseline(baseline.records, baseline.trial.stop_rule, baseline.facts)
    return found is not None and not found.above_chance


def _chance(results: Sequence[Result]) -> str:
    """``0.310, which is chance (0.237 ± 0.062)``: the median accuracy, and what chance may give."""
    shown = [result.summary.shown for result in results if result.summary]
    accuracy = statistics.median(each.accuracy for each in shown if each)
    facts, metric = results[0].facts, results[0].trial.stop_rule.metric
    chance = facts["summary/chance"]
    error = chance_error(chance, facts[f"data/{metric.partition('/')[0]}_examples"])
    return f"{accuracy:.3f}, which is chance ({chance:.3f} ± {error:.3f})"


def _last(result: Result) -> float:
    metric = result.trial.stop_rule.metric
    return next(float(r[metric]) for r in reversed(result.records) if metric in r)


def _of(some: Sequence[object], seeds: Sequence[_Seed]) -> str:
    return f" in {len(some)} of {len(seeds)} seeds" if len(seeds) > 1 else ""
