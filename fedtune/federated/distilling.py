"""How the server distils: what a model says of texts, and training it to say what others say."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fedtune.config import TrialConfig
from fedtune.data.batches import DeviceSplit
from fedtune.federated.evaluation import scores_of
from fedtune.federated.flat import FlatModel
from fedtune.federated.local import LocalTraining, Seen, recipe_of, train, unseen
from fedtune.randomness import generator


@dataclass(frozen=True)
class Distillation:
    """What the server does in a round: ``num_steps`` with ``recipe``'s optimiser and batches.

    The ``num_texts`` there are go by in an order that is drawn anew for every pass, by the recipe's
    seed and the round. ``local_epochs``, ``shuffle`` and ``drop_last`` are about clients.
    """

    recipe: LocalTraining
    num_steps: int
    num_texts: int

    def batches(self, round_num: int) -> list[Tensor]:
        """The texts of each step of a round, int64 indices."""
        order = generator(self.recipe.seed, "distillation", round_num)
        found: list[Tensor] = []
        while len(found) < self.num_steps:
            texts = torch.randperm(self.num_texts, generator=order)
            found += torch.split(texts, self.recipe.batch_size)
        return found[: self.num_steps]

    @property
    def num_used(self) -> int:
        """The texts that a round uses, which are those that clients' models are asked about."""
        return min(self.num_steps * self.recipe.batch_size, self.num_texts)

    @property
    def num_trained(self) -> int:
        """The texts of all steps of a round."""
        passes, rest = divmod(self.num_steps, math.ceil(self.num_texts / self.recipe.batch_size))
        return passes * self.num_texts + rest * self.recipe.batch_size


def distillation_of(config: TrialConfig, num_texts: int) -> Distillation:
    """What the server of this (settled) trial does in a round: as its clients do but for the rate.

    (The papers have Adam or AdamW there; docs/how-to/clients-that-differ.md says what they use.)
    """
    rate, num_steps = config.distill_learning_rate, config.distill_steps
    assert isinstance(rate, float)
    assert isinstance(num_steps, int)
    return Distillation(replace(recipe_of(config), learning_rate=rate), num_steps, num_texts)


@dataclass(eq=False)
class ModelPool:
    """Texts without labels on which a model is asked and taught, in the working model ``flat``.

    :meth:`begin` says which round it is. ``judging_s`` are the seconds since then that went into
    the test set.
    """

    flat: FlatModel
    texts: DeviceSplit
    test: DeviceSplit
    how: Distillation
    round_num: int = 0
    judging_s: float = 0.0
    _judges: bool = False
    _batches: list[Tensor] = field(default_factory=list)
    _used: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    _seen: Callable[[], Seen] = lambda: unseen

    def begin(
        self, round_num: int, judges: bool, seen: Callable[[], Seen] = lambda: unseen
    ) -> None:
        """Draw the texts of a round. In one that ``judges`` the test set is looked at too.

        What ``seen`` gives when training begins is called after each step (see train_client).
        """
        self.round_num, self._judges, self.judging_s, self._seen = round_num, judges, 0.0, seen
        self._batches = self.how.batches(round_num)
        self._used = torch.unique(torch.cat(self._batches))

    def scores(self, params: Tensor) -> Tensor:
        """The scores of the model ``params`` for the texts of the round, (n, C)."""
        self.flat.values.copy_(params)
        return scores_of(self.flat, self.texts.subset(self._used))

    def distilled(self, params: Tensor, teacher: Tensor) -> Tensor:
        """The model ``params`` after the round's steps towards ``teacher``; a view of the working
        model. Raises Diverged.
        """
        # Cross entropy against the teacher is its divergence from the student and a constant.
        taught = self.texts.subset(self._used).labelled(teacher)
        batches = (torch.searchsorted(self._used, batch) for batch in self._batches)
        self.flat.values.copy_(params)
        train(self.flat, taught, batches, self.how.recipe, self.round_num, None, self._seen())
        return self.flat.values

    def test_scores(self, params: Tensor) -> Tensor | None:
        """The scores of the model ``params`` for the test set, in a round that judges."""
        if not self._judges:
            return None
        start = time.perf_counter()
        self.flat.values.copy_(params)
        found = scores_of(self.flat, self.test)
        self.judging_s += time.perf_counter() - start
        return found

    def accuracy(self, test_scores: Tensor) -> float:
        """The share of the test set that these scores put into its class."""
        start = time.perf_counter()
        right = test_scores.argmax(dim=-1) == self.test.labels
        accuracy = right.sum().item() / len(self.test)  # waits for the device
        self.judging_s += time.perf_counter() - start
        return accuracy
