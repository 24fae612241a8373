"""The memory and the disk that a trial takes. Estimates, and printed as such."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from fedtune.cost.shapes import TextCounts, shape_of, texts_of
from fedtune.federated.client_vectors import ClientVectors
from fedtune.federated.evaluation import EVALUATION_TOKENS
from fedtune.federated.strategies import STRATEGIES
from fedtune.federated.strategy import BYTES_PER_PARAMETER
from fedtune.models.configuration import read_config
from fedtune.models.packed import can_pack
from fedtune.models.weights import num_parameters
from fedtune.trial.identity import Trial

BYTES_PER_TOKEN = 4  # int32, on the device

#: What a worker holds beside its model and its data: Python, PyTorch, transformers, Ray.
_PROCESS_BYTES = 650e6
#: The same with CUDA's libraries, and what CUDA keeps on the GPU for each process. (Not measured.)
_CUDA_PROCESS_BYTES, _CUDA_CONTEXT_BYTES = 2.5e9, 0.8e9
#: Allocators keep more than is in use: blocks of sizes that were needed before. With it the peaks
#: of the miniatures on bbc-news (701 to 847 MB) and of a BERT of 12 layers, width 768, in bf16 on
#: IMDB (5.2 GB) were met to 15 %, never short by more than 5 %, on Linux without a GPU.
_ALLOCATOR = 1.25

#: Vectors that a strategy needs beside FedAvg's: FedProx a difference; SCAFFOLD the server's
#: variate before and after a round, the shift of a step and a client's variate and its change;
#: those that distil a client's delta and its model, and later the student before and after.
_OF_STRATEGY = {"fedprox": 1, "scaffold": 6, "feddf": 2, "one-shot": 2}
#: The moments before and after a round, and for the adaptive ones the square and the step.
_OF_OPTIMIZER = {"none": 0, "momentum": 2, "adagrad": 6, "adam": 6, "yogi": 6}


@dataclass(frozen=True)
class Need:
    """Bytes that a trial takes while it runs: of the machine's memory, and of a GPU's (0 without
    one).
    """

    memory: float
    gpu_memory: float


def need(trial: Trial) -> Need:
    """The memory that ``trial`` takes, whatever its number of clients.

    Vectors of all parameters in fp32: working model, gradient, server, running sum, and one more
    while a checkpoint is written; the optimiser's; what the strategy and the server's optimiser
    keep and need for a moment; in bf16 half of one for the rounded weights.

    Activations: what the packed forward keeps for the way back. For a token, in a layer of width h
    with products of p bytes, its inputs and outputs, (8 + 16 p) h, and attention's weights and what
    was dropped of them, 2 p for each of the heads and each token of the text. The last layer keeps
    next to nothing, as only first tokens go through it; the way back needs a layer's worth besides.
    (Korthikanti et al. 2022, equation 2, have 34 h and 5 for a usual forward in 16 bits.) On a GPU
    recorded steps keep theirs for good, beside those of evaluations and of steps that are not.
    """
    config, shape, texts = trial.config, shape_of(trial), texts_of(trial)
    product = 2 if config.precision == "bf16" else 4
    copies = 5 + bool(config.momentum) + 2 * (config.client_optimizer == "adamw")
    copies += _OF_STRATEGY.get(config.strategy, 0) + _OF_OPTIMIZER[config.server_optimizer]
    parameters = BYTES_PER_PARAMETER * num_parameters(trial.model_dir)
    on_gpu = str(config.device).startswith("cuda")
    tokens = _largest_batch(trial, on_gpu)
    longest = max(split.longest for split in _trained_on(texts))
    attended = 2 * product * shape["heads"] * longest
    per_token = (8 + 16 * product) * shape["hidden_size"] + attended
    activations = per_token * max(shape["layers"] * tokens, EVALUATION_TOKENS)
    if on_gpu and _is_packed(trial.model_dir):
        activations += per_token * shape["layers"] * tokens
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


def _largest_batch(trial: Trial, on_gpu: bool) -> float:
    """Tokens of a batch of the larger ones."""
    # Attention on a GPU, and every architecture that cannot be packed, pads to the longest text.
    is_padded = on_gpu or not _is_packed(trial.model_dir)
    batch_size = trial.config.batch_size
    return max(_batch(texts, batch_size, is_padded) for texts in _trained_on(texts_of(trial)))


def _batch(texts: TextCounts, batch_size: int, is_padded: bool) -> float:
    size = min(batch_size, texts.number)
    padded = size * float(texts.longest)
    if is_padded:
        return padded
    # Drawn at random: few batches have more than the mean and three standard deviations.
    return min(size * texts.mean + 3 * math.sqrt(size) * texts.deviation, padded)


def _trained_on(texts: Mapping[str, TextCounts]) -> list[TextCounts]:
    """The splits that clients or the server train on."""
    return [texts[name] for name in ("train", "distill") if name in texts]


def _is_packed(model_dir: str) -> bool:
    config = read_config(Path(model_dir))
    return can_pack(SimpleNamespace(config=SimpleNamespace(**config)))
