"""A batch is what padding its texts one by one would give."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from fedtune.data.batches import DeviceSplit
from fedtune.data.tokens import Split

PAD = 7
TEXTS = [[2, 11, 3], [2, 3], [2, 12, 13, 14, 3], [2, 15, 16, 3], [2, 17, 3]]
LABELS = [1, 0, 2, 1, 2]


def split(pad_to: int | None = None) -> DeviceSplit:
    offsets = np.cumsum([0, *map(len, TEXTS)])
    ragged = Split(np.array([*chain(*TEXTS)], dtype=np.int32), offsets, np.array(LABELS))
    device = torch.device("cpu")
    return DeviceSplit(ragged, num_classes=3, pad_token_id=PAD, pad_to=pad_to, device=device)


@pytest.mark.parametrize("indices", [[0], [1], [4, 1], [0, 1, 2, 3, 4], [2, 2], [3, 0, 1]])
def test_texts_are_padded_to_the_longest_and_the_padding_is_masked(indices: list[int]) -> None:
    batch = split().batch(torch.tensor(indices))
    width = max(len(TEXTS[i]) for i in indices)
    assert batch.token_ids.tolist() == [TEXTS[i] + [PAD] * (width - len(TEXTS[i])) for i in indices]
    assert batch.attention_mask.tolist() == [
        [1] * len(TEXTS[i]) + [0] * (width - len(TEXTS[i])) for i in indices
    ]
    assert batch.labels.tolist() == [LABELS[i] for i in indices]
    assert len(batch) == len(indices)


@pytest.mark.parametrize("indices", [[1], [0, 1, 2, 3, 4], [3, 0]])
def test_without_an_attention_mask_texts_fill_max_length_and_all_of_it_is_attended_to(
    indices: list[int],
) -> None:
    batch = split(pad_to=8).batch(torch.tensor(indices))
    assert batch.token_ids.tolist() == [TEXTS[i] + [PAD] * (8 - len(TEXTS[i])) for i in indices]
    assert batch.attention_mask.tolist() == [[1] * 8] * len(indices)


def test_everything_in_a_batch_is_int64() -> None:
    batch = split().batch(torch.tensor([0, 2]))
    parts = (batch.token_ids, batch.attention_mask, batch.labels)
    assert {part.dtype for part in parts} == {torch.int64}


def test_a_subset_is_the_same_examples_under_new_numbers() -> None:
    whole = split()
    part = whole.subset(torch.tensor([3, 1, 2]))
    assert (len(part), len(whole)) == (3, 5)
    for mine, its in ([0], [3]), ([1], [1]), ([2, 0], [2, 3]):
        ours, theirs = part.batch(torch.tensor(mine)), whole.batch(torch.tensor(its))
        assert torch.equal(ours.token_ids, theirs.token_ids)
        assert torch.equal(ours.attention_mask, theirs.attention_mask)
        assert torch.equal(ours.labels, theirs.labels)


def test_the_width_of_a_batch_is_known_before_it_is_made() -> None:
    index = torch.tensor(2)
    assert split().padded_width(index) == 5
    assert split(pad_to=8).padded_width(index) == 8
