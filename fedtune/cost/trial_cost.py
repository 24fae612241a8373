"""What a trial will take: steps, traffic, memory, time. Estimates, and printed as such."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np

from fedtune.data.splits import Examples
from fedtune.data.token_arrays import Split
from fedtune.errors import BadInput, Refusal, first_line
from fedtune.federated.client_vectors import ClientVectors
from fedtune.federated.cohort import cohort_size
from fedtune.federated.evaluation import EVALUATION_TOKENS
from fedtune.federated.local import Diverged
from fedtune.federated.strategies import STRATEGIES
from fedtune.federated.strategy import BYTES_PER_PARAMETER, bytes_sent
from fedtune.machine import device_exists
from fedtune.models.configuration import describe, read_config
from fedtune.models.packed import can_pack
from fedtune.models.weights import num_parameters
from fedtune.provenance import hardware
from fedtune.trial.device import DEVICE_ERRORS
from fedtune.trial.facts import data_facts
from fedtune.trial.federation import Federation
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import open_examples, partition_of
from fedtune.trial.speed import measure

BYTES_PER_TOKEN = 4  # int32, on the device

#: What a worker holds beside its model and its data: Python, PyTorch, transformers, Ray.
_PROCESS_BYTES = 650e6
#: The same with CUDA's libraries, and what CUDA keeps on the GPU for each process. (Not measured.)
_CUDA_PROCESS_BYTES, _CUDA_CONTEXT_BYTES = 2.5e9, 0.8e9
#: Allocators keep more than is in use: blocks of sizes that were needed before. With it the peaks
#: of the miniatures on bbc-news (701 to 847 MB) and of a BERT of 12 layers, width 768, in bf16 on
#: IMDB (5.2 GB) were met to 15 %, never short by more than 5 %, on Linux without a GPU.
_ALLOCATOR = 1.25

#: The calibration takes the median over this many batches, after as many that are not counted.
_CALIBRATION_STEPS = 3

#: Of a trial that has run, the last rounds tell its speed, at most so many.
_LAST_ROUNDS = 10


@dataclass(frozen=True)
class Need:
    """Bytes that a trial takes while it runs: of the machine's memory, and of a GPU's (0 without
    one).
    """

    memory: float
    gpu_memory: float


@dataclass(frozen=True)
class Rates:
    """Measured speed of one model on one data set, in examples a second."""

    train: float
    evaluate: float
    num_parameters: int


@dataclass(frozen=True)
class Cost:
    """What one trial still costs at the most. ``steps`` are sequential: those of one client.

    ``least_seconds`` is what it takes where the target is met as early as can be.
    """

    rounds: int
    steps: int
    traffic_bytes: int
    seconds: float
    least_seconds: float


#: What trials share whose speed is the same.
Kind = tuple[object, ...]


def rates_in_store(store: Path, trials: Sequence[Trial]) -> dict[Kind, Rates]:
    """The speed of each kind of trial that has run on this machine, by the log of the longest."""
    rates: dict[Kind, Rates] = {}
    longest: dict[Kind, int] = {}
    for trial in trials:
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
            evaluate = _evaluated(data_facts(trial)) / statistics.median(looks)
            rates[kind] = Rates(statistics.median(speeds), evaluate, parameters)
    return rates


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
            rates[kind] = _measured(trial)
    return rates


def cost(trial: Trial, rates: Mapping[Kind, Rates], after: int | None = None) -> Cost:
    """The most that ``trial`` can cost (it may stop sooner at its target), ``after`` a round that
    is in the store already.
    """
    facts, rule, config = data_facts(trial), trial.stop_rule, trial.config
    measured = rates[kind_of(trial)]
    rounds = rule.last - (after or 0)
    cohort = cohort_size(config.num_clients, config.participation)
    seen = facts["data/train_examples"] * config.local_epochs * cohort / config.num_clients

    def seconds(last: int) -> float:
        first = 0 if after is None else after + 1
        looks = rule.evaluations(first, last)
        trained: float = max(last - (after or 0), 0) * seen / measured.train
        return trained + looks * _evaluated(facts) / measured.evaluate

    sent = bytes_sent(STRATEGIES[config.strategy], measured.num_parameters)
    return Cost(
        rounds=rounds,
        steps=rounds * facts["steps/per_round"],
        traffic_bytes=0 if trial.is_baseline else rounds * cohort * sent,
        seconds=seconds(rule.last),
        least_seconds=seconds(max(rule.first, (after or 0) + 1)),
    )


def _evaluated(facts: Mapping[str, Any]) -> int:
    """The examples that are looked at in an evaluation."""
    return int(facts["data/test_examples"] + facts.get("data/validation_examples", 0))


def wall_time(trials: Sequence[Trial], each: Sequence[float], slots: int) -> float:
    """Seconds for the whole launch, with ``slots`` trials at a time, where ``each`` takes so many.

    The work spread over the slots; or, if that is longer, the longest baseline with a sibling,
    which has to wait for it.
    """
    seconds = dict(zip((trial.trial_id for trial in trials), each, strict=True))
    chains = [
        seconds[t.trial_id] + (seconds.get(t.baseline_id, 0.0) if not t.is_baseline else 0.0)
        for t in trials
    ]
    return max([sum(seconds.values()) / max(slots, 1), *chains])


def work(trial: Trial) -> float:
    """Multiplications in the matrix products of a trial that runs to its last round, roughly.

    From the shape of the model and the tokens alone, without measuring, so that a plan has the same
    order everywhere. A layer has 12 h² weights (h its width); training costs three times what
    looking does.
    """
    shape, rule, texts = _shape(trial), trial.stop_rule, _texts(trial)
    trained = rule.last * trial.config.local_epochs * texts["train"].tokens
    looks = rule.evaluations(0, rule.last)
    looked = looks * sum(split.tokens for name, split in texts.items() if name != "train")
    return 12.0 * shape["layers"] * shape["hidden_size"] ** 2 * (3 * trained + looked)


def need(trial: Trial) -> Need:
    """The memory that ``trial`` takes, whatever its number of clients.

    Vectors of all parameters in fp32: working model, gradient, server, running sum, and one more
    while a checkpoint is written; the optimiser's; what the strategy and the server's optimiser
    keep and need for a moment; in bf16 half of one for the rounded weights.

    Activations: what the packed forward keeps for the way back. For a token, in a layer of width h
    with products of p bytes, its inputs and outputs, (8 + 16 p) h, and attention's weights and what
    was dropped of them, 2 p for each of the heads and each token of the text. The last layer keeps
    next to nothing, as only first tokens go through it; the way back needs a layer's worth besides.
    (Korthikanti et al. 2022, equation 2, have 34 h and 5 for a usual forward in 16 bits.)
    """
    config, shape, texts = trial.config, _shape(trial), _texts(trial)
    product = 2 if config.precision == "bf16" else 4
    copies = 5 + bool(config.momentum) + 2 * (config.client_optimizer == "adamw")
    copies += _OF_STRATEGY.get(config.strategy, 0) + _OF_OPTIMIZER[config.server_optimizer]
    parameters = BYTES_PER_PARAMETER * num_parameters(trial.model_dir)
    on_gpu = str(config.device).startswith("cuda")
    tokens = _largest_batch(trial, on_gpu)
    attended = 2 * product * shape["heads"] * texts["train"].longest
    per_token = (8 + 16 * product) * shape["hidden_size"] + attended
    activations = per_token * max(shape["layers"] * tokens, EVALUATION_TOKENS)
    data = BYTES_PER_TOKEN * sum(split.tokens for split in texts.values())
    vectors = (copies + (0.5 if product == 2 else 0)) * parameters
    held = _ALLOCATOR * (vectors + activations + data)
    if on_gpu:  # the model passes through the machine's memory when it is read and written
        return Need(_CUDA_PROCESS_BYTES + 2 * parameters, _CUDA_CONTEXT_BYTES + held)
    return Need(_PROCESS_BYTES + held, 0.0)


def disk(trial: Trial) -> int:
    """Bytes on disk, at the most, of the vectors that the strategy keeps for each client."""
    if STRATEGIES[trial.config.strategy].vectors_of_clients:
        return ClientVectors.bytes_on_disk(
            trial.config.num_clients, num_parameters(trial.model_dir)
        )
    return 0


#: Vectors that a strategy needs beside FedAvg's: FedProx a difference; SCAFFOLD the server's
#: variate before and after a round, the shift of a step and a client's variate and its change.
_OF_STRATEGY = {"fedprox": 1, "scaffold": 6}
#: The moments before and after a round, and for the adaptive ones the square and the step.
_OF_OPTIMIZER = {"none": 0, "momentum": 2, "adagrad": 6, "adam": 6, "yogi": 6}


@dataclass(frozen=True)
class _Texts:
    """A split as the model sees it: its tokens in all, and how many a text has."""

    number: int
    tokens: int
    mean: float
    deviation: float
    longest: int


def _texts(trial: Trial) -> dict[str, _Texts]:
    _, examples = open_examples(trial)
    pad_to = None if trial.config.attention_mask else trial.config.max_length
    return _texts_of(examples, pad_to)


@lru_cache(maxsize=256)
def _texts_of(examples: Examples, pad_to: int | None) -> dict[str, _Texts]:
    found = {}
    for name, split in vars(examples).items():
        if isinstance(split, Split):
            each = np.full(len(split), pad_to) if pad_to else split.lengths
            total, longest = int(each.sum()), int(each.max())
            found[name] = _Texts(len(each), total, float(each.mean()), float(each.std()), longest)
    return found


def _largest_batch(trial: Trial, on_gpu: bool) -> float:
    """Tokens of a batch of the larger ones."""
    texts = _texts(trial)["train"]
    size = min(trial.config.batch_size, texts.number)
    padded = size * float(texts.longest)
    # Attention on a GPU, and every architecture that cannot be packed, pads to the longest text.
    if on_gpu or not _is_packed(trial.model_dir):
        return padded
    # Drawn at random: few batches have more than the mean and three standard deviations.
    return min(size * texts.mean + 3 * math.sqrt(size) * texts.deviation, padded)


def _is_packed(model_dir: str) -> bool:
    config = read_config(Path(model_dir))
    return can_pack(SimpleNamespace(config=SimpleNamespace(**config)))


def _shape(trial: Trial) -> dict[str, int]:
    """Layers, width and heads; those of the usual model where its configuration does not say."""
    shape = describe(Path(trial.model_dir))
    usual = {"layers": 12, "hidden_size": 768, "heads": 12}
    return {name: shape[name] or number for name, number in usual.items()}


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


def _measured(trial: Trial) -> Rates:
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

        del federation  # the trials need the room on the GPU
        torch.cuda.empty_cache()
    return rates
