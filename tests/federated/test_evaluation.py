"""Evaluation counts example by example, whatever the batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from material import NUM_CLASSES, PAD, load_flat, on_device, random_split
from torch.nn.functional import cross_entropy

from fedtune.data.token_arrays import Split
from fedtune.federated import evaluation
from fedtune.federated.evaluation import Evaluation, evaluate
from fedtune.federated.flat import FlatModel

EXAMPLES = 50


@pytest.fixture(scope="module")
def flat(bert: str) -> FlatModel:
    """With the usual dropout, which must be off in an evaluation, and a head that is undecided."""
    flat = load_flat(Path(bert))
    batch = on_device(random_split(EXAMPLES)).batch(torch.arange(EXAMPLES))
    flat.model.eval()
    with torch.no_grad():
        token_ids, mask = batch.padded()
        scores = flat.model(input_ids=token_ids, attention_mask=mask).logits
        flat.model.classifier.bias.sub_(scores.mean(0))
    flat.model.train()
    return flat


@torch.no_grad()
def one_by_one(flat: FlatModel, split: Split, pad_to: int | None = None) -> Evaluation:
    flat.model.eval()
    losses, answers = [], []
    for i, label in enumerate(split.labels.tolist()):
        text = split.token_ids[split.offsets[i] : split.offsets[i + 1]].tolist()
        text += [PAD] * ((pad_to or 0) - len(text))
        scores = flat.model(input_ids=torch.tensor([text])).logits
        losses.append(cross_entropy(scores, torch.tensor([label])).item())
        answers.append(int(scores.argmax()))
    counts = [answers.count(answer) for answer in range(NUM_CLASSES)]
    right = [answer == label for answer, label in zip(answers, split.labels.tolist(), strict=True)]
    return Evaluation(
        accuracy=sum(right) / len(right),
        loss=sum(losses) / len(losses),
        top_class_share=max(counts) / len(answers),
        predictions=torch.tensor(answers),
    )


def assert_equal(made: Evaluation, expected: Evaluation) -> None:
    assert made.accuracy == expected.accuracy
    assert made.top_class_share == expected.top_class_share
    assert made.loss == pytest.approx(expected.loss, rel=1e-5)  # fp32 products of other shapes
    assert torch.equal(made.predictions, expected.predictions)


@pytest.mark.parametrize("pad_to", [None, 16])
def test_an_evaluation_equals_a_loop_over_single_examples(
    pad_to: int | None, flat: FlatModel
) -> None:
    split = random_split(EXAMPLES)
    expected = one_by_one(flat, split, pad_to)
    assert 0 < expected.accuracy < 1
    assert expected.top_class_share < 1
    flat.model.train()
    assert_equal(evaluate(flat, on_device(split, pad_to)), expected)


@pytest.mark.parametrize("tokens", [1, 12, 13, 40, 100, 10_000])
@pytest.mark.parametrize("pad_to", [None, 16])
def test_the_size_of_batches_changes_nothing(
    tokens: int, pad_to: int | None, flat: FlatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = on_device(random_split(EXAMPLES), pad_to)
    expected = evaluate(flat, data)
    sizes: list[tuple[int, int]] = []
    make = type(data).batch

    def batch(self: object, indices: torch.Tensor) -> object:
        made = make(self, indices)  # type: ignore[arg-type]
        sizes.append((len(made), len(made.token_ids)))
        return made

    monkeypatch.setattr(type(data), "batch", batch)
    monkeypatch.setattr(evaluation, "EVALUATION_TOKENS", tokens)
    assert_equal(evaluate(flat, data), expected)
    assert sum(count for count, _ in sizes) == EXAMPLES
    longest = int(data.padded_lengths().max())
    assert all(count == 1 or total < tokens + longest for count, total in sizes)


def test_the_order_of_examples_changes_nothing(flat: FlatModel) -> None:
    split = random_split(EXAMPLES)
    order = np.random.default_rng(0).permutation(EXAMPLES)
    made = evaluate(flat, on_device(split.select(order)))
    expected = evaluate(flat, on_device(split))
    in_order = replace(expected, predictions=expected.predictions[torch.from_numpy(order)])
    assert_equal(made, in_order)


def test_every_example_counts_the_same_also_in_a_last_batch_of_one(
    flat: FlatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mean over batches would give the last example the weight of a whole batch."""
    split = random_split(9)
    monkeypatch.setattr(evaluation, "EVALUATION_TOKENS", 48)
    assert_equal(evaluate(flat, on_device(split, pad_to=12)), one_by_one(flat, split, pad_to=12))


def test_an_evaluation_draws_and_changes_nothing(flat: FlatModel) -> None:
    state, values = torch.get_rng_state(), flat.values.clone()
    first = evaluate(flat, on_device(random_split(EXAMPLES)))
    again = evaluate(flat, on_device(random_split(EXAMPLES)))
    assert again.metrics() == first.metrics()
    assert torch.equal(again.predictions, first.predictions)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(flat.values, values)
