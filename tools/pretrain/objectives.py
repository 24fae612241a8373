"""The losses of pretraining and distillation, and what is measured on held-out text."""

from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from .batches import Batch, Corpus, make, schedule
from .students import Encoded, Student

TEMPERATURE = 2.0


@dataclass(frozen=True)
class Weights:
    """How much each term counts in the loss; 0 leaves a term out.

    `sentence`: 1 - cosine to the teacher's sentence embedding, mean over views and texts.
    `tokens`: cross entropy of masked tokens. `order`: cross entropy of the order task.
    `soft`: KL divergence to the larger model's masked-token distribution at temperature 2,
    times 4. `hidden`: 1 - cosine between last hidden states, mean over real tokens.
    """

    sentence: float
    tokens: float = 0.0
    order: float = 0.0
    soft: float = 0.0
    hidden: float = 0.0


def _terms(student: Student, batch: Batch, encoded: Encoded, weights: Weights) -> dict[str, Tensor]:
    terms: dict[str, Tensor] = {}
    cosines = student.sentence_cosines(encoded.views, batch.targets)[:, batch.has_target]
    if weights.sentence and cosines.numel():
        terms["sentence"] = 1 - cosines.mean()
    if weights.order and batch.order is not None and encoded.pooled is not None:
        logits = student.order_logits(encoded.pooled).float()
        terms["order"] = nn.functional.cross_entropy(logits, batch.order)
    return terms


def _token_logits(model: Student, encoded: Encoded, batch: Batch) -> Tensor:
    # Only masked positions go through the head: 15 % of the positions, 1 M products each.
    return model.token_logits(encoded.hidden[batch.positions]).float()


def loss_terms(
    student: Student, batch: Batch, weights: Weights, larger: Student | None = None
) -> dict[str, Tensor]:
    """Return the unweighted terms of the loss; `larger` is what mini-distilbert learns from."""
    encoded = student.encode(batch)
    terms = _terms(student, batch, encoded, weights)
    reference: Encoded | None = None
    if larger is not None and (weights.soft or weights.hidden):
        with torch.no_grad():
            reference = larger.encode(batch)
    if len(batch.positions) and (weights.tokens or weights.soft):
        logits = _token_logits(student, encoded, batch)
        terms["tokens"] = nn.functional.cross_entropy(logits, batch.labels)
        if larger is not None and reference is not None and weights.soft:
            with torch.no_grad():
                target = _token_logits(larger, reference, batch)
            terms["soft"] = TEMPERATURE**2 * nn.functional.kl_div(
                nn.functional.log_softmax(logits / TEMPERATURE, dim=-1),
                nn.functional.log_softmax(target / TEMPERATURE, dim=-1),
                reduction="batchmean",
                log_target=True,
            )
    if reference is not None and weights.hidden:
        cosines = nn.functional.cosine_similarity(
            encoded.hidden.float(), reference.hidden.float(), dim=-1
        )
        terms["hidden"] = 1 - cosines.mean()
    return terms


def weighted(terms: dict[str, Tensor], weights: Weights) -> Tensor:
    """Return the weighted sum of the terms."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()


@torch.no_grad()
def evaluate(student: Student, corpus: Corpus, num_batches: int = 12) -> dict[str, float]:
    """Measure a student on held-out passages (`num_batches` of 8,192 tokens, always the same).

    Masked-token loss (nats) and accuracy, cosine per view (texts unmasked), accuracy of the
    order task; the last is left out where the architecture has no pooler.
    """
    student.eval()
    # The tasks of "next" and "swap" differ, see batches.make.
    task = {"bert": "next", "albert": "swap"}.get(student.kind)
    sums: dict[str, list[float]] = {}
    for step, rows in islice(schedule(corpus, seed=1), num_batches):
        plain = make(corpus, rows, None, [2, step], masked=False)
        encoded = student.encode(plain)
        cosines = student.sentence_cosines(encoded.views, plain.targets).mean(1)
        for name, cosine in zip(("cosine_first", "cosine_mean"), cosines.tolist(), strict=True):
            sums.setdefault(name, []).append(cosine)
        masked = make(corpus, rows, None, [3, step], masked=True)
        logits = _token_logits(student, student.encode(masked), masked)
        loss = nn.functional.cross_entropy(logits, masked.labels).item()
        sums.setdefault("masked_loss", []).append(loss)
        accuracy = (logits.argmax(-1) == masked.labels).float().mean().item()
        sums.setdefault("masked_accuracy", []).append(accuracy)
        if task is not None:
            pair = make(corpus, rows, task, [4, step], masked=False)
            pooled = student.encode(pair).pooled
            if pooled is not None and pair.order is not None:
                right = (student.order_logits(pooled).argmax(-1) == pair.order).float().mean()
                sums.setdefault("order_accuracy", []).append(right.item())
    return {name: float(np.mean(values)) for name, values in sums.items()}
