"""Accuracy over a whole split, counted example by example."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from fedtune.data.batches import DeviceSplit
from fedtune.federated.flat import FlatModel
from fedtune.federated.local import logits

#: Tokens, padding included, in one evaluation batch: 256 texts of 128 tokens.
EVALUATION_TOKENS = 256 * 128


@dataclass(frozen=True)
class Evaluation:
    """Means over the examples of a split; ``top_class_share`` is of the predictions."""

    accuracy: float
    loss: float
    top_class_share: float


@torch.inference_mode()
def evaluate(flat: FlatModel, data: DeviceSplit) -> Evaluation:
    """Evaluate in ``eval()`` mode over every example of ``data``.

    Examples are taken in order of length, so that a batch has next to no padding; the result does
    not depend on that order, since correct answers are counted and the loss is summed in fp64.
    """
    flat.model.eval()
    order = torch.argsort(data.lengths, stable=True)
    device = flat.values.device
    correct = torch.zeros((), dtype=torch.int64, device=device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    predicted = torch.zeros(data.num_classes, dtype=torch.int64, device=device)
    start = 0
    while start < len(order):
        # the first length is the shortest, so this many examples are at most the intended size
        width = max(int(data.padded_width(order[start])), 1)
        indices = order[start : start + max(EVALUATION_TOKENS // width, 1)]
        indices = indices[: max(EVALUATION_TOKENS // int(data.padded_width(indices[-1])), 1)]
        batch = data.batch(indices)
        scores = logits(flat, batch)
        answers = scores.argmax(dim=-1)
        correct += (answers == batch.labels).sum()
        loss_sum += cross_entropy(scores.double(), batch.labels, reduction="sum")
        predicted += torch.bincount(answers, minlength=data.num_classes)
        start += len(indices)
    count = len(order)
    return Evaluation(
        accuracy=correct.item() / count,
        loss=loss_sum.item() / count,
        top_class_share=predicted.max().item() / count,
    )
