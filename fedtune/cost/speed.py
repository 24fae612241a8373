"""How fast trials run on this machine: by the logs of earlier ones, else by training a little."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fedtune.errors import BadInput, Refusal, first_line
from fedtune.federated.local import Diverged
from fedtune.machine import device_exists
from fedtune.provenance import hardware
from fedtune.trial.device import DEVICE_ERRORS
from fedtune.trial.facts import data_facts
from fedtune.trial.federation import Federation
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import partition_of
from fedtune.trial.speed import measure

#: The calibration takes the median over this many batches, after as many that are not counted.
_CALIBRATION_STEPS = 3

#: Of a trial that has run, the last rounds tell its speed, at most so many.
_LAST_ROUNDS = 10


@dataclass(frozen=True)
class Rates:
    """Measured speed of one model on one data set, in examples a second."""

    train: float
    evaluate: float
    num_parameters: int


#: What trials share whose speed is the same.
Kind = tuple[object, ...]


def kind_of(trial: Trial) -> Kind:
    """What decides the speed of ``trial``, so that trials that have it in common share a rate."""
    config = trial.config
    return (
        *(trial.model_hash, trial.dataset_hash, largest_step(trial), config.threads),
        *(config.precision, config.device, config.attention_mask, config.client_optimizer),
    )


def largest_step(trial: Trial) -> int:
    """The texts of a local step: a batch, or all of the largest client's where it has fewer."""
    return min(trial.config.batch_size, max(partition_of(trial).sizes))


def rates_in_store(store: Path, trials: Sequence[Trial]) -> dict[Kind, Rates]:
    """The speed of each kind of trial that has run on this machine, by the log of the longest."""
    rates: dict[Kind, Rates] = {}
    longest: dict[Kind, int] = {}
    for trial in trials:
        if trial.config.distils:  # what its server does is in these times too
            continue
        folder, kind = TrialFolder(store, trial.trial_id), kind_of(trial)
        records = folder.records()
        if len(records) <= max(longest.get(kind, 0), 1) or not _ran_here(trial, folder):
            continue
        last = records[-_LAST_ROUNDS:]
        looks = [r["time/eval_s"] for r in last if "time/eval_s" in r]
        speeds = [r[key] for r in last if (key := "throughput/examples_per_s") in r]
        parameters = folder.read_config().get("model/parameters")
        if looks and speeds and parameters:
            longest[kind] = len(records)
            evaluate = evaluated(data_facts(trial)) / statistics.median(looks)
            rates[kind] = Rates(statistics.median(speeds), evaluate, parameters)
    return rates


def evaluated(facts: Mapping[str, Any]) -> int:
    """The examples that are looked at in an evaluation."""
    return int(facts["data/test_examples"] + facts.get("data/validation_examples", 0))


def _ran_here(trial: Trial, folder: TrialFolder) -> bool:
    device = str(trial.config.device)
    return device_exists(device) and folder.read_config().get("hardware") == hardware(device)


def calibrate(
    trials: Sequence[Trial], known: Mapping[Kind, Rates] = MappingProxyType({})
) -> dict[Kind, Rates]:
    """The speed of each kind of trial: what is ``known``, else from training for a moment here.

    A second or so for each kind on a usual machine. Nothing else should run meanwhile.
    """
    rates = dict(known)
    for trial in trials:
        kind = kind_of(trial)
        if kind not in rates:
            rates[kind] = _calibrated(trial)
    return rates


def _calibrated(trial: Trial) -> Rates:
    try:
        return _measure(trial)
    except (Refusal, Diverged, *DEVICE_ERRORS):
        raise
    except Exception as error:  # whatever the model's own code raises; it would in every trial
        raise BadInput.of(
            "model",
            trial.config.model,
            f"a step of its training fails ({type(error).__name__}: {first_line(error)}); see that "
            "it trains in transformers alone",
        ) from error


def _measure(trial: Trial) -> Rates:
    # At a rate that moves nothing: a trial that diverges does so when it runs, and is a result.
    device = trial.config.device if device_exists(str(trial.config.device)) else "cpu"
    still = trial.config.replace(learning_rate=1e-12, weight_decay=0.0, device=device)
    federation = Federation(replace(trial, config=still))
    measured = measure(federation, _CALIBRATION_STEPS)
    rates = Rates(*measured, federation.flat.num_parameters)
    if device.startswith("cuda"):
        import torch

        federation.flat.drop_graphs()  # the trials need the room on the GPU
        del federation
        gc.collect()
        torch.cuda.empty_cache()
    return rates
