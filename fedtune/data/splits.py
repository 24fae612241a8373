"""Which examples a trial uses: a test set where there is none, subsets and the validation split.

All are drawn by ``data_seed``, so the trials of a comparison share them.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedtune.data.labels import name_some
from fedtune.data.token_arrays import Split, Tokens
from fedtune.errors import BadInput, Fault
from fedtune.randomness import derive_seed

Amount = int | Literal["all"]


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of a trial, before they are spread over clients.

    ``distill`` are the texts that the server distils on, whose labels train nobody.
    ``test_fraction`` of each class was drawn for testing; None where the data set has a test split.
    """

    train: Split
    validation: Split | None
    test: Split
    num_classes: int
    label_names: tuple[str, ...]
    test_fraction: float | None = None
    group_names: tuple[str, ...] = ()
    distill: Split | None = None

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 (hex) of number of classes and token ids, offsets and labels of the splits, and
        of what tells the two texts of a pair apart.
        """
        digest = hashlib.sha256(f"{self.num_classes}".encode())
        for name in ("train", "validation", "distill", "test"):
            split: Split | None = getattr(self, name)
            if split is not None:
                split.add_to(digest, name)
        return digest.hexdigest()

    @functools.cached_property
    def groups_hash(self) -> str:
        """SHA-256 (hex) of the group of each training and test example; empty where none is known.

        A group counts by its name, and one without a training example not at all.
        """
        if self.train.groups is None:
            return ""
        there = np.unique(self.train.groups)
        names = [self.group_names[group] for group in there]
        digest = hashlib.sha256(json.dumps(names).encode())
        for split in (self.train, self.test):
            if split.groups is not None:
                places = np.searchsorted(there, split.groups)
                known = np.isin(split.groups, there)
                digest.update(f"/{len(split)}/".encode())
                digest.update(np.where(known, places, -1).astype("<i8").data)
        return digest.hexdigest()


def select_examples(
    tokens: Tokens,
    *,
    train_examples: Amount,
    validation_examples: int,
    test_examples: Amount,
    data_seed: int,
    distill_examples: int = 0,
    balance_classes: bool = False,
    test_fraction: float | None = None,
) -> Examples:
    """Draw the examples of a trial uniformly and without replacement; each keeps its file's order.

    Where the data set has no test split, ``test_fraction`` of every class (None: what ``tokens``
    say) is drawn for testing before anything else, at least one example and not all: the test set
    stays the same when other amounts change, and a smaller one is part of a larger one.
    The validation split is drawn from the training data first, then the texts to distil on, and the
    training examples from what is left, so a validation split stays the same when other amounts
    change, and a smaller training set is part of a larger one. The texts to distil on are drawn in
    an order of their own, in which those of the validation split are left out. With
    ``balance_classes`` every split that is drawn has equally many examples of each class, to within
    one; "all" is then what the smallest class allows. A split that is used whole stays
    memory-mapped.
    Raises BadInput where there are too few examples, or a class is left without a training example.
    """
    all_train, all_test = tokens.train, tokens.test
    if all_test is None:
        test_fraction = test_fraction or tokens.test_fraction
        all_train, all_test = _draw_test(tokens, test_fraction, data_seed)
    order = _order(all_train.labels, data_seed, "validation_examples", balance_classes)
    held_out = order[:validation_examples]
    pool = held_out[:0]
    if distill_examples:
        pool = _order(all_train.labels, data_seed, "distill_examples", balance_classes, held_out)
    distilled_on = pool[:distill_examples]
    rest = np.setdiff1d(np.arange(len(all_train)), np.concatenate([held_out, distilled_on]))
    if balance_classes or train_examples != "all":
        labels = all_train.labels[rest]
        rest = rest[_order(labels, data_seed, "train_examples", balance_classes)]
    test = np.arange(len(all_test))
    if balance_classes or test_examples != "all":
        test = _order(all_test.labels, data_seed, "test_examples", balance_classes)
    faults = _too_many(
        (train_examples, len(rest)),
        (validation_examples, len(order)),
        (distill_examples, len(pool)),
        (test_examples, len(test)),
        "examples, equally many of every class" if balance_classes else "examples",
    )
    if faults:
        raise BadInput(faults)
    examples = Examples(
        train=_take(all_train, rest[: None if train_examples == "all" else train_examples]),
        validation=_take(all_train, held_out) if validation_examples else None,
        test=_take(all_test, test[: None if test_examples == "all" else test_examples]),
        num_classes=tokens.num_classes,
        label_names=tokens.label_names,
        test_fraction=None if tokens.test else test_fraction,
        group_names=tokens.group_names,
        distill=_take(all_train, distilled_on) if distill_examples else None,
    )
    aside = validation_examples + distill_examples
    _check_classes(examples.train, tokens, train_examples, aside, data_seed)
    return examples


def _draw_test(tokens: Tokens, test_fraction: float, data_seed: int) -> tuple[Split, Split]:
    """What is left for training, and the test set."""
    labels = tokens.train.labels
    counts = np.bincount(labels, minlength=tokens.num_classes)
    small = [n for n, count in zip(tokens.label_names, counts, strict=True) if count < 2]
    if small:
        raise BadInput.of(
            "test_fraction",
            test_fraction,
            f"there is one example alone of {name_some(small)}, and a class needs two, one of them "
            "for testing; add some, leave the class out or join it with another",
        )
    rng = np.random.default_rng(derive_seed(data_seed, "test_fraction"))
    order = rng.permutation(len(labels))
    sizes = np.clip(np.round(test_fraction * counts).astype(int), 1, counts - 1)
    drawn = [order[labels[order] == label][:size] for label, size in enumerate(sizes)]
    test = np.sort(np.concatenate(drawn))
    train = np.setdiff1d(np.arange(len(labels)), test)
    return tokens.train.select(train), tokens.train.select(test)


def _order(
    labels: np.ndarray,
    data_seed: int,
    purpose: str,
    balanced: bool,
    taken: Sequence[int] | np.ndarray = (),
) -> np.ndarray:
    """The order in which examples are drawn, but for those that are ``taken``; balanced, it goes
    round the classes in turn.
    """
    rng = np.random.default_rng(derive_seed(data_seed, purpose))
    order = rng.permutation(len(labels))
    if len(taken):
        order = order[~np.isin(order, taken)]
    if not balanced or not len(order):
        return order
    classes, counts = np.unique(labels[order], return_counts=True)
    each = counts.min()
    turns = [order[labels[order] == name][:each] for name in classes]
    return np.stack(turns, axis=1).ravel()


def _take(split: Split, indices: np.ndarray) -> Split:
    return split if len(indices) == len(split) else split.select(np.sort(indices))


def _too_many(
    train: tuple[Amount, int],
    validation: tuple[int, int],
    distill: tuple[int, int],
    test: tuple[Amount, int],
    what: str,
) -> list[Fault]:
    """A fault for every amount of which there are fewer than asked for; pairs of asked, there."""
    faults = []
    if validation[0] >= validation[1]:
        faults.append(
            Fault(
                "validation_examples",
                validation[0],
                f"allowed is less than the {validation[1]} {what} of the training split",
            )
        )
    elif distill[0] and distill[0] >= distill[1]:
        left = f" after {validation[0]} for validation" if validation[0] else ""
        faults.append(
            Fault(
                "distill_examples",
                distill[0],
                f"allowed is less than the {distill[1]} {what} that the training split has{left}",
            )
        )
    elif train[0] != "all" and train[0] > train[1]:
        asides = {"validation": validation[0], "distillation": distill[0]}
        told = " and ".join(f"{number} for {why}" for why, number in asides.items() if number)
        left = f" after {told}" if told else ""
        faults.append(
            Fault(
                "train_examples",
                train[0],
                f"allowed is 'all' or at most {train[1]}: that many {what} the training split "
                f"has{left}",
            )
        )
    if test[0] != "all" and test[0] > test[1]:
        faults.append(
            Fault(
                "test_examples",
                test[0],
                f"allowed is 'all' or at most {test[1]}: that many {what} the test split has",
            )
        )
    return faults


def _check_classes(
    train: Split, tokens: Tokens, train_examples: Amount, set_aside: int, data_seed: int
) -> None:
    counts = np.bincount(train.labels, minlength=tokens.num_classes)
    absent = [name for name, count in zip(tokens.label_names, counts, strict=True) if not count]
    if not absent:
        return
    if train_examples == "all" and not set_aside:
        raise BadInput.of(
            "dataset",
            str(tokens.directory),
            f"its training split has no example of {name_some(absent)}",
        )
    raise BadInput.of(
        "train_examples",
        train_examples,
        f"none of the {len(train)} training examples drawn with data_seed={data_seed} is of "
        f"{name_some(absent)}; ask for more examples or another data_seed",
    )
