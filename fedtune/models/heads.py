"""The head of another architecture on a model, for asking what a head has to do with a result.

Between the encoder and the classifier BERT and ALBERT have a pooler: a dense layer with tanh, and
dropout of 0.1. DistilBERT has a dense layer with ReLU, and dropout of 0.2, and draws it anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import relu

from fedtune.models.configuration import kind_of, read_config

Head = Literal["own", "pooler", "relu"]


class _Place(NamedTuple):
    """Of an architecture: its dense layer, where that layer's activation can be set, and which head
    is its own.
    """

    dense: str
    activation: str
    own: Head


_PLACES: Mapping[str, _Place] = MappingProxyType(
    {
        "bert": _Place("bert.pooler.dense", "bert.pooler.activation", "pooler"),
        "albert": _Place("albert.pooler", "albert.pooler_activation", "pooler"),
        "distilbert": _Place("pre_classifier", "pre_activation", "relu"),
    }
)

#: The architectures whose head can be exchanged.
KINDS = tuple(_PLACES)

_HEADS: Mapping[str, tuple[type[nn.Module], float]] = MappingProxyType(
    {"pooler": (nn.Tanh, 0.1), "relu": (nn.ReLU, 0.2)}
)


def is_own(directory: Path, head: Head) -> bool:
    """Is it the head that the model of ``directory`` would have anyhow, drawn anew too?"""
    config = read_config(directory)
    dropout = config.get("seq_classif_dropout", 0.2)
    is_distilbert = kind_of(config) == "distilbert"
    return head == "own" or (is_distilbert and head == "relu" and dropout == _HEADS["relu"][1])


def is_of_transformers(directory: Path, head: Head) -> bool:
    """Does transformers compute the same from a checkpoint with this head?"""
    place = _PLACES.get(str(kind_of(read_config(directory))))
    return head == "own" or (place is not None and place.own == head)


def layers(kind: str, head: Head) -> tuple[str, ...]:
    """The layers of a head that is not the architecture's own and are drawn for it."""
    return () if head == "own" else (_PLACES[kind].dense,)


def exchange(model: Any, head: Head) -> list[str]:
    """Give ``model`` (of KINDS) another head, and the names of the parameters that are to be drawn
    for it. Its layers are where the model's own are, with the same shapes; the configuration stays,
    so that a checkpoint that is trained again has the dropout of its architecture.
    """
    if head == "own":
        return []
    place = _PLACES[model.config.model_type]
    activation, dropout = _HEADS[head]
    owner, _, name = place.activation.rpartition(".")
    setattr(model.get_submodule(owner), name, activation())
    model.dropout.p = dropout
    return [f"{place.dense}.{part}" for part in ("weight", "bias")]


def activate(model: Any, x: Tensor) -> Tensor:
    """What DistilBERT does with the output of its dense layer: ReLU, unless that was exchanged."""
    activation = getattr(model, "pre_activation", None)
    activated: Tensor = relu(x) if activation is None else activation(x)
    return activated
