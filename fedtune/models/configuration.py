"""What a model's ``config.json`` says, before anything of it is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from fedtune.errors import BadInput, first_line, readable

#: How texts of different lengths are put into a batch for transformers' own code.
Padding = Literal["right", "left", "none"]

#: Kinds of sequence classifier in transformers that cannot be trained here, and why.
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "ibert": "it gathers ranges of activations while it trains, which FedAvg cannot average",
        "layoutlmv2": "it reads pictures of pages, and needs the detectron2 library",
        "mra": "its attention is a CUDA program that has to be fetched, and is zero without it",
        "perceiver": "its pretrained decoder writes bytes, and nothing of it fits a classifier",
        "reformer": "it hashes at random, and trains on texts of certain lengths only",
        "tapas": "it reads tables, not texts",
    }
)

#: Kinds whose scores of a text change with the padding beside it: they mix neighbouring positions,
#: or all of them, without looking at the mask, or read a position that is counted from the end.
BY_LENGTH = frozenset(
    (
        *("canine", "convbert", "fnet", "mobilebert", "nystromformer", "t5gemma", "t5gemma2"),
        "yoso",
    )
)

#: Kinds whose code in transformers fails where products are in bf16.
WITHOUT_BF16 = frozenset(("deberta", "xmod"))

#: Parts of a configuration that belong to the head it was saved with, or to its task.
_OF_THE_HEAD = frozenset(
    (
        *("num_labels", "_num_labels", "id2label", "label2id", "problem_type", "loss_type"),
        *("finetuning_task", "task_specific_params", "function_to_apply", "return_all_scores"),
        "sentence_transformers",
    )
)

#: What whoever calls a model wants of it beside the scores, and in which form.
_OF_THE_CALLER = frozenset(
    (
        *("output_attentions", "_output_attentions", "output_hidden_states", "output_past"),
        *("output_router_logits", "return_dict", "use_return_dict", "torchscript"),
    )
)

#: The most that makes sense of what is built one by one, by a part of its name; and of the rest.
_MOST_BUILT = {"layer": 1_000, "block": 10_000, "expert": 100_000, "label": 1_000_000}
_MOST = 1_000_000_000

#: Architectures whose first position has the number after that of padding.
_POSITIONS_AFTER_PADDING = frozenset(
    (
        *("camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "mpnet"),
        *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
    )
)
_SPELLINGS = {
    "layers": ("num_hidden_layers", "n_layers", "num_layers", "n_layer", "encoder_layers"),
    "max_positions": ("max_position_embeddings", "n_positions"),
    "vocab_size": ("vocab_size",),
    "hidden_size": ("hidden_size", "dim", "d_model", "n_embd", "emb_dim"),
    "heads": ("num_attention_heads", "n_heads", "n_head", "num_heads", "encoder_attention_heads"),
}


def read_config(directory: Path, name: str | None = None) -> dict[str, Any]:
    """The content of ``config.json``, with sizes that make sense.

    Raises BadInput (field ``model``, with ``name`` as its value, else the directory).
    """
    path = directory / "config.json"
    asked = name or str(directory)
    try:
        with readable("model", asked):
            text = path.read_text(encoding="utf-8")
        config = json.loads(text)
    except BadInput:
        raise
    except (ValueError, RecursionError) as error:
        raise BadInput.of(
            "model", asked, f"{path} is not valid JSON: {first_line(error)[:200]}"
        ) from None
    if not isinstance(config, dict):
        raise BadInput.of(
            "model",
            asked,
            f"{path} holds no settings; it has to be a JSON object, as save_pretrained writes it",
        )
    for key, value in config.items():
        a_rate = isinstance(value, int | float) and not isinstance(value, bool)
        if a_rate and (("dropout" in key and not 0 <= value < 1) or value != value):
            limits = "from 0 to below 1" if "dropout" in key else "that is one"
            message = f"{path} says {key}: {value}; allowed is a number {limits}"
            raise BadInput.of("model", asked, message)
    for key, value, least, most in _unlikely(config):
        raise BadInput.of(
            "model",
            asked,
            f"{path} says {key}: {str(value)[:40]}; allowed is a whole number from {least} to "
            f"{most:,}",
        )
    return config


def _unlikely(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, int, int]]:
    """Sizes that no model has, with what is allowed; those of its parts too."""
    shape = {key: part for part, spellings in _SPELLINGS.items() for key in spellings}
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _unlikely(value)
            continue
        limits = [most for part, most in _MOST_BUILT.items() if part in key]
        counted = bool(limits) and (key.startswith(("num_", "n_")) or key.endswith("layers"))
        if value is None or isinstance(value, list) or not (counted or key in shape):
            continue
        most = min(limits) if counted else _MOST
        least = int(key in shape and shape[key] != "max_positions")
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            yield key, value, least, most


def of_the_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration, and those within it, without what belongs to the head that it was saved
    with, or to whoever called the model then.
    """
    return {
        key: of_the_model(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _OF_THE_HEAD | _OF_THE_CALLER
    }


def head_settings(label_names: Sequence[str]) -> dict[str, Any]:
    """What a configuration says of a head with an output for each of these classes."""
    return {
        "id2label": dict(enumerate(label_names)),
        "label2id": {name: index for index, name in enumerate(label_names)},
        "problem_type": "single_label_classification",
    }


def kind_of(config: Mapping[str, Any]) -> str | None:
    """The ``model_type``, as transformers reads it."""
    kind = config.get("model_type")
    return "ministral" if kind == "mistral" and "layer_types" in config else kind


def architecture_fault(directory: Path) -> str | None:
    """Why the directory's architecture cannot be fine-tuned as a classifier; None where it can."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as KNOWN,
    )

    kind = read_config(directory).get("model_type")
    if not isinstance(kind, str) or kind not in KNOWN:
        return (
            f"its config.json has model_type {kind!r}, for which transformers has no sequence "
            "classifier; allowed is an architecture such as bert, albert, distilbert or roberta"
        )
    return f"model_type {kind} cannot be trained: {REFUSED[kind]}" if kind in REFUSED else None


def padding_of(config: Any) -> Padding:
    """On which side texts are padded for the model of ``config``, such that a text's scores do not
    depend on those beside it; ``none`` where there is no such side, so that texts of different
    lengths go through the model apart.
    """
    kind = config.model_type
    if kind in ("flaubert", "xlm", "xlnet") and config.summary_type != "first":
        by_the_end = kind == "xlnet" and config.summary_type in ("last", "cls_index")
        return "left" if by_the_end else "none"
    return "none" if kind in BY_LENGTH else "right"


def describe(directory: Path) -> dict[str, int]:
    """Layers, positions for text, vocabulary, width, heads of the configuration; 0 for unknown."""
    config = read_config(directory)
    if isinstance(config.get("text_config"), dict):  # of a model that reads pictures too
        config = config | config["text_config"] | {"model_type": config.get("model_type")}
    found = {
        name: next((config[key] for key in keys if isinstance(config.get(key), int)), 0)
        for name, keys in _SPELLINGS.items()
    }
    padding = config.get("pad_token_id")
    if found["max_positions"] and config.get("model_type") in _POSITIONS_AFTER_PADDING:
        found["max_positions"] -= (padding if isinstance(padding, int) else 1) + 1
    return found
