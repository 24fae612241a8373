"""What a user should know of a plan before it is launched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fedtune.config import TrialConfig
from fedtune.models.heads import is_of_transformers
from fedtune.models.zoo import PAPER_LEARNING_RATE, card_learning_rate
from fedtune.plan.plan import Plan
from fedtune.plan.plan_file import earlier_plan
from fedtune.plan.sweepfile import SweepSpec
from fedtune.trial.by_step import steps_within
from fedtune.trial.facts import data_facts
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import open_examples
from fedtune.units import counted


def warnings_of(plan: Plan, spec: SweepSpec, store: Path) -> list[str]:
    """What a user should know before the launch starts: settings without effect, hopeless plans,
    siblings of earlier launches that were run to another length.
    """
    lines = list(spec.unused_overrides()) + _other_lengths(plan, store)
    lines += spec.settings_without_effect() + _fractions_without_effect(plan, spec)
    lines += _heads(plan, spec)
    lines += _one_round(plan, spec) + _computed_twice(plan) + _set_aside_for_nobody(plan)
    for trial in plan.trials:
        lines += settings_without_effect(trial.config)
        lines += _names_alike(trial) + _never_evaluated(trial)
        lines += _cannot_learn(trial) + _rate_not_its_own(trial.config)
    return list(dict.fromkeys(lines))


#: The longest path (rate x sequential steps) after which a trial has been seen at chance. Of 162
#: published trials with miniatures (docs/results/mini-study) one was at 0.4, and none beyond. Other
#: models: the paper's DistilBERT on IMDB at K = 32 after 100 rounds (Fig. 1), 4,800 steps of 2e-5.
_SEEN_AT_CHANCE = {True: 0.4, False: 0.096}


def _other_lengths(plan: Plan, store: Path) -> list[str]:
    earlier = earlier_plan(store, plan.name)
    if earlier is None or not plan.grows:
        return []
    # one-shot has its own length, which is one round
    now = {t.baseline_id: t.config for t in plan.trials if not t.config.is_one_shot}
    differing: dict[str, set[int]] = {}
    for trial in earlier.trials:
        if trial.config.is_one_shot:
            continue
        config = now.get(trial.baseline_id)
        if config is None or trial.trial_id in plan.by_id():
            continue
        for name in ("budget_rounds", "max_rounds", "stop"):
            theirs = getattr(trial.config, name)
            if theirs != getattr(config, name):
                differing.setdefault(f"{name} {theirs}", set()).add(trial.config.num_clients)
    return [
        f"{plan.name} has K = {', '.join(map(str, sorted(clients)))} with {what} from an earlier "
        "launch; name them in --clients too, and they go on as asked for now"
        for what, clients in differing.items()
    ] + _other_one_shots(plan, earlier)


def _other_one_shots(plan: Plan, earlier: Plan) -> list[str]:
    """A line where one-shot was run to another length, which makes it another trial."""
    lengths: dict[str, None] = {}
    now = {_but_for_length(trial) for trial in plan.trials if trial.config.is_one_shot}
    for trial in earlier.trials:
        config = trial.config
        if trial.trial_id in plan.by_id() or not config.is_one_shot:
            continue
        if _but_for_length(trial) in now:
            lengths[
                f"one-shot with one_shot_epochs {config.one_shot_epochs} and distill_steps "
                f"{config.distill_steps}"
            ] = None
    return [
        f"{plan.name} keeps {which} from an earlier launch, beside the trials of now and against "
        "the baseline as asked for now; give a --name of its own to compare without it"
        for which in lengths
    ]


def _but_for_length(trial: Trial) -> str:
    """The name of a one-shot trial without what follows from its budget."""
    auto = {"one_shot_epochs": "auto", "distill_steps": "auto"}
    return replace(trial, config=trial.config.model_copy(update=auto)).trial_id


def _fractions_without_effect(plan: Plan, spec: SweepSpec) -> list[str]:
    """A line for every data set that has a test split and was asked to be split."""
    whole = {trial.config.dataset for trial in plan.trials if trial.config.test_fraction == "none"}
    return [
        f"test_fraction={config.test_fraction} has no effect on {config.dataset}: it has a test "
        "split of its own"
        for config in spec.configs()
        if config.test_fraction != "none" and config.dataset in whole
    ]


def _heads(plan: Plan, spec: SweepSpec) -> list[str]:
    """A line for a head that is the model's own, and for one that transformers has not on it."""
    asked = {(config.model, config.head) for config in spec.configs() if config.head != "own"}
    used = {(trial.config.model, trial.config.head) for trial in plan.trials}
    lines = [
        f"head={head} has no effect on {model}: it is its own"
        for model, head in sorted(asked - used)
    ]
    foreign = {
        (trial.config.model, trial.config.head)
        for trial in plan.trials
        if not is_of_transformers(Path(trial.model_dir), trial.config.head)
    }
    return lines + [
        f"head={head} on {model} is unknown to transformers: a model that it loads from a "
        "checkpoint gives other scores, and --log-model leaves such models out"
        for model, head in sorted(foreign)
    ]


def _one_round(plan: Plan, spec: SweepSpec) -> list[str]:
    """A line for every setting of how long trials run, where one-shot is all that there is."""
    federated = [trial for trial in plan.trials if not trial.is_baseline]
    if not federated or not all(trial.config.is_one_shot for trial in federated):
        return []
    fields = TrialConfig.model_fields
    asked = {
        f"{name}={value}"
        for config in spec.configs()
        for name in ("max_rounds", "stop")
        if (value := getattr(config, name)) != fields[name].default
    }
    lines = [f"{each} has no effect: one-shot is one round" for each in sorted(asked)]
    rare = sorted({trial.config.eval_every for trial in federated} - {1})
    return lines + [
        f"eval_every={number} has no effect on one-shot: its only round is evaluated"
        for number in rare
    ]


def _computed_twice(plan: Plan) -> list[str]:
    """A line for one-shot trials that differ in local_epochs alone, which plays no part in them.

    Their baselines differ, so they are not one trial.
    """
    alike: dict[str, set[TrialConfig]] = {}
    for trial in plan.trials:
        if trial.config.is_one_shot:
            same = trial.config.model_copy(update={"local_epochs": 1})
            alike.setdefault(replace(trial, config=same).trial_id, set()).add(trial.config)
    found: dict[tuple[int, ...], set[int]] = {}
    for configs in alike.values():
        epochs = tuple(sorted({config.local_epochs for config in configs}))
        if len(epochs) > 1:
            found.setdefault(epochs, set()).update(c.num_clients for c in configs)
    return [
        f"one-shot at K = {', '.join(map(str, sorted(clients)))} is computed {len(epochs)} times "
        f"for local_epochs {', '.join(map(str, epochs))}: with one_shot_epochs given, these change "
        "the baselines alone"
        for epochs, clients in found.items()
    ]


def _set_aside_for_nobody(plan: Plan) -> list[str]:
    """A line where texts are set aside that no trial distils on."""
    if any(trial.config.distils for trial in plan.trials):
        return []
    numbers = sorted({trial.config.distill_examples for trial in plan.trials} - {0})
    return [
        f"distill_examples={number} sets texts aside that no trial of this sweep distils on; "
        "strategies feddf and one-shot do"
        for number in numbers
    ]


#: So many are told of values that look alike, of which there may be thousands.
_MOST_ALIKE = 3


def _names_alike(trial: Trial) -> list[str]:
    """A line for classes, or for values that clients are made of, whose names are one word, written
    in several ways.
    """
    config, examples = trial.config, open_examples(trial)[1]
    named = {"classes": examples.label_names}
    if config.partition == "natural":
        named[f"values of {config.client_column}"] = examples.group_names
    lines = []
    for what, names in named.items():
        spellings: dict[str, list[str]] = {}
        for name in names:
            spellings.setdefault(" ".join(name.casefold().split()), []).append(name)
        alike = [spelt for spelt in spellings.values() if len(spelt) > 1]
        lines += [
            f"{config.dataset} has {what} that differ in spaces or capitals alone: "
            f"{', '.join(map(repr, spelt))}"
            for spelt in (alike if what == "classes" else alike[:_MOST_ALIKE])
        ]
    return lines


def _never_evaluated(trial: Trial) -> list[str]:
    """A line where a baseline has none of the steps after which it is to be evaluated."""
    asked = trial.config.eval_steps
    if not trial.is_baseline or asked == "none":
        return []
    last = trial.stop_rule.last * data_facts(trial)["steps/per_round"]
    if steps_within(asked, 0, last):
        return []
    return [f"eval_steps={asked} has no effect: the baseline has {counted(last, 'step')}"]


def _cannot_learn(trial: Trial) -> list[str]:
    """A line for clients that take too few steps at their rate, and for one-shot's server, whose
    student starts from what the clients started from.
    """
    config = trial.config
    if config.client_optimizer != "sgd":
        return []
    # The name may be that of another machine, so the model's card tells whether it is a miniature.
    has_card = card_learning_rate(Path(trial.model_dir)) != PAPER_LEARNING_RATE
    seen = _SEEN_AT_CHANCE[has_card]
    steps = {"learning_rate": data_facts(trial)["steps/per_round"] * trial.stop_rule.last}
    longer = {"learning_rate": _length(config), "distill_learning_rate": "distill_steps"}
    if config.is_one_shot:
        steps["distill_learning_rate"] = config.distill_steps
    strategy = "" if config.is_baseline else f" with {config.called('strategy')}"
    lines = []
    for field, number in steps.items():
        rate = float(getattr(config, field))
        path = rate * number / (1 - config.momentum)
        what = "sequential steps" if field == "learning_rate" else "steps of distillation"
        if path < seen:
            lines.append(
                f"clients={config.clients}{strategy} on {config.dataset} may learn nothing: "
                f"{field} {rate:g} x {number} {what} is {path:.2g}, and published trials have "
                f"stayed at chance up to {seen:g}; raise {field} or {longer[field]}"
            )
    return lines


def _length(config: TrialConfig) -> str:
    """The setting that lets the clients of a trial take more steps."""
    if config.is_one_shot:
        return "one_shot_epochs"
    return "budget_rounds" if config.is_baseline else "max_rounds"


def _rate_not_its_own(config: TrialConfig) -> list[str]:
    if config.server_optimizer not in ("adagrad", "adam", "yogi"):
        return []
    default = TrialConfig.model_fields["server_learning_rate"].default
    if config.server_learning_rate != default:
        return []
    return [
        f"server_learning_rate {default:g} suits the mean of the clients' changes, and "
        f"{config.server_optimizer} divides each change by its size: give it a rate of its own "
        "(0.001 to 0.1, say), settled on a validation split"
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
    draws = config.validation_examples or config.distill_examples or config.balance_classes
    draws = draws or config.test_fraction != "none"
    whole = config.train_examples == config.test_examples == "all"
    if config.data_seed and whole and not draws:
        lines.append(f"data_seed={config.data_seed} has no effect: nothing is drawn from the data")
    return lines
