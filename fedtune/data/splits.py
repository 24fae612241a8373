"""Which examples a trial uses: subsets and the validation split, drawn by ``data_seed``."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedtune.config import BadInput, Fault
from fedtune.data.columns import name_some
from fedtune.data.token_files import Split, Tokens
from fedtune.randomness import derive_seed

Amount = int | Literal["all"]


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of a trial, before they are spread over clients."""

    train: Split
    validation: Split | None
    test: Split
    num_classes: int
    label_names: tuple[str, ...]

    @functools.cached_property
    def content_hash(self) -> str:
        """SHA-256 (hex) of number of classes and token ids, offsets and labels of the splits."""
        digest = hashlib.sha256(f"{self.num_classes}".encode())
        for name in ("train", "validation", "test"):
            split: Split | None = getattr(self, name)
            if split is None:
                continue
            digest.update(f"/{name}/{len(split)}/{len(split.token_ids)}/".encode())
            digest.update(np.ascontiguousarray(split.token_ids, dtype="<i4").data)
            digest.update(np.ascontiguousarray(split.offsets, dtype="<i8").data)
            digest.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
        return digest.hexdigest()


def select_examples(
    tokens: Tokens,
    *,
    train_examples: Amount,
    validation_examples: int,
    test_examples: Amount,
    data_seed: int,
) -> Examples:
    """Draw the examples of a trial uniformly and without replacement; each keeps its file's order.

    The validation split is drawn from the training data first, the training examples from what is
    left, so a validation split stays the same when ``train_examples`` changes, and a smaller
    training set is part of a larger one. A split that is used whole stays memory-mapped.
    Raises BadInput where there are too few examples, or a class is left without a training example.
    """
    faults = _too_many(tokens, train_examples, validation_examples, test_examples)
    if faults:
        raise BadInput(faults)
    order = _shuffled(len(tokens.train), data_seed, "validation_examples")
    held_out, rest = order[:validation_examples], np.sort(order[validation_examples:])
    if train_examples != "all":
        rest = rest[_shuffled(len(rest), data_seed, "train_examples")[:train_examples]]
    test = np.arange(len(tokens.test))
    if test_examples != "all":
        test = _shuffled(len(test), data_seed, "test_examples")[:test_examples]
    examples = Examples(
        train=_take(tokens.train, rest),
        validation=_take(tokens.train, held_out) if validation_examples else None,
        test=_take(tokens.test, test),
        num_classes=tokens.num_classes,
        label_names=tokens.label_names,
    )
    _check_classes(examples.train, tokens, train_examples, validation_examples, data_seed)
    return examples


def _shuffled(count: int, data_seed: int, purpose: str) -> np.ndarray:
    return np.random.default_rng(derive_seed(data_seed, purpose)).permutation(count)


def _take(split: Split, indices: np.ndarray) -> Split:
    return split if len(indices) == len(split) else split.select(np.sort(indices))


def _too_many(tokens: Tokens, train: Amount, validation: int, test: Amount) -> list[Fault]:
    faults = []
    there = len(tokens.train)
    if validation >= there:
        faults.append(
            Fault(
                "validation_examples",
                validation,
                f"allowed is less than the {there} examples of the training split",
            )
        )
    elif train != "all" and train > there - validation:
        left = f", less {validation} for validation" if validation else ""
        faults.append(
            Fault(
                "train_examples",
                train,
                f"allowed is 'all' or at most {there - validation}: the training split has "
                f"{there} examples{left}",
            )
        )
    if test != "all" and test > len(tokens.test):
        faults.append(
            Fault(
                "test_examples",
                test,
                f"allowed is 'all' or at most {len(tokens.test)}, the size of the test split",
            )
        )
    return faults


def _check_classes(
    train: Split, tokens: Tokens, train_examples: Amount, validation_examples: int, data_seed: int
) -> None:
    counts = np.bincount(train.labels, minlength=tokens.num_classes)
    absent = [name for name, count in zip(tokens.label_names, counts, strict=True) if not count]
    if not absent:
        return
    if train_examples == "all" and not validation_examples:
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
