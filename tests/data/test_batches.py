"""A batch is what padding its texts one by one would give."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from fedtune.data.batches import DeviceSplit
from fedtune.data.token_arrays import Split

PAD = 7
TEXTS = [[2, 11, 3], [2, 3], [2, 12, 13, 14, 3], [2, 15, 16, 3], [2, 17, 3]]
LABELS = [1, 0, 2, 1, 2]


def split(pad_to: int | None = None, *, pad_left: bool = False) -> DeviceSplit:
    offsets = np.cumsum([0, *map(len, TEXTS)])
    ragged = Split(np.array([*chain(*TEXTS)], dtype=np.int32), offsets, np.array(LABELS))
    device = torch.device("cpu")
    how = {"pad_to": pad_to, "pad_left": pad_left}
    return DeviceSplit(ragged, num_classes=3, pad_token_id=PAD, device=device, **how)


BATCHES = [[0], [1], [4, 1], [0, 1, 2, 3, 4], [2, 2], [3, 0, 1]]


def by_length(indices: list[int]) -> list[int]:
    return sorted(indices, key=lambda i: len(TEXTS[i]))


@pytest.mark.parametrize("indices", BATCHES)
def test_texts_lie_end_to_end_the_shortest_first(indices: list[int]) -> None:
    batch = split().batch(torch.tensor(indices))
    assert batch.token_ids.tolist() == [*chain(*(TEXTS[i] for i in by_length(indices)))]
    assert batch.packing.lengths.tolist() == [len(TEXTS[i]) for i in by_length(indices)]
    assert batch.labels.tolist() == [LABELS[i] for i in by_length(indices)]
    assert len(batch) == len(indices)


@pytest.mark.parametrize("indices", BATCHES)
def test_texts_can_be_padded_to_the_longest_with_the_padding_masked(indices: list[int]) -> None:
    token_ids, mask = split().batch(torch.tensor(indices)).padded()
    width, texts = max(len(TEXTS[i]) for i in indices), [TEXTS[i] for i in by_length(indices)]
    assert token_ids.tolist() == [text + [PAD] * (width - len(text)) for text in texts]
    assert mask.tolist() == [[1] * len(text) + [0] * (width - len(text)) for text in texts]
    assert {token_ids.dtype, mask.dtype} == {torch.int64}


@pytest.mark.parametrize("indices", [[1], [0, 1, 2, 3, 4], [3, 0]])
def test_without_an_attention_mask_texts_fill_max_length_and_all_of_it_is_attended_to(
    indices: list[int],
) -> None:
    batch = split(pad_to=8).batch(torch.tensor(indices))
    token_ids, mask = batch.padded()
    texts = [TEXTS[i] for i in by_length(indices)]
    assert token_ids.tolist() == [text + [PAD] * (8 - len(text)) for text in texts]
    assert mask.tolist() == [[1] * 8] * len(indices)
    assert batch.token_ids.tolist() == token_ids.flatten().tolist()
    assert batch.packing.lengths.tolist() == [8] * len(indices)


@pytest.mark.parametrize("indices", BATCHES)
def test_padding_can_come_first_and_be_another_token(indices: list[int]) -> None:
    token_ids, mask = split().batch(torch.tensor(indices)).padded(99, left=True)
    width, texts = max(len(TEXTS[i]) for i in indices), [TEXTS[i] for i in by_length(indices)]
    assert token_ids.tolist() == [[99] * (width - len(text)) + text for text in texts]
    assert mask.tolist() == [[0] * (width - len(text)) + [1] * len(text) for text in texts]


@pytest.mark.parametrize("indices", BATCHES)
def test_texts_of_one_length_are_batches_without_padding(indices: list[int]) -> None:
    parts = list(split().batch(torch.tensor(indices)).by_length())
    lengths = [set(part.packing.lengths.tolist()) for part in parts]
    assert [len(each) for each in lengths] == [1] * len(parts)
    assert len(set.union(*lengths)) == len(parts)
    assert all(part.padded()[1].all() for part in parts)
    texts = [row for part in parts for row in part.padded()[0].tolist()]
    assert texts == [TEXTS[i] for i in by_length(indices)]
    assert [label for part in parts for label in part.labels.tolist()] == [
        LABELS[i] for i in by_length(indices)
    ]


def test_without_an_attention_mask_padding_comes_where_the_tokenizer_puts_it() -> None:
    batch = split(pad_to=8, pad_left=True).batch(torch.arange(5))
    texts = [TEXTS[i] for i in by_length([0, 1, 2, 3, 4])]
    assert batch.padded()[0].tolist() == [[PAD] * (8 - len(text)) + text for text in texts]


def test_a_subset_is_the_same_examples_under_new_numbers() -> None:
    whole = split()
    part = whole.subset(torch.tensor([3, 1, 2]))
    assert (len(part), len(whole)) == (3, 5)
    for mine, its in ([0], [3]), ([1], [1]), ([2, 0], [2, 3]):
        ours, theirs = part.batch(torch.tensor(mine)), whole.batch(torch.tensor(its))
        assert torch.equal(ours.token_ids, theirs.token_ids)
        assert torch.equal(ours.packing.lengths, theirs.packing.lengths)
        assert torch.equal(ours.labels, theirs.labels)


def test_the_tokens_of_a_batch_are_known_before_it_is_made() -> None:
    assert split().padded_lengths().tolist() == [len(text) for text in TEXTS]
    assert split(pad_to=8).padded_lengths().tolist() == [8] * len(TEXTS)
