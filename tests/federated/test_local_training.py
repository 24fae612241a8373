"""The order of a client's examples, its steps, and what it tells about them."""

from __future__ import annotations

import pickle
from itertools import chain
from pathlib import Path

import pytest
import torch
from material import load_flat, on_device, random_split, recipe

from fedtune.federated.local import Diverged, train_client

E = 3


def batches(num: int = 10, round_num: int = 1, client_id: int = 0, **changes: object) -> list:
    how = recipe(local_epochs=E, **changes)
    return [batch.tolist() for batch in how.batches(num, round_num, client_id)]


def epochs(num: int = 10, **arguments: object) -> list[list[int]]:
    flat = list(chain(*batches(num, **arguments)))  # type: ignore[arg-type]
    return [flat[start : start + num] for start in range(0, len(flat), num)]


@pytest.mark.parametrize("num", [1, 3, 4, 10])
def test_every_epoch_sees_every_example_once(num: int) -> None:
    assert [sorted(epoch) for epoch in epochs(num)] == [list(range(num))] * E
    sizes = [len(batch) for batch in batches(num)]
    per_epoch = [4] * (num // 4) + ([num % 4] if num % 4 else [])
    assert sizes == per_epoch * E


@pytest.mark.parametrize("num", [4, 10, 11])
def test_incomplete_batches_are_dropped_on_request(num: int) -> None:
    assert [len(batch) for batch in batches(num, drop_last=True)] == [4] * (num // 4) * E


@pytest.mark.parametrize("num", [1, 4, 10])
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_number_of_steps_is_known_beforehand(num: int, drop_last: bool) -> None:
    how = recipe(local_epochs=E, drop_last=drop_last)
    assert how.steps(num) == len(list(how.batches(num, 1, 0)))


def test_the_order_is_drawn_anew_for_every_epoch_round_client_and_seed() -> None:
    drawn = [
        *epochs(),
        *epochs(round_num=2),
        *epochs(client_id=1),
        *epochs(seed=1),
    ]
    assert len({str(order) for order in drawn}) == len(drawn) == 4 * E
    assert epochs() == epochs()


def test_the_order_is_drawn_once_on_request() -> None:
    drawn = [*epochs(shuffle="once"), *epochs(shuffle="once", round_num=2)]
    assert len({str(order) for order in drawn}) == 1
    assert drawn[0] != sorted(drawn[0])
    assert epochs(shuffle="once", client_id=1) != epochs(shuffle="once")


def test_the_loss_is_summed_over_examples_not_over_batches(without_dropout: Path) -> None:
    """With a rate of next to nothing the mean is that of the untrained model over the examples."""
    flat, split = load_flat(without_dropout / "bert"), random_split(9)
    data = on_device(split)
    loss, seen = train_client(
        flat, data, torch.arange(9), recipe(learning_rate=1e-12, local_epochs=1), 1, 0
    )
    batch = data.batch(torch.arange(9))
    with torch.no_grad():
        token_ids, mask = batch.padded()
        scores = flat.model(input_ids=token_ids, attention_mask=mask).logits
    expected = torch.nn.functional.cross_entropy(scores, batch.labels, reduction="sum").item()
    assert seen == 9
    assert loss == pytest.approx(expected, rel=1e-5)


def test_training_uses_dropout_drawn_from_seed_round_and_client(bert: str) -> None:
    data, everything = on_device(random_split(6)), torch.arange(6)
    how = recipe(batch_size=64, local_epochs=1, learning_rate=1e-12)

    def loss(round_num: int, client_id: int, seed: int = 0) -> float:
        flat = load_flat(Path(bert))
        flat.model.eval()  # as an evaluation before it leaves the model
        return train_client(
            flat, data, everything, recipe(**{**vars(how), "seed": seed}), round_num, client_id
        )[0]

    assert loss(1, 0) == loss(1, 0)
    assert len({loss(1, 0), loss(2, 0), loss(1, 1), loss(1, 0, seed=1)}) == 4


def test_diverged_crosses_process_borders() -> None:
    diverged = pickle.loads(pickle.dumps(Diverged(3, 5)))
    assert (diverged.round_num, diverged.client_id) == (3, 5)
    assert str(diverged) == "diverged in round 3 at client 5"
    assert str(Diverged(3, None)) == "diverged in round 3 in the server's model"
