"""From what was asked to what is run: find model and data, check them, settle every ``auto``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from fedtune.config import TrialConfig
from fedtune.errors import BadInput, Fault, Refusal
from fedtune.models.classifier import drawn_anew
from fedtune.models.configuration import architecture_fault
from fedtune.models.heads import is_own
from fedtune.models.zoo import ModelSource, content_hash, find_model
from fedtune.trial.compatibility import data_faults
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import hash_texts, make_examples, make_pool, open_texts
from fedtune.trial.settling import (
    settle_clients,
    settle_device,
    settle_distillation,
    settle_precision,
    settle_rate,
    settle_rounds,
    settle_threads,
)


def prepare(
    config: TrialConfig,
    *,
    num_federated: int = 1,
    elsewhere: bool = False,
    progress: bool = False,
) -> Trial:
    """Settle ``config``: find and check model and data, tokenise where needed, replace every
    ``auto``.

    ``num_federated`` is the number of federated trials in the launch, which share the cores.
    ``elsewhere`` says that it will run on other machines, such that ``cuda`` is taken for there.
    Raises BadInput with every fault that could be found. Writes nothing but caches.
    """
    _check_python()
    config = config.effective()
    model = _model_of(config)
    tokens, examples = make_examples(config, model, progress)
    config = settle_clients(config, examples)
    faults = data_faults(config, tokens, examples, model)
    device, device_faults = settle_device(config.device, elsewhere)
    if faults or device_faults:
        raise BadInput(faults + device_faults)
    budget, cap = settle_rounds(config)
    rate, pool = settle_rate(config, model), examples.distill
    pool_dir = None
    if config.distill_dataset != "none":
        pool_dir = make_pool(config, model, tokens, progress)
        pool = open_texts(pool_dir)
    if is_own(model.directory, config.head):
        config = config.replace(head="own")
    timed = config.replace(budget_rounds=budget, max_rounds=cap)
    settled = timed.replace(
        dataset_config=tokens.dataset_config,
        test_split=tokens.test_split,
        test_fraction=examples.test_fraction or "none",
        text_column=tokens.text_column,
        label_column=tokens.label_column,
        learning_rate=rate,
        precision=settle_precision(config.precision, device, model),
        device=device,
        threads=settle_threads(config, num_federated),
        **settle_distillation(timed, len(pool) if pool else 0, rate),
    )
    return Trial(
        config=settled,
        asked_precision=config.precision,
        model_hash=content_hash(model.directory),
        dataset_hash=examples.content_hash,
        model_dir=str(model.directory),
        tokens_dir=str(tokens.directory),
        groups_hash=examples.groups_hash if config.partition == "natural" else "",
        pool_hash=hash_texts(pool) if pool_dir and pool else "",
        pool_dir=str(pool_dir or ""),
    )


def prepare_all(configs: Sequence[TrialConfig], **how: Any) -> list[Trial]:
    """``prepare`` for a whole launch; BadInput carries the faults of all trials, each line once."""
    trials: list[Trial] = []
    faults: dict[str, Fault] = {}
    for config in configs:
        try:
            trials.append(prepare(config, **how))
        except BadInput as bad:
            faults |= {str(fault): fault for fault in bad.faults}
    if faults:
        raise BadInput(faults.values())
    return trials


def _check_python() -> None:
    if sys.flags.optimize > 1:
        what = "Python runs without docstrings (PYTHONOPTIMIZE=2 or python -OO), and transformers"
        raise Refusal(f"{what} cannot be imported then; unset PYTHONOPTIMIZE, or set it to 1")


def _model_of(config: TrialConfig) -> ModelSource:
    """The model, looked at before texts are read. Raises BadInput where it cannot be trained."""
    model = find_model(config.model)
    fault = architecture_fault(model.directory)
    if fault:
        raise BadInput.of("model", config.model, fault)
    drawn_anew(model.directory)
    return model
