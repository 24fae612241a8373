"""Subsets and validation split: what is drawn, from what, and by which seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedtune.data.splits import Examples, select_examples
from fedtune.data.token_arrays import Split, Tokens
from fedtune.errors import BadInput

Make = Callable[..., Tokens]


def select(tokens: Tokens, **changes: Any) -> Examples:
    settings = {
        "train_examples": "all",
        "validation_examples": 0,
        "test_examples": "all",
        "data_seed": 0,
    }
    return select_examples(tokens, **{**settings, **changes})


def members(split: Split | None) -> list[int]:
    """Which examples these are: in the fixture's tokens the first id of example i is i."""
    assert split is not None
    return [int(first) for first in split.token_ids[split.offsets[:-1]]]


@pytest.fixture
def sorted_by_label(make_tokens: Make) -> Tokens:
    return make_tokens([0] * 200 + [1] * 200, [0] * 50 + [1] * 50)


def test_everything_is_the_split_itself(sorted_by_label: Tokens) -> None:
    examples = select(sorted_by_label)
    assert examples.train is sorted_by_label.train
    assert examples.test is sorted_by_label.test
    assert examples.validation is None
    assert select(sorted_by_label, train_examples=400).train is sorted_by_label.train


def test_selected_examples_are_whole(sorted_by_label: Tokens) -> None:
    whole = sorted_by_label.train
    picked = whole.select(np.array([7, 3, 3, 399]))
    for i, source in enumerate([7, 3, 3, 399]):
        ids = whole.token_ids[whole.offsets[source] : whole.offsets[source + 1]]
        assert picked.token_ids[picked.offsets[i] : picked.offsets[i + 1]].tolist() == ids.tolist()
        assert picked.labels[i] == whole.labels[source]
    assert picked.lengths.tolist() == whole.lengths[[7, 3, 3, 399]].tolist()
    assert picked.token_ids.dtype == np.int32
    assert picked.offsets.dtype == np.int64
    assert len(whole.select(np.array([], dtype=np.int64))) == 0


@pytest.mark.parametrize("data_seed", range(5))
def test_draws_are_disjoint_sorted_and_of_the_size_asked_for(
    data_seed: int, sorted_by_label: Tokens
) -> None:
    examples = select(
        sorted_by_label,
        train_examples=100,
        validation_examples=60,
        test_examples=20,
        data_seed=data_seed,
    )
    train, validation = members(examples.train), members(examples.validation)
    test = members(examples.test)
    assert (len(train), len(validation), len(test)) == (100, 60, 20)
    assert not set(train) & set(validation)
    for drawn in (train, validation, test):
        assert drawn == sorted(set(drawn))
    assert 30 <= sum(i < 200 for i in train) <= 70, "drawn uniformly from data sorted by label"


def test_all_is_what_validation_leaves(sorted_by_label: Tokens) -> None:
    examples = select(sorted_by_label, validation_examples=30)
    both = members(examples.train) + members(examples.validation)
    assert sorted(both) == list(range(400))


def test_every_example_is_drawn_as_often(sorted_by_label: Tokens) -> None:
    counts = np.zeros(400)
    for data_seed in range(300):
        drawn = select(sorted_by_label, train_examples=100, data_seed=data_seed)
        counts[members(drawn.train)] += 1
    # Binomial (300, 1/4): 75 +- 7.5; five deviations leave a chance of 1 in 4,000 over 400 counts,
    # and the seeds are fixed.
    assert np.abs(counts - 75).max() < 5 * 7.5


def test_the_seed_and_nothing_else_decides(sorted_by_label: Tokens) -> None:
    def drawn(**changes: Any) -> tuple[list[int], list[int], list[int]]:
        settings = {"train_examples": 50, "validation_examples": 20, "test_examples": 10}
        examples = select(sorted_by_label, **{**settings, **changes})
        return members(examples.train), members(examples.validation), members(examples.test)

    train, validation, test = drawn()
    assert drawn() == (train, validation, test)
    assert all(a != b for a, b in zip(drawn(data_seed=1), (train, validation, test), strict=True))
    larger = drawn(train_examples=80)
    assert larger[1:] == (validation, test)
    assert set(train) < set(larger[0]), "a smaller training set is part of a larger one"


def test_texts_to_distil_on_are_set_aside_and_disturb_no_other_draw(
    sorted_by_label: Tokens,
) -> None:
    amounts = {"validation_examples": 60, "test_examples": 20}
    plain = select(sorted_by_label, **amounts)
    some, more = (select(sorted_by_label, distill_examples=n, **amounts) for n in (50, 90))
    assert plain.distill is None
    for examples in (some, more):
        assert members(examples.validation) == members(plain.validation)
        assert members(examples.test) == members(plain.test)
        aside = set(members(examples.distill)) | set(members(examples.validation))
        assert sorted([*aside, *members(examples.train)]) == list(range(400)), "and no text twice"
    assert len(members(some.distill)) == 50
    assert set(members(some.distill)) < set(members(more.distill))
    alone = select(sorted_by_label, distill_examples=50)
    assert len({*members(alone.distill)} & {*members(some.distill)}) >= 40, "but for validation's"
    other = select(sorted_by_label, distill_examples=50, data_seed=1, **amounts)
    assert members(other.distill) != members(some.distill)
    whole = select(sorted_by_label, distill_examples=50, train_examples=290, **amounts)
    assert members(whole.distill) == members(some.distill)


def test_texts_to_distil_on_are_balanced_where_all_splits_are(sorted_by_label: Tokens) -> None:
    amounts = {"validation_examples": 30, "distill_examples": 40, "train_examples": 50}
    examples = select(sorted_by_label, balance_classes=True, **amounts)
    for split in (examples.train, examples.validation, examples.distill):
        assert split is not None
        counts = np.bincount(split.labels)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("amounts", "words"),
    [
        ({"distill_examples": 400}, "distill_examples=400: allowed is less than the 400 examples"),
        ({"distill_examples": 370, "validation_examples": 30}, "less than the 370 .*after 30 for"),
        (
            {"distill_examples": 20, "validation_examples": 30, "train_examples": 351},
            "at most 350: .*after 30 for validation and 20 for distillation",
        ),
    ],
)
def test_too_many_texts_to_distil_on_are_refused(
    amounts: dict[str, int], words: str, sorted_by_label: Tokens
) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        select(sorted_by_label, **amounts)
    assert len(caught.value.faults) == 1


def test_too_many_are_refused_all_at_once(sorted_by_label: Tokens) -> None:
    with pytest.raises(BadInput) as caught:
        select(sorted_by_label, train_examples=381, validation_examples=20, test_examples=101)
    faults = caught.value.faults
    assert [(fault.field, fault.value) for fault in faults] == [
        ("train_examples", 381),
        ("test_examples", 101),
    ]
    assert "at most 380" in faults[0].message
    assert "at most 100" in faults[1].message
    with pytest.raises(BadInput, match="validation_examples=400: allowed is less than the 400"):
        select(sorted_by_label, validation_examples=400)
    assert len(select(sorted_by_label, train_examples=380, validation_examples=20).train) == 380


def test_balanced_splits_have_equally_many_of_every_class(make_tokens: Make) -> None:
    """To within one, disjoint, nested, and as many as the smallest class allows."""
    labels = [0] * 60 + [1] * 150 + [2] * 300, [0] * 40 + [1] * 9 + [2] * 20
    tokens = make_tokens(*labels, classes=3)

    def counts(split: Split | None) -> list[int]:
        assert split is not None
        return np.bincount(split.labels, minlength=3).tolist()

    examples = select(tokens, validation_examples=31, train_examples=90, balance_classes=True)
    assert sorted(counts(examples.validation)) == [10, 10, 11]
    assert counts(examples.train) == [30, 30, 30]
    assert counts(examples.test) == [9, 9, 9]
    train, validation = members(examples.train), members(examples.validation)
    assert not set(train) & set(validation)
    assert train == sorted(train)
    smaller = select(tokens, validation_examples=31, train_examples=50, balance_classes=True)
    assert set(members(smaller.train)) < set(train)
    assert members(smaller.validation) == validation
    whole = select(tokens, balance_classes=True)
    assert counts(whole.train) == [60, 60, 60]
    other = select(tokens, balance_classes=True, data_seed=1)
    assert members(other.train) != members(whole.train)
    for settings, allowed in (({"train_examples": 181}, "180"), ({"test_examples": 28}, "27")):
        with pytest.raises(BadInput, match=f"{allowed}: that many examples, equally many of every"):
            select(tokens, balance_classes=True, **settings)


def test_a_class_that_is_not_drawn_is_named(make_tokens: Make) -> None:
    tokens = make_tokens([0] * 99 + [1], [0, 1])
    with pytest.raises(BadInput, match=r"train_examples=2: none of the 2 .* class 'class 1'"):
        select(tokens, train_examples=2)
    with pytest.raises(BadInput, match=r"dataset=.*no example of class 'class 2'"):
        select(make_tokens([0, 1], [0, 1], classes=3))


def test_content_hash_is_that_of_what_is_used(make_tokens: Make) -> None:
    labels = [0, 1] * 20
    one, same = make_tokens(labels, labels), make_tokens(labels, labels)
    base = select(one).content_hash
    assert len(base) == 64
    assert select(same, data_seed=5).content_hash == base, "nothing was drawn"
    others = [
        select(make_tokens([1, 0] * 20, labels)),
        select(make_tokens(labels, [1, 0] * 20)),
        select(make_tokens([0, 1, 2, 0] * 10, labels, classes=3)),
        select(one, train_examples=20),
        select(one, train_examples=20, data_seed=1),
        select(one, validation_examples=5),
        select(one, test_examples=5),
    ]
    assert len({base, *(examples.content_hash for examples in others)}) == 1 + len(others)


FEW = [0] * 9 + [1] * 41 + [2] * 2
FRACTIONS = (0.01, 0.2, 0.5, 0.99)


def drawn_test(tokens: Tokens, fraction: float | None, data_seed: int = 0) -> Examples:
    return select(tokens, data_seed=data_seed, test_fraction=fraction)


def one_table(make_tokens: Make, labels: list[int], classes: int = 3) -> Tokens:
    return replace(make_tokens(labels, labels, classes), test=None)


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_a_test_set_is_drawn_by_class(fraction: float, make_tokens: Make) -> None:
    examples = drawn_test(one_table(make_tokens, FEW), fraction)
    for label, count in ((0, 9), (1, 41), (2, 2)):
        tested = int((examples.test.labels == label).sum())
        assert tested == min(max(round(fraction * count), 1), count - 1)
        assert tested + int((examples.train.labels == label).sum()) == count
    assert examples.test_fraction == fraction
    both = sorted(members(examples.train) + members(examples.test))
    assert both == list(range(len(FEW))), "every example is in one of the two, once"
    for split in (examples.train, examples.test):
        assert members(split) == sorted(members(split)), "in the order of the file"


def test_the_drawn_test_set_is_the_seeds_and_grows_with_the_fraction(
    make_tokens: Make,
) -> None:
    tokens = one_table(make_tokens, FEW)
    smaller = set()
    for fraction in FRACTIONS:
        larger = set(members(drawn_test(tokens, fraction).test))
        assert smaller <= larger
        smaller = larger
    same, again, other = (members(drawn_test(tokens, 0.2, seed).test) for seed in (3, 3, 4))
    assert same == again != other


def test_other_amounts_leave_the_drawn_test_set_as_it_is(make_tokens: Make) -> None:
    tokens = one_table(make_tokens, FEW)
    alone = drawn_test(tokens, 0.2)
    fewer = select(tokens, train_examples=20, validation_examples=5, test_fraction=0.2)
    assert members(fewer.test) == members(alone.test)
    assert fewer.validation is not None
    used = {*members(fewer.train), *members(fewer.validation)}
    assert used < set(members(alone.train))


def test_without_a_fraction_the_tokens_own_is_drawn(make_tokens: Make) -> None:
    tokens = one_table(make_tokens, FEW)
    assert drawn_test(tokens, None).test_fraction == 0.2
    assert drawn_test(replace(tokens, test_fraction=0.4), None).test_fraction == 0.4


def test_a_data_set_with_a_test_split_is_not_split(make_tokens: Make) -> None:
    tokens = make_tokens(FEW, [0, 1, 2], 3)
    examples = drawn_test(tokens, 0.5)
    assert (examples.train, examples.test) == (tokens.train, tokens.test)
    assert examples.test_fraction is None


def test_a_class_of_one_example_cannot_be_in_both(make_tokens: Make) -> None:
    with pytest.raises(BadInput, match="one example alone of class 'class 2', and") as caught:
        drawn_test(one_table(make_tokens, [0, 0, 1, 1, 2]), 0.2)
    assert caught.value.faults[0][:2] == ("test_fraction", 0.2)
