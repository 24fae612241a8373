"""Client by client: the examples that each has, and how well the server's model serves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from fedtune.data.partition import Draw, Partition, own_partition
from fedtune.data.splits import Examples
from fedtune.federated.client_accuracy import client_accuracies, own_accuracies
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import partition_of


@dataclass(frozen=True, eq=False)
class ClientData:
    """Who has what. ``counts`` (K, C) are each client's training examples of each class;
    ``groups`` the names of the groups that a natural partition has given to each; ``owners`` (n,)
    the client of each test example, by its group, -1 for nobody's, or None where test examples
    belong to no client. ``differ`` is whether they were spread otherwise than uniformly (``iid``).
    """

    clients: Sequence[Tensor]
    counts: np.ndarray
    groups: Sequence[list[str]] | None
    owners: np.ndarray | None
    differ: bool

    @classmethod
    def of(cls, trial: Trial, examples: Examples, draw: Draw | None) -> ClientData:
        """The examples of the clients of ``trial``, spread by ``draw`` if there is one."""
        config, labels = trial.config, examples.train.labels
        spread = own_partition(draw, labels, config) if draw else partition_of(trial)
        is_natural = config.partition == "natural"
        return cls(
            clients=spread.clients,
            counts=spread.label_counts(labels, examples.num_classes),
            groups=_group_names(spread, examples) if is_natural else None,
            owners=_owners(spread, examples) if is_natural and not draw else None,
            differ=draw is not None or config.partition != "iid",
        )

    def describe(self, label_names: Sequence[str]) -> dict[str, Any]:
        """What ``partition.json`` says: the examples of each client and how many of each class,
        and where clients have groups, those and the number of their test examples.
        """
        clients: list[dict[str, Any]] = [
            {"client_id": client_id, "num_examples": sum(labels), "labels": labels}
            for client_id, labels in enumerate(self.counts.tolist())
        ]
        if self.groups is not None:
            for client, groups in zip(clients, self.groups, strict=True):
                client["groups"] = groups
        if self.owners is not None:
            for client in clients:
                client["num_test_examples"] = int((self.owners == client["client_id"]).sum())
        return {"label_names": list(label_names), "clients": clients}

    def accuracies(self, labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        """The model as each client finds it: its accuracy on the test examples of the client's own
        groups where every client has some, else that on each class, weighted by the client's shares
        of the classes. Nothing with the partition ``iid``.

        ``labels`` and ``predictions`` (n,) are of the test examples.
        """
        if not self.differ or len(self.clients) == 1:
            return {}
        right, owners = predictions == labels, self.owners
        if owners is not None and np.isin(np.arange(len(self.clients)), owners).all():
            by_client = own_accuracies(owners, right)
        else:
            by_client = client_accuracies(self.counts, labels, right)
        return {
            "clients/accuracy_mean": float(by_client.mean()),
            "clients/accuracy_worst": float(by_client.min()),
            "clients/accuracy_p10": float(np.percentile(by_client, 10)),
        }


def _group_names(spread: Partition, examples: Examples) -> list[list[str]] | None:
    groups, names = examples.train.groups, examples.group_names
    if groups is None:
        return None
    return [[names[group] for group in np.unique(groups[own.numpy()])] for own in spread.clients]


def _owners(spread: Partition, examples: Examples) -> np.ndarray | None:
    train, test = examples.train.groups, examples.test.groups
    return None if train is None or test is None else spread.owners(train, test)
