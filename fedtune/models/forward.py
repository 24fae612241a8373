"""How a batch passes through a classifier: the one place where the two meet.

BERT, ALBERT and DistilBERT are computed on real tokens only; any other architecture by
transformers' own code, on texts padded to the longest of the batch, or texts of a length at a time.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from fedtune.data.batches import Batch
from fedtune.models.configuration import padding_of
from fedtune.models.dropout import as_in_pytorch
from fedtune.models.heads import activate
from fedtune.models.packed import PackedEncoder, can_pack, pool

Precision = Literal["fp32", "bf16"]


class Forward(Protocol):
    """From a batch of B texts to their scores, (B, C) fp32.

    ``draws`` is the generator of dropout where the forward is fedtune's own and on a CPU; whatever
    else is random comes from PyTorch's generator of the device.
    """

    def __call__(self, batch: Batch, draws: torch.Generator | None = None) -> Tensor: ...


def forward_of(model: Any, precision: Precision = "fp32") -> Forward:
    """The fastest way through ``model``, a sequence classifier of transformers in fp32.

    With ``precision="bf16"`` matrix products are in bf16; parameters, normalisations, the head's
    scores and the sums between layers stay in fp32.
    """
    return (PackedForward if can_pack(model) else PaddedForward)(model, precision)


def takes_types(model: Any) -> bool:
    """Whether ``model`` tells the texts of a pair apart by an embedding of their number.

    BERT and ALBERT do; DistilBERT has none, and RoBERTa's has one entry alone.
    """
    config = getattr(model, "config", None)
    return bool((getattr(config, "type_vocab_size", None) or 0) > 1)


class PackedForward:
    """Without padding (:class:`fedtune.models.packed.PackedEncoder`)."""

    def __init__(self, model: Any, precision: Precision):
        self.model, self.takes_types = model, takes_types(model)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.encode = PackedEncoder(model.base_model, dtype)

    def __call__(self, batch: Batch, draws: torch.Generator | None = None) -> Tensor:
        model = self.model
        types = batch.token_types if self.takes_types else None
        first = self.encode(batch.token_ids, batch.packing, types, first_only=True, draws=draws)
        pooled = pool(model.base_model, first)
        if model.config.model_type == "distilbert":
            pooled = activate(model, model.pre_classifier(pooled))
        if model.training:
            pooled = as_in_pytorch(pooled, model.dropout.p, draws)
        scores: Tensor = model.classifier(pooled)
        return scores


class PaddedForward:
    """By transformers' own code, such that a text's scores do not depend on those beside it.

    Padded to the longest text of the batch on the side where that does not show
    (:func:`fedtune.models.configuration.padding_of`), else the texts of each length apart.
    """

    def __init__(self, model: Any, precision: Precision):
        self.model, self.precision, self.takes_types = model, precision, takes_types(model)
        config = getattr(model, "config", None)  # a module of one's own may have none
        self.padding = padding_of(config) if config else "right"
        # The model's own: some find a text's end by it. The tokenizer's may be another.
        self.pad_token_id = config.get_text_config().pad_token_id if config else None

    def __call__(self, batch: Batch, draws: torch.Generator | None = None) -> Tensor:
        if self.padding == "none":
            return torch.cat([self._scores(part) for part in batch.by_length()])
        return self._scores(batch)

    def _scores(self, batch: Batch) -> Tensor:
        left = self.padding == "left"
        token_ids, mask = batch.padded(self.pad_token_id, left=left)
        given = {"input_ids": token_ids, "attention_mask": mask}
        types = batch.padded_types(left=left) if self.takes_types else None
        if types is not None:
            given["token_type_ids"] = types
        with torch.autocast(token_ids.device.type, torch.bfloat16, self.precision == "bf16"):
            scores: Tensor = self.model(**given).logits
        return scores.to(torch.promote_types(scores.dtype, torch.float32))
