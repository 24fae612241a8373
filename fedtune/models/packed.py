"""BERT, ALBERT and DistilBERT computed without padding, over the parameters of transformers' model.

The three are one architecture with different names: embeddings, then layers of attention and
feed-forward, each followed by a residual and a layer normalisation. They differ in how many layers
there are of their own (ALBERT: one), in what makes the classifier's input (a pooler or not) and in
where they drop.

Numbers are kept in fp32 between the layers; ``dtype`` is that of the matrix products, whose results
are rounded to it. In bf16 this is what autocast does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, pad

from fedtune.data.packing import Packing, round_up
from fedtune.models.attention import attention
from fedtune.models.dropout import dropout


@dataclass(frozen=True)
class _Layer:
    """One application of a layer; the three numbers are probabilities of dropout."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    mix: nn.Linear
    mix_norm: nn.LayerNorm
    widen: nn.Linear
    activation: Callable[[Tensor], Tensor]
    narrow: nn.Linear
    norm: nn.LayerNorm
    drop_weights: float
    drop_mix: float
    drop_output: float


def _bert_layers(encoder: Any) -> list[_Layer]:
    return [
        _Layer(
            query=layer.attention.self.query,
            key=layer.attention.self.key,
            value=layer.attention.self.value,
            mix=layer.attention.output.dense,
            mix_norm=layer.attention.output.LayerNorm,
            widen=layer.intermediate.dense,
            activation=layer.intermediate.intermediate_act_fn,
            narrow=layer.output.dense,
            norm=layer.output.LayerNorm,
            drop_weights=layer.attention.self.dropout.p,
            drop_mix=layer.attention.output.dropout.p,
            drop_output=layer.output.dropout.p,
        )
        for layer in encoder.encoder.layer
    ]


def _albert_layers(encoder: Any) -> list[_Layer]:
    groups, count = encoder.encoder.albert_layer_groups, encoder.config.num_hidden_layers
    applied = [number * len(groups) // count for number in range(count)]
    return [
        _Layer(
            query=layer.attention.query,
            key=layer.attention.key,
            value=layer.attention.value,
            mix=layer.attention.dense,
            mix_norm=layer.attention.LayerNorm,
            widen=layer.ffn,
            activation=layer.activation,
            narrow=layer.ffn_output,
            norm=layer.full_layer_layer_norm,
            drop_weights=layer.attention.attention_dropout.p,
            drop_mix=layer.attention.output_dropout.p,
            drop_output=0.0,  # transformers' ALBERT has none there
        )
        for group in applied
        for layer in groups[group].albert_layers
    ]


def _distilbert_layers(encoder: Any) -> list[_Layer]:
    return [
        _Layer(
            query=layer.attention.q_lin,
            key=layer.attention.k_lin,
            value=layer.attention.v_lin,
            mix=layer.attention.out_lin,
            mix_norm=layer.sa_layer_norm,
            widen=layer.ffn.lin1,
            activation=layer.ffn.activation,
            narrow=layer.ffn.lin2,
            norm=layer.output_layer_norm,
            drop_weights=layer.attention.dropout.p,
            drop_mix=0.0,  # transformers' DistilBERT has none there
            drop_output=layer.ffn.dropout.p,
        )
        for layer in encoder.transformer.layer
    ]


_LAYERS: dict[str, Callable[[Any], Sequence[_Layer]]] = {
    "bert": _bert_layers,
    "albert": _albert_layers,
    "distilbert": _distilbert_layers,
}
#: The architectures that are computed without padding.
PACKED = frozenset(_LAYERS)


def can_pack(model: Any) -> bool:
    """Whether ``model``, of transformers, is of an architecture that PackedEncoder knows."""
    config = getattr(model, "config", None)
    kind = getattr(config, "model_type", None)
    return kind in PACKED and not getattr(config, "is_decoder", False)


class PackedEncoder:
    """The hidden states of ``encoder``, a BertModel, AlbertModel or DistilBertModel (`can_pack`).

    Uses the encoder's own parameters, in training mode with its own probabilities of dropout.
    """

    def __init__(self, encoder: Any, dtype: torch.dtype = torch.float32):
        self.encoder, self.dtype = encoder, dtype
        self.layers = _LAYERS[encoder.config.model_type](encoder)
        self.heads: int = encoder.config.num_attention_heads

    def __call__(
        self,
        token_ids: Tensor,
        packing: Packing,
        token_types: Tensor | None = None,
        *,
        first_only: bool = False,
        draws: torch.Generator | None = None,
    ) -> Tensor:
        """The last layer's states of ``token_ids`` (N,) integer: (N, H) fp32.

        With ``first_only`` those of each text's first token, (B, H), all that a classifier reads:
        in the last layer the other tokens are then only looked at. ``token_types`` (N,) int64: the
        segment of every token; 0 where not given. ``draws`` is what dropout draws from, on a CPU.
        """
        hidden = self._embed(token_ids, packing, token_types, draws)
        for number, layer in enumerate(self.layers, start=1):
            asks_first = first_only and number == len(self.layers)
            hidden = self._apply(layer, hidden, packing, asks_first, draws)
        return hidden if first_only else hidden[: packing.num_tokens]

    def _embed(
        self,
        token_ids: Tensor,
        packing: Packing,
        token_types: Tensor | None,
        draws: torch.Generator | None,
    ) -> Tensor:
        tables = self.encoder.embeddings
        words = tables.word_embeddings
        summed = embedding(token_ids, words.weight, words.padding_idx)
        summed = summed + embedding(packing.positions, tables.position_embeddings.weight)
        if hasattr(tables, "token_type_embeddings"):
            types = tables.token_type_embeddings.weight
            summed = summed + (types[0] if token_types is None else embedding(token_types, types))
        hidden = self._drop(tables.LayerNorm(summed), tables.dropout.p, draws)
        if self.dtype != torch.float32:
            # Rows without a token: nothing reads them, and their gradient is 0.
            hidden = pad(hidden, (0, 0, 0, round_up(packing.num_tokens) - packing.num_tokens))
        if self.encoder.config.model_type == "albert":
            mapping = self.encoder.encoder.embedding_hidden_mapping_in
            hidden = self._linear(hidden, mapping).to(hidden.dtype)
        return hidden

    def _apply(
        self,
        layer: _Layer,
        hidden: Tensor,
        packing: Packing,
        first_only: bool,
        draws: torch.Generator | None,
    ) -> Tensor:
        rounded = hidden.to(self.dtype)
        key_value = self._linear(rounded, layer.key, layer.value)
        if first_only:
            hidden = hidden.index_select(0, packing.starts)
        mixed = attention(
            self._linear(hidden if first_only else rounded, layer.query),
            key_value,
            packing,
            heads=self.heads,
            dropout=layer.drop_weights if self.encoder.training else 0.0,
            draws=draws,
        )
        mixed = self._drop(self._linear(mixed, layer.mix), layer.drop_mix, draws)
        hidden = layer.mix_norm(mixed + hidden)
        output = self._linear(layer.activation(self._linear(hidden, layer.widen)), layer.narrow)
        output = self._drop(output, layer.drop_output, draws)
        return layer.norm(output + hidden)  # type: ignore[no-any-return]

    def _linear(self, x: Tensor, *modules: nn.Linear) -> Tensor:
        """One product with the weights of ``modules`` side by side, in the dtype of products."""
        weight, bias = (m.weight for m in modules), (m.bias for m in modules)
        if len(modules) == 1:
            return linear(x.to(self.dtype), *(next(p).to(self.dtype) for p in (weight, bias)))
        return linear(x.to(self.dtype), *(torch.cat([*p]).to(self.dtype) for p in (weight, bias)))

    def _drop(self, x: Tensor, p: float, draws: torch.Generator | None) -> Tensor:
        return dropout(x, p, draws) if self.encoder.training else x


def pool(encoder: Any, first: Tensor) -> Tensor:
    """What a classifier reads, (B, H), from the states of the first tokens, (B, H)."""
    kind = encoder.config.model_type
    if kind == "bert":
        pooled: Tensor = encoder.pooler(first[:, None])
    elif kind == "albert":
        pooled = encoder.pooler_activation(encoder.pooler(first))
    else:  # DistilBERT has no pooler
        pooled = first
    return pooled
