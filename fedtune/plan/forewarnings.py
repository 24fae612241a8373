"""What a user should know of a plan before it is launched."""

from __future__ import annotations

from pathlib import Path

from fedtune.config import TrialConfig
from fedtune.models.zoo import PAPER_LEARNING_RATE, card_learning_rate
from fedtune.plan.plan import Plan
from fedtune.plan.plan_file import earlier_plan
from fedtune.plan.sweepfile import SweepSpec
from fedtune.trial.identity import Trial
from fedtune.trial.prepare import data_facts, open_examples


def warnings_of(plan: Plan, spec: SweepSpec, store: Path) -> list[str]:
    """What a user should know before the launch starts: settings without effect, hopeless plans,
    siblings of earlier launches that were run to another length.
    """
    lines = list(spec.unused_overrides()) + _other_lengths(plan, store)
    lines += _fractions_without_effect(plan, spec)
    for trial in plan.trials:
        lines += settings_without_effect(trial.config)
        lines += _classes_alike(trial)
        lines += _cannot_learn(trial)
    return list(dict.fromkeys(lines))


#: The longest path (rate x sequential steps) after which a trial has been seen at chance. Of 162
#: published trials with miniatures (docs/results/mini-study) one was at 0.4, and none beyond. Other
#: models: the paper's DistilBERT on IMDB at K = 32 after 100 rounds (Fig. 1), 4,800 steps of 2e-5.
_SEEN_AT_CHANCE = {True: 0.4, False: 0.096}


def _other_lengths(plan: Plan, store: Path) -> list[str]:
    earlier = earlier_plan(store, plan.name)
    if earlier is None or not plan.grows:
        return []
    now = {trial.baseline_id: trial.config for trial in plan.trials}
    differing: dict[str, set[int]] = {}
    for trial in earlier.trials:
        config = now.get(trial.baseline_id)
        if config is None or trial.trial_id in plan.by_id():
            continue
        for name in ("budget_rounds", "max_rounds", "stop"):
            theirs = getattr(trial.config, name)
            if theirs != getattr(config, name):
                differing.setdefault(f"{name} {theirs}", set()).add(trial.config.clients)
    return [
        f"{plan.name} has K = {', '.join(map(str, sorted(clients)))} with {what} from an earlier "
        "launch; name them in --clients too, and they go on as asked for now"
        for what, clients in differing.items()
    ]


def _fractions_without_effect(plan: Plan, spec: SweepSpec) -> list[str]:
    """A line for every data set that has a test split and was asked to be split."""
    whole = {trial.config.dataset for trial in plan.trials if trial.config.test_fraction == "none"}
    return [
        f"test_fraction={config.test_fraction} has no effect on {config.dataset}: it has a test "
        "split of its own"
        for config in spec.configs()
        if config.test_fraction != "none" and config.dataset in whole
    ]


def _classes_alike(trial: Trial) -> list[str]:
    """A line for classes whose names are one word, written in several ways."""
    spellings: dict[str, list[str]] = {}
    for name in open_examples(trial)[1].label_names:
        spellings.setdefault(" ".join(name.casefold().split()), []).append(name)
    return [
        f"{trial.config.dataset} has classes that differ in spaces or capitals alone: "
        f"{', '.join(map(repr, names))}"
        for names in spellings.values()
        if len(names) > 1
    ]


def _cannot_learn(trial: Trial) -> list[str]:
    config = trial.config
    if config.client_optimizer != "sgd":
        return []
    # The name may be that of another machine, so the model's card tells whether it is a miniature.
    has_card = card_learning_rate(Path(trial.model_dir)) != PAPER_LEARNING_RATE
    steps = data_facts(trial)["steps/per_round"] * trial.stop_rule.last
    path = float(config.learning_rate) * steps / (1 - config.momentum)
    seen = _SEEN_AT_CHANCE[has_card]
    if path >= seen:
        return []
    return [
        f"clients={config.clients} on {config.dataset} may learn nothing: learning_rate "
        f"{config.learning_rate:g} x {steps} sequential steps is {path:.2g}, and published trials "
        f"have stayed at chance up to {seen:g}; raise learning_rate or max_rounds"
    ]


def settings_without_effect(config: TrialConfig) -> list[str]:
    """A line for every setting that was changed and does nothing in this combination."""
    lines = []
    if config.client_optimizer == "adamw" and config.momentum:
        lines.append(f"momentum={config.momentum} has no effect: AdamW has betas of its own")
    if config.target_accuracy != "none" and config.target_fraction != 0.9:
        lines.append(
            f"target_fraction={config.target_fraction} has no effect: "
            f"target_accuracy={config.target_accuracy} is given"
        )
    draws = config.validation_examples or config.balance_classes or config.test_fraction != "none"
    whole = config.train_examples == config.test_examples == "all"
    if config.data_seed and whole and not draws:
        lines.append(f"data_seed={config.data_seed} has no effect: nothing is drawn from the data")
    return lines
