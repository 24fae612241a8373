"""What a launch says before it begins: what is trained on what, warnings, and how long it takes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from fedtune.config import TrialConfig
from fedtune.cost.launch_cost import LaunchCost
from fedtune.data.columns import separated
from fedtune.models import heads
from fedtune.models.classifier import drawn_anew
from fedtune.models.configuration import kind_of, read_config
from fedtune.plan.forewarnings import warnings_of
from fedtune.plan.plan import Plan
from fedtune.plan.sweepfile import SweepSpec
from fedtune.terminal import say
from fedtune.trial.facts import data_facts
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import open_examples, open_pool
from fedtune.units import counted


def print_plan(plan: Plan, spec: SweepSpec, store: Path, console: Console) -> None:
    """What is about to be trained on what, what every ``auto`` became, and warnings."""
    federated = sum(not trial.is_baseline for trial in plan.trials)
    baselines = len(plan.trials) - federated
    say(
        console,
        f"Sweep [bold]{plan.name}[/]: {baselines} baseline{'s' * (baselines > 1)} (K = 1) and "
        f"{federated} federated trial{'s' * (federated != 1)}",
    )
    for line in dict.fromkeys(_describe(plan)):
        say(console, escape(line), indent=2)
    for line in warnings_of(plan, spec, store):
        say(console, f"[yellow]warning:[/] {escape(line)}")


def _describe(plan: Plan) -> list[str]:
    lines = []
    for trial in plan.trials:
        config, facts = trial.config, data_facts(trial)
        lines.append(
            f"{_dataset(config)}: {facts['data/train_examples']:,} training and "
            f"{facts['data/test_examples']:,} test {_texts(config)}, "
            f"{facts['data/num_classes']} classes, chance {facts['summary/chance']:.3f} "
            f"(columns {config.text_column}, {config.label_column}){_tested_on(config)}"
        )
        groups = open_examples(trial)[1].train.groups
        if config.partition == "natural" and groups is not None:
            lines.append(_groups(config, groups))
        if config.distils:
            lines.append(_distillation(trial))
        if config.is_one_shot:  # the baseline's line says the rest
            continue
        lines.append(
            f"{config.model}: {facts['model/layers']} layers, {_drawn(trial)}learning_rate "
            f"{config.learning_rate:g}, budget_rounds {config.budget_rounds}, max_rounds "
            f"{config.max_rounds}, precision {config.precision}, device {config.device}, "
            f"threads {config.threads}"
        )
    return sorted(dict.fromkeys(lines), key=lambda line: "layers" in line)


def _distillation(trial: Trial) -> str:
    """What the server does, and of one-shot that it is one round whatever is asked for."""
    config, pool = trial.config, open_pool(trial)
    assert pool is not None
    aside = config.distill_dataset == "none"
    texts = counted(len(pool), "text")
    texts += " set aside from the training data" if aside else f" of {config.distill_dataset}"
    steps, when = counted(int(config.distill_steps), "step"), "after each round"
    if config.is_one_shot:
        epochs = counted(int(config.one_shot_epochs), "local epoch")
        when = f"one round in any case, of {epochs}; after it"
    rate = f"learning_rate {config.distill_learning_rate:g}"
    return f"{config.strategy}: {when} {steps} of distillation on {texts}, {rate}"


def _groups(config: TrialConfig, groups: np.ndarray) -> str:
    """How many groups of examples there are, of which clients are made, and how large they are."""
    sizes = np.unique(groups, return_counts=True)[1]
    least, most = f"{sizes.min():,}", f"{sizes.max():,}"
    return (
        f"{_dataset(config)} by {config.client_column}: {len(sizes):,} values with "
        f"{least if least == most else f'{least} to {most}'} training {_texts(config)} each"
    )


def _drawn(trial: Trial) -> str:
    """The layers that are not the model's own: all that its file lacks, and a former head."""
    directory, head = Path(trial.model_dir), trial.config.head
    own = drawn_anew(directory, open_examples(trial)[1].num_classes)
    kind = str(kind_of(read_config(directory)))
    layers = list(dict.fromkeys([*heads.layers(kind, head), *own]))
    return f"{' and '.join(layers)} drawn anew, " if layers else ""


def _dataset(config: TrialConfig) -> str:
    part = config.dataset_config
    return config.dataset if part == "none" else f"{config.dataset} ({part})"


def _texts(config: TrialConfig) -> str:
    return "pairs of texts" if len(separated(config.text_column)) > 1 else "texts"


def _tested_on(config: TrialConfig) -> str:
    """Which examples are tested on, where that is not the split called test."""
    if config.test_fraction != "none":
        share = f"{100 * config.test_fraction:.3g} %"
        return f"; split here: {share} for testing, stratified, data_seed {config.data_seed}"
    return "" if config.test_split == "test" else f"; tested on the split {config.test_split}"


def print_expectation(cost: LaunchCost, console: Console) -> None:
    """Say how long the launch may take and how many trials run at a time."""
    told = cost.time()
    expected = f"{told[0].upper()}{told[1:]} of computing on this machine."
    say(console, f"{expected} {cost.sharing()}")


def measuring(console: Console) -> AbstractContextManager[object]:
    """Show that this machine is being measured, which takes seconds; on a terminal alone."""
    if not console.is_interactive:
        return nullcontext()
    return console.status("measures how fast this machine trains", spinner="line")
