"""What the rounds of tracked trials amount to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedtune.analysis.tracked import TrackedTrial
from fedtune.tracking import names
from fedtune.trial.stopping import choose_target, read_baseline, summarize

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
