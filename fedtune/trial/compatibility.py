"""Do model, data and clients go together? Told before the first round."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedtune.config import TrialConfig
from fedtune.data.batches import DeviceSplit
from fedtune.data.partition import dropped
from fedtune.data.splits import Examples
from fedtune.data.token_arrays import Tokens
from fedtune.errors import BadInput, Fault, first_line
from fedtune.federated.flat import FlatModel
from fedtune.models.configuration import describe, kind_of, read_config
from fedtune.models.forward import PaddedForward
from fedtune.models.heads import KINDS
from fedtune.models.zoo import ModelSource
from fedtune.trial.device import DEVICE_ERRORS
from fedtune.trial.inputs import partition_examples


def data_faults(
    config: TrialConfig, tokens: Tokens, examples: Examples, model: ModelSource
) -> list[Fault]:
    """What keeps these clients from training this model on these examples."""
    faults = _partition_faults(config, examples)
    shape = describe(model.directory)
    if shape["max_positions"] and config.max_length > shape["max_positions"]:
        faults.append(
            Fault(
                "max_length",
                config.max_length,
                f"allowed is at most {shape['max_positions']}, the positions that "
                f"{config.model} has",
            )
        )
    if shape["vocab_size"] and tokens.vocab_size > shape["vocab_size"]:
        faults.append(
            Fault(
                "model",
                config.model,
                f"its tokenizer has {tokens.vocab_size} pieces, its embedding only "
                f"{shape['vocab_size']}; they do not belong together; where tokens were added, "
                "`model.resize_token_embeddings(len(tokenizer))` and save both",
            )
        )
    kind = kind_of(read_config(model.directory))
    if config.head != "own" and kind not in KINDS:
        message = f"is known for {', '.join(KINDS)}; {config.model} is {kind}; allowed is 'own'"
        faults.append(Fault("head", config.head, message))
    return faults


def _partition_faults(config: TrialConfig, examples: Examples) -> list[Fault]:
    """What is wrong with how the examples are spread over the clients."""
    available = len(examples.train)
    if config.num_clients > available:
        message = f"allowed is at most the number of training examples, which is {available}"
        return [Fault("clients", config.clients, message)]
    try:
        fault = dropped(config, partition_examples(examples, config).sizes)
    except BadInput as bad:
        return list(bad.faults)
    return [fault] if fault else []


@torch.inference_mode()
def check_reads(flat: FlatModel, splits: Mapping[str, DeviceSplit], model: str) -> None:
    """Raise BadInput where transformers' code cannot classify the shortest or longest texts."""
    if not isinstance(flat.forward, PaddedForward):
        return
    flat.model.eval()
    for name, data in splits.items():
        extremes = torch.stack([data.lengths.argmin(), data.lengths.argmax()])
        try:
            flat.forward(data.batch(extremes))
        except DEVICE_ERRORS:
            raise
        except Exception as error:
            lengths = " and ".join(map(str, data.lengths[extremes].tolist()))
            raise BadInput.of(
                "model",
                model,
                f"transformers' own code does not classify texts of {lengths} tokens, of the "
                f"{name} split: {type(error).__name__}: {first_line(error)[:200]}",
            ) from error
