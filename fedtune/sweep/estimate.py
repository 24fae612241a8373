"""What a plan will cost: steps, memory, time. Estimates, and printed as such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedtune.models.classifier import describe
from fedtune.trial.federation import BYTES_PER_PARAMETER, Federation
from fedtune.trial.identity import Trial
from fedtune.trial.prepare import available_cores, data_facts

#: What a worker holds before it has loaded a model: Python, PyTorch, transformers, Ray. (397 MB
#: were seen on Linux with the CPU build of PyTorch 2.13.)
_PROCESS_BYTES = 450e6

#: The calibration trains on this many batches, after one that is not counted.
_CALIBRATION_STEPS = 3


@dataclass(frozen=True)
class Rates:
    """Measured speed of one model on one data set, in examples a second."""

    train: float
    evaluate: float
    num_parameters: int


@dataclass(frozen=True)
class Cost:
    """What one trial costs at the most."""

    rounds: int
    steps: int
    traffic_bytes: int
    memory_bytes: float
    seconds: float


def calibrate(trials: Sequence[Trial]) -> dict[tuple[str, str, int], Rates]:
    """Train and evaluate each model x data set x threads for a moment on this machine."""
    rates = {}
    for trial in trials:
        key = _key(trial)
        if key not in rates:
            rates[key] = _measure(trial)
    return rates


def cost(trial: Trial, rates: dict[tuple[str, str, int], Rates]) -> Cost:
    """The most that ``trial`` can cost: it may stop sooner at its target."""
    facts, rule, config = data_facts(trial), trial.stop_rule, trial.config
    measured = rates[_key(trial)]
    seen = facts["data/train_examples"] * config.local_epochs
    looks = sum(rule.evaluates(r) for r in range(rule.last + 1))
    tested = facts["data/test_examples"] + facts.get("data/validation_examples", 0)
    parameters = measured.num_parameters
    traffic = 2 * config.clients * BYTES_PER_PARAMETER * parameters * rule.last
    return Cost(
        rounds=rule.last,
        steps=rule.last * facts["steps/per_round"],
        traffic_bytes=traffic if config.clients > 1 else 0,
        memory_bytes=_memory(trial, parameters),
        seconds=rule.last * seen / measured.train + looks * tested / measured.evaluate,
    )


def wall_time(trials: Sequence[Trial], costs: Sequence[Cost]) -> float:
    """Seconds for the whole launch on this machine when its trials share the cores."""
    total = sum(c.seconds for c in costs)
    slots = max(available_cores() // max(int(t.config.threads) for t in trials), 1)
    longest = max(c.seconds for c in costs)
    return max(total / min(slots, len(trials)), longest)


def _key(trial: Trial) -> tuple[str, str, int]:
    return trial.model_hash, trial.dataset_hash, int(trial.config.threads)


def _measure(trial: Trial) -> Rates:
    # At a rate that moves nothing: a trial that diverges does so when it runs, and is a result.
    still = trial.config.replace(learning_rate=1e-12, weight_decay=0.0)
    federation = Federation(replace(trial, config=still))
    return Rates(*federation.measure(_CALIBRATION_STEPS), federation.flat.num_parameters)


def _memory(trial: Trial, num_parameters: int) -> float:
    """Parameters, gradient, server, running sum (and two moments of AdamW), plus activations.

    A transformer layer keeps about s·b·h·(34 + 5·a·s/h) bytes of activations in 16-bit precision
    (Korthikanti et al. 2022, equation 2; s tokens, b texts, h width, a heads), twice that in fp32.
    """
    shape, config = describe(Path(trial.model_dir)), trial.config
    copies = 4 + 2 * (config.client_optimizer == "adamw")
    width, heads = shape["hidden_size"] or 768, shape["heads"] or 12
    per_token = width * (34 + 5 * heads * config.max_length / width)
    activations = 2 * shape["layers"] * config.max_length * config.batch_size * per_token
    return _PROCESS_BYTES + copies * BYTES_PER_PARAMETER * num_parameters + activations
