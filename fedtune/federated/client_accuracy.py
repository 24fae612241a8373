"""How well the server's model serves each client, without texts held out for it."""

from __future__ import annotations

import numpy as np


def own_accuracies(owners: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The accuracy of a model on each client's own test examples, (K,) fp64.

    ``owners`` (n,) are the clients of the test examples, -1 for nobody's; every client has some.
    ``right`` (n,) says which it classifies rightly.

    >>> owners, right = np.array([1, 0, 1, -1]), np.array([True, True, False, False])
    >>> own_accuracies(owners, right).tolist()
    [1.0, 0.5]
    """
    known = owners >= 0
    accuracies: np.ndarray = np.bincount(owners[known], right[known]) / np.bincount(owners[known])
    return accuracies


def client_accuracies(counts: np.ndarray, labels: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The accuracy of a model for each client, (K,) fp64: that on each class of the test set,
    weighted by the client's shares of the classes.

    ``counts`` (K, C) are each client's training examples of each class, ``labels`` (n,) those of
    the test set, and ``right`` (n,) says which of it are classified rightly. A class without a test
    example counts for nobody; a client that has no other is given the accuracy on the whole test
    set.

    >>> counts = np.array([[4, 0], [1, 1]])
    >>> client_accuracies(counts, np.array([0, 0, 1]), np.array([True, True, False])).tolist()
    [1.0, 0.5]
    """
    num_classes = counts.shape[1]
    tested = np.bincount(labels, minlength=num_classes)
    correct = np.bincount(labels[right], minlength=num_classes)
    by_class = correct / np.maximum(tested, 1)
    weights = np.where(tested > 0, counts, 0)
    total = weights.sum(axis=1)
    known = (weights * by_class).sum(axis=1) / np.maximum(total, 1)
    accuracies: np.ndarray = np.where(total > 0, known, right.mean())
    return accuracies
