"""Accuracy over a whole split, counted example by example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedtune.data.batches import Batch, DeviceSplit
from fedtune.data.packing import send
from fedtune.federated.flat import FlatModel
from fedtune.federated.local import Seen, unseen

#: Tokens in one evaluation batch, give or take a text.
EVALUATION_TOKENS = 8192


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Means over the examples of a split; ``top_class_share`` is of the ``predictions``.

    ``predictions`` (n,) int64 on the CPU is the class given to each example, in the split's order.
    """

    accuracy: float
    loss: float
    top_class_share: float
    predictions: torch.Tensor

    def metrics(self) -> dict[str, float]:
        """The means by name."""
        return {name: value for name, value in vars(self).items() if name != "predictions"}


@torch.inference_mode()
def evaluate(flat: FlatModel, data: DeviceSplit, seen: Seen = unseen) -> Evaluation:
    """Evaluate in ``eval()`` mode over every example of ``data``.

    Examples are taken in order of length, so that texts side by side are alike; the result does not
    depend on that order, since correct answers are counted and the loss is summed in fp64. ``seen``
    is called after each batch with the number of its examples.
    """
    device = flat.values.device
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    predictions = torch.empty(len(data), dtype=torch.int64, device=device)
    for places, batch, scores in _scored(flat, data):
        predictions[places] = scores.argmax(dim=-1)
        loss_sum += cross_entropy(scores.double(), batch.labels, reduction="sum")
        seen(len(batch))
    count = len(data)
    correct = (predictions == data.labels).sum()
    return Evaluation(
        accuracy=correct.item() / count,
        loss=loss_sum.item() / count,
        top_class_share=torch.bincount(predictions).max().item() / count,
        predictions=predictions.cpu(),
    )


@torch.inference_mode()
def scores_of(flat: FlatModel, data: DeviceSplit, seen: Seen = unseen) -> Tensor:
    """The scores of every example, (n, C) fp32 on the model's device, in ``eval()`` mode.

    ``seen`` is called as by :func:`evaluate`.
    """
    found = torch.empty(len(data), data.num_classes, device=flat.values.device)
    for places, batch, scores in _scored(flat, data):
        found[places] = scores
        seen(len(batch))
    return found


def _scored(flat: FlatModel, data: DeviceSplit) -> Iterator[tuple[Tensor, Batch, Tensor]]:
    """Batches of texts of about one length, each with its places in ``data`` and its scores."""
    flat.model.eval()
    order = torch.argsort(data.lengths, stable=True)
    batch_number = torch.cumsum(data.padded_lengths()[order], 0) // EVALUATION_TOKENS
    for indices in torch.split(order, torch.bincount(batch_number).tolist()):
        if not len(indices):  # a text longer than a batch leaves a gap in the numbers
            continue
        batch = data.batch(indices)
        # A batch sorts its texts by length too, and these are sorted: their order stays.
        yield send(indices, flat.values.device), batch, flat.forward(batch)
