"""What one client does in a round: E local epochs of an ordinary optimiser on its own examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedtune.config import TrialConfig
from fedtune.data.batches import DeviceSplit
from fedtune.federated.flat import FlatModel
from fedtune.federated.strategy import Correction
from fedtune.randomness import derive_seed, generator

#: What is told of examples as they go by, for whoever shows progress.
Seen = Callable[[int], None]


def unseen(num_examples: int) -> None:
    """Nobody looks."""


class Diverged(RuntimeError):
    """A loss or a parameter stopped being finite; names the round and the client.

    No client (None) where all were finite and it was their mean, or the loss of that, that was not.
    """

    def __init__(self, round_num: int, client_id: int | None):
        self.round_num, self.client_id = round_num, client_id
        who = "in the server's model" if client_id is None else f"at client {client_id}"
        super().__init__(f"diverged in round {round_num} {who}")

    def __reduce__(self) -> tuple[type[Diverged], tuple[int, int | None]]:
        return type(self), (self.round_num, self.client_id)


@dataclass(frozen=True)
class LocalTraining:
    """The client's recipe (section 3.4 of the paper has the values that are the defaults)."""

    local_epochs: int
    batch_size: int
    optimizer: Literal["sgd", "adamw"]
    learning_rate: float
    momentum: float
    weight_decay: float
    shuffle: Literal["every_epoch", "once"]
    drop_last: bool
    seed: int

    def steps(self, num_examples: int) -> int:
        """Local steps that a client with ``num_examples`` takes in one round."""
        divide = math.floor if self.drop_last else math.ceil
        return self.local_epochs * divide(num_examples / self.batch_size)

    def num_seen(self, num_examples: int) -> int:
        """Examples that such a client trains on in one round, each once per local epoch."""
        left_out = num_examples % self.batch_size if self.drop_last else 0
        return self.local_epochs * (num_examples - left_out)

    def new_optimizer(self, flat: FlatModel) -> torch.optim.Optimizer:
        """A fresh optimiser: clients keep no state between rounds."""
        if self.optimizer == "adamw":
            return torch.optim.AdamW(
                [flat.parameters],
                lr=self.learning_rate,
                weight_decay=self.weight_decay,
                fused=flat.parameters.is_cuda,  # one kernel over the one vector
            )
        return torch.optim.SGD(
            [flat.parameters],
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )

    def batches(self, num_examples: int, round_num: int, client_id: int) -> Iterator[Tensor]:
        """Positions (at most batch_size, int64) of each local step's examples, in order."""
        key: tuple[int | str, ...] = (self.seed, "order", client_id)
        order = generator(*key, "once" if self.shuffle == "once" else round_num)
        positions = torch.randperm(num_examples, generator=order)
        for epoch in range(self.local_epochs):
            if epoch and self.shuffle == "every_epoch":
                positions = torch.randperm(num_examples, generator=order)
            for batch in torch.split(positions, self.batch_size):
                if not self.drop_last or len(batch) == self.batch_size:
                    yield batch


def recipe_of(config: TrialConfig) -> LocalTraining:
    """What every client of this (settled) trial does in a round."""
    assert isinstance(config.learning_rate, float)
    epochs = config.one_shot_epochs if config.is_one_shot else config.local_epochs
    assert isinstance(epochs, int)
    return LocalTraining(
        local_epochs=epochs,
        batch_size=config.batch_size,
        optimizer=config.client_optimizer,
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        shuffle=config.shuffle,
        drop_last=config.drop_last,
        seed=config.seed,
    )


def train_client(
    flat: FlatModel,
    data: DeviceSplit,
    examples: Tensor,
    recipe: LocalTraining,
    round_num: int,
    client_id: int,
    seen: Seen = unseen,
    correct: Correction | None = None,
) -> tuple[float, int]:
    """Train ``flat`` in place on ``examples`` (int64 indices into ``data``) for one round.

    Returns (sum of the loss over all examples of all local steps, their number). Raises Diverged
    when that loss, or a parameter, is no longer finite; it is looked at once per client, since each
    look makes a GPU wait. ``seen`` is called after each step with the number of its examples,
    ``correct`` before each with the gradient and the parameters.
    """
    positions = recipe.batches(len(examples), round_num, client_id)
    batches = (examples[some] for some in positions)
    return train(flat, data, batches, recipe, round_num, client_id, seen, correct)


def train(
    flat: FlatModel,
    data: DeviceSplit,
    batches: Iterable[Tensor],
    recipe: LocalTraining,
    round_num: int,
    client_id: int | None,
    seen: Seen = unseen,
    correct: Correction | None = None,
) -> tuple[float, int]:
    """A step on each of ``batches`` (int64 indices into ``data``), as :func:`train_client` says.

    ``client_id`` is None for the server. Labels may be distributions over the classes too.
    """
    flat.model.train()
    key = (recipe.seed, "dropout", round_num, "server" if client_id is None else client_id)
    draws = generator(*key)
    torch.manual_seed(derive_seed(*key))  # what other forwards draw from, and those on a GPU
    optimizer = recipe.new_optimizer(flat)
    loss_sum = torch.zeros((), dtype=torch.float64, device=flat.values.device)
    num_examples = 0
    for indices in batches:
        batch = data.batch(indices)
        optimizer.zero_grad(set_to_none=False)
        loss = flat.add_gradient(batch, draws)
        if correct is not None:
            assert flat.parameters.grad is not None
            correct(flat.parameters.grad, flat.values)
        optimizer.step()
        loss_sum += loss * len(batch)
        num_examples += len(batch)
        seen(len(batch))
    total = loss_sum.item()
    # One pass, 0.2 ms for two million parameters; `isfinite` makes temporaries and takes 5.
    extremes = torch.stack(torch.aminmax(flat.values)).tolist()
    if not all(map(math.isfinite, [total, *extremes])):
        raise Diverged(round_num, client_id)
    return total, num_examples
