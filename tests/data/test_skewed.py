"""Partitions that are not uniform: covers, sizes, limits, and the field's own numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import default_rng

from fedtune.data import skewed
from fedtune.data.skewed import Indices, TooFew

LABELS = np.repeat(np.arange(4), 250)
GROUPS = default_rng(5).integers(0, 40, 1000)

Draw = Callable[[int, int], list[Indices]]

#: Each with K clients and a seed.
DRAWS: dict[str, Draw] = {
    "dirichlet": lambda k, seed: skewed.dirichlet(LABELS, k, 0.5, default_rng(seed)),
    "per class": lambda k, seed: skewed.dirichlet_per_class(LABELS, k, 2.0, 1, default_rng(seed)),
    "shards": lambda k, seed: skewed.shards(LABELS, k, 2, default_rng(seed)),
    "quantity": lambda k, seed: skewed.quantity(1000, k, 0.5, 1, default_rng(seed)),
    "natural": lambda k, seed: skewed.natural(GROUPS, k, default_rng(seed)),
}


def counts(clients: list[Indices], labels: Indices = LABELS) -> list[list[int]]:
    return [np.bincount(labels[c], minlength=labels.max() + 1).tolist() for c in clients]


@pytest.mark.parametrize("num_clients", [1, 2, 7, 32])
@pytest.mark.parametrize("name", DRAWS)
def test_every_example_belongs_to_exactly_one_client(name: str, num_clients: int) -> None:
    clients = DRAWS[name](num_clients, 0)
    assert len(clients) == num_clients
    assert all(c.dtype == np.int64 and len(c) for c in clients)
    assert np.array_equal(np.sort(np.concatenate(clients)), np.arange(1000))


@pytest.mark.parametrize("name", DRAWS)
def test_a_seed_decides_over_everything(name: str) -> None:
    first, again, other = (DRAWS[name](7, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=False))


def test_a_class_divided_by_shares_is_the_field_s_bit_for_bit() -> None:
    """What Flower's partitioner gives for these labels, K = 4, alpha = 0.5 and this generator."""
    clients = skewed.dirichlet_per_class(LABELS, 4, 0.5, 1, default_rng(42))
    assert counts(clients) == [
        [70, 4, 42, 5],
        [112, 38, 29, 167],
        [1, 122, 146, 25],
        [67, 86, 33, 53],
    ]


def test_a_minimum_that_no_draw_meets_is_told() -> None:
    with pytest.raises(TooFew):
        skewed.dirichlet_per_class(LABELS, 32, 0.01, 10, default_rng(0))


@pytest.mark.parametrize("num_clients", [3, 32])
def test_dirichlet_clients_have_equal_sizes(num_clients: int) -> None:
    sizes = [len(c) for c in skewed.dirichlet(LABELS, num_clients, 0.1, default_rng(0))]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_a_large_alpha_gives_everybody_the_classes_shares() -> None:
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    for client in skewed.dirichlet(labels, 4, 1e6, default_rng(0)):
        found = np.bincount(labels[client], minlength=3) / 250
        # Three standard errors of a share of 250 draws.
        assert np.all(np.abs(found - [0.7, 0.2, 0.1]) < 3 * np.sqrt(0.25 / 250))


@pytest.mark.parametrize("alpha", [1e-3, 1e-200])
def test_a_small_alpha_gives_each_client_one_class(alpha: float) -> None:
    clients = counts(skewed.dirichlet(LABELS, 20, alpha, default_rng(3)))
    # 20 clients of 50 examples and classes of 250: but for the last ones, which get what is left.
    assert sum(max(labels) == 50 for labels in clients) >= 12


def test_shards_hold_two_classes_at_most_where_they_do_not_cross_borders() -> None:
    for labels in counts(skewed.shards(LABELS, 10, 2, default_rng(0))):
        assert sum(labels) == 100
        assert sum(number > 0 for number in labels) <= 2


def test_quantities_differ_and_keep_the_minimum() -> None:
    sizes = [len(c) for c in skewed.quantity(1000, 10, 0.1, 5, default_rng(0))]
    assert min(sizes) >= 5
    assert max(sizes) > 300


def test_as_many_clients_as_groups_are_the_groups() -> None:
    clients = skewed.natural(GROUPS, 40, default_rng(0))
    assert [set(GROUPS[c]) for c in clients] == [{name} for name in range(40)]


def test_groups_stay_whole_and_sizes_are_as_equal_as_they_allow() -> None:
    clients = skewed.natural(GROUPS, 6, default_rng(0))
    seen = [set(GROUPS[c]) for c in clients]
    assert sum(map(len, seen)) == 40, "no group is in two clients"
    sizes = [len(c) for c in clients]
    assert max(sizes) - min(sizes) <= max(np.bincount(GROUPS))


def test_fixed_sizes_grow_with_the_clients_and_keep_the_first_ones() -> None:
    few, many = (skewed.fixed_per_client(1000, k, 50, default_rng(0)) for k in (2, 8))
    assert [len(c) for c in many] == [50] * 8
    assert len(np.unique(np.concatenate(many))) == 400
    assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=False))
