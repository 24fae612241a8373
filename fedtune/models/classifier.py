"""Loading a sequence classifier whose head is drawn from the trial's seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedtune.errors import BadInput, first_line
from fedtune.garbage import uncollected
from fedtune.randomness import seeded


def load_classifier(directory: Path, *, label_names: Sequence[str], seed: int) -> Any:
    """A ``PreTrainedModel`` with an output per label: pretrained encoder, head drawn from ``seed``.

    Always fp32, whatever the file holds: a checkpoint in half precision would load as such, and
    steps of 2e-5 would vanish in it. Raises BadInput where the architecture has no sequence
    classifier, where its weights cannot be read or are not finite, where the file lacks weights of
    the encoder (a pooler aside), or where the model keeps running statistics (those are no
    parameters, so averaging would leave them behind).
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        with uncollected(), seeded(seed, "new parameters"), quiet_transformers():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                directory,
                config=AutoConfig.from_pretrained(
                    directory,
                    id2label=dict(enumerate(label_names)),
                    label2id={name: index for index, name in enumerate(label_names)},
                ),
                dtype=torch.float32,
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,  # a fine-tuned checkpoint's own head is replaced
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except ValueError as error:
        why = f"is no sequence classifier: {first_line(error)[:200]}"
        raise BadInput.of("model", str(directory), why) from None
    except (OSError, RuntimeError, SafetensorError) as error:
        why = f"cannot be loaded: {first_line(error)[:200]}"
        raise BadInput.of("model", str(directory), why) from None
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise BadInput.of("model", str(directory), f"{name} has values that are not finite")
    new = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    encoder = f"{model.base_model_prefix}."
    untrained = sorted(n for n in new if n.startswith(encoder) and ".pooler." not in n)
    if untrained:
        raise BadInput.of(
            "model",
            str(directory),
            f"its weights and its config.json do not belong together: {len(untrained)} of the "
            f"encoder's tensors are missing or of another shape, such as {untrained[0]}",
        )
    for name, module in model.named_modules():
        if getattr(module, "track_running_stats", False):
            raise BadInput.of(
                "model",
                str(directory),
                f"{name} keeps running statistics, which FedAvg cannot average",
            )
    draw_head(model, seed)
    return model


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars, and no report that the head is new, which is what is asked for."""
    from transformers import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def head_names(model: Any) -> list[str]:
    """Names of the parameters that are new in fine-tuning: all outside the base model."""
    prefix = f"{model.base_model_prefix}."
    return [name for name, _ in model.named_parameters() if not name.startswith(prefix)]


def draw_head(model: Any, *key: int | str) -> None:
    """Draw the head's parameters anew, in place, by the architecture's own rule, from ``key``."""
    names = head_names(model)
    parameters = dict(model.named_parameters())
    modules = dict.fromkeys(name.rpartition(".")[0] for name in names)
    with seeded("head", *key), torch.no_grad():
        drawn: dict[str, Tensor] = {}
        for name in names:  # on the CPU, so that every device starts from the same head
            parameter = parameters[name]
            drawn[name] = torch.empty(parameter.shape, dtype=parameter.dtype)
        for module_name in modules:
            _initialize(model, model.get_submodule(module_name), module_name, drawn)
        for name in names:
            parameters[name].data.copy_(drawn[name])


def _initialize(model: Any, module: nn.Module, module_name: str, drawn: dict[str, Tensor]) -> None:
    """Fill the tensors of ``drawn`` that belong to ``module`` as a new model of this kind would."""
    kept = dict(module.named_parameters(recurse=False))
    for name in kept:  # fresh tensors: loaded ones carry a mark that forbids initialising them
        setattr(module, name, nn.Parameter(drawn[f"{module_name}.{name}".removeprefix(".")]))
    model._init_weights(module)
    for name, parameter in kept.items():
        setattr(module, name, parameter)


def architecture_fault(directory: Path) -> str | None:
    """Why the directory's architecture cannot be fine-tuned as a classifier; None where it can."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as KNOWN,
    )

    kind = json.loads((directory / "config.json").read_text()).get("model_type")
    if kind in KNOWN:
        return None
    return (
        f"its config.json has model_type {kind!r}, for which transformers has no sequence "
        "classifier; allowed is an architecture such as bert, albert, distilbert or roberta"
    )


#: Architectures whose first position has the number after that of padding.
_POSITIONS_AFTER_PADDING = frozenset(
    (
        *("camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "mpnet"),
        *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
    )
)


def describe(directory: Path) -> dict[str, int]:
    """Layers, positions for text, vocabulary, width, heads of the configuration; 0 for unknown."""
    config = json.loads((directory / "config.json").read_text())
    spellings = {
        "layers": ("num_hidden_layers", "n_layers", "num_layers", "n_layer"),
        "max_positions": ("max_position_embeddings", "n_positions"),
        "vocab_size": ("vocab_size",),
        "hidden_size": ("hidden_size", "dim", "d_model"),
        "heads": ("num_attention_heads", "n_heads", "n_head"),
    }
    found = {
        name: int(next((config[key] for key in keys if key in config), 0))
        for name, keys in spellings.items()
    }
    if found["max_positions"] and config.get("model_type") in _POSITIONS_AFTER_PADDING:
        found["max_positions"] -= int(config.get("pad_token_id", 1)) + 1
    return found
