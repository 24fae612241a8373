"""The IID partition: equal, disjoint, covering, drawn."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from fedtune.data.partition import Partition, iid_partition

SHAPES = [(1, 1), (7, 1), (7, 7), (10, 3), (64, 32), (101, 32), (1000, 7)]


def parts(num: int, clients: int, seed: int = 0, drop: bool = False) -> list[list[int]]:
    return [part.tolist() for part in iid_partition(num, clients, seed=seed, drop_remainder=drop)]


@pytest.mark.parametrize(("num", "clients"), SHAPES)
def test_every_example_belongs_to_exactly_one_client(num: int, clients: int) -> None:
    made = parts(num, clients)
    assert len(made) == clients
    assert sorted(chain(*made)) == list(range(num))


@pytest.mark.parametrize(("num", "clients"), SHAPES)
def test_sizes_differ_by_at_most_one_and_the_first_have_the_extra(num: int, clients: int) -> None:
    sizes = [len(part) for part in parts(num, clients)]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(("num", "clients"), SHAPES)
def test_without_the_remainder_all_have_the_same_and_less_than_k_are_left_out(
    num: int, clients: int
) -> None:
    made = parts(num, clients, drop=True)
    assert {len(part) for part in made} == {num // clients}
    chosen = list(chain(*made))
    assert len(set(chosen)) == len(chosen) == num - num % clients


def test_what_the_remainder_leaves_out_is_drawn_too() -> None:
    left_out = {*range(10)} - {*chain(*parts(10, 3, seed=1, drop=True))}
    other = {*range(10)} - {*chain(*parts(10, 3, seed=2, drop=True))}
    assert left_out != other


def test_another_seed_another_partition_and_the_same_seed_the_same() -> None:
    assert parts(100, 4, seed=0) == parts(100, 4, seed=0)
    assert len({str(parts(100, 4, seed=seed)) for seed in range(10)}) == 10


def test_a_client_is_a_sample_of_the_whole_not_a_slice_of_it() -> None:
    """Data sets are often sorted by label."""
    for part in parts(4096, 8):
        assert part != sorted(part)
        quarters = np.bincount(np.asarray(part) // 1024, minlength=4)
        assert quarters.min() > 90  # 128 expected, standard deviation below 10
        assert quarters.max() < 166


def test_partitions_for_different_numbers_of_clients_are_drawn_apart() -> None:
    assert [*chain(*parts(100, 2))] != [*chain(*parts(100, 4))]


def test_a_partition_takes_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    parts(100, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_are_counted_for_each_client() -> None:
    labels = np.array([0, 1, 1, 2, 0, 1])
    clients = [torch.tensor([0, 1, 2]), torch.tensor([3]), torch.tensor([4, 5])]
    counts = Partition(clients).label_counts(labels, 4)
    assert counts.tolist() == [[1, 2, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0]]
