"""Random numbers depend on their key and on nothing else."""

from __future__ import annotations

import itertools

import torch

from fedtune.randomness import derive_seed, generator, seeded


def test_a_key_gives_the_same_seed_on_every_machine() -> None:
    """Written down: another number here changes every trial, and needs another engine version."""
    assert derive_seed(0, "dropout", 1, 2) == 7317790544900136696
    assert derive_seed("partition") == 5336283461357965754


def test_every_part_of_a_key_counts_and_so_do_order_and_type() -> None:
    keys: list[tuple[int | str, ...]] = [
        *itertools.product((0, 1, 2), ("order", "dropout"), (0, 1, 2), (0, 1, 2)),
        (0, "order", 0),
        (0, "order", "0", 0),
        ("order", 0, 0, 0),
        ("0/order", 0, 0),
        (),
    ]
    assert len({derive_seed(*key) for key in keys}) == len(keys)


def test_neighbouring_seeds_share_no_stream_one_round_apart() -> None:
    seeds = {derive_seed(seed, "order", round_num) for seed in range(20) for round_num in range(20)}
    assert len(seeds) == 400


def test_a_seed_is_one_that_torch_and_numpy_take() -> None:
    for part in range(200):
        assert 0 <= derive_seed(part) < 2**63


def test_a_generator_is_independent_of_what_was_drawn_before() -> None:
    first = torch.rand(8, generator=generator(3, "order", 1))
    torch.manual_seed(99)
    generator(3, "order", 0)
    torch.rand(5)
    assert torch.equal(torch.rand(8, generator=generator(3, "order", 1)), first)
    assert not torch.equal(torch.rand(8, generator=generator(3, "order", 2)), first)


def test_making_a_generator_leaves_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(4, generator=generator("anything"))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_draw_from_the_shared_generator_leaves_it_as_it_was() -> None:
    torch.manual_seed(derive_seed("head", 1))
    expected = torch.rand(3)
    torch.manual_seed(5)
    untouched = torch.rand(3)
    torch.manual_seed(5)
    with seeded("head", 1):
        assert torch.equal(torch.rand(3), expected)
    assert torch.equal(torch.rand(3), untouched)
