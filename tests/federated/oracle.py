"""Federated averaging as slowly and plainly as it can be written: what the engine must equal.

A copy of the model for every client, an ordinary optimiser over its parameters, state dicts that
are averaged name by name, batches padded text by text. Only the key of the order is fedtune's own,
and that a batch is sorted by length, since the rounding of a sum depends on its order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

from fedtune.data.token_arrays import Split
from fedtune.federated.distilling import Distillation
from fedtune.federated.local import LocalTraining
from fedtune.randomness import derive_seed


def padded_batch(split: Split, examples: list[int], pad: int) -> tuple[torch.Tensor, ...]:
    texts = [split.token_ids[split.offsets[i] : split.offsets[i + 1]].tolist() for i in examples]
    width = max(len(text) for text in texts)
    token_ids = [text + [pad] * (width - len(text)) for text in texts]
    mask = [[1] * len(text) + [0] * (width - len(text)) for text in texts]
    labels = [int(split.labels[i]) for i in examples]
    return torch.tensor(token_ids), torch.tensor(mask), torch.tensor(labels)


def train(
    model: nn.Module,
    split: Split,
    examples: list[int],
    how: LocalTraining,
    key: Any,
    pad: int = 0,
    correct: Callable[[str, torch.Tensor], torch.Tensor] | None = None,
) -> list[float]:
    """Fine-tune ``model``; the loss of every example of every step.

    ``correct`` says what is added to the gradient of a parameter, by its name and value.
    """
    if how.optimizer == "adamw":
        optimizer: Any = torch.optim.AdamW(
            model.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay
        )
    else:
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=how.learning_rate,
            momentum=how.momentum,
            weight_decay=how.weight_decay,
        )
    order = torch.Generator().manual_seed(derive_seed(how.seed, "order", *key))
    losses: list[float] = []
    model.train()
    for _ in range(how.local_epochs):
        shuffled = [examples[i] for i in torch.randperm(len(examples), generator=order).tolist()]
        for start in range(0, len(shuffled), how.batch_size):
            chosen = shuffled[start : start + how.batch_size]
            chosen.sort(key=lambda i: split.offsets[i + 1] - split.offsets[i])
            token_ids, mask, labels = padded_batch(split, chosen, pad)
            scores = model(input_ids=token_ids, attention_mask=mask).logits
            each = cross_entropy(scores, labels, reduction="none")
            optimizer.zero_grad()
            each.mean().backward()
            for name, parameter in model.named_parameters() if correct else ():
                parameter.grad += correct(name, parameter.detach())
            optimizer.step()
            losses += each.tolist()
    return losses


Named = dict[str, torch.Tensor]


def values_of(model: nn.Module) -> Named:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def flatten(state: Named) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in state.values()])


def local_models(
    server: nn.Module,
    split: Split,
    clients: list[list[int]],
    how: LocalTraining,
    round_num: int,
    cohort: list[int],
    correct: Callable[[int, str, torch.Tensor], torch.Tensor] | None = None,
) -> Iterator[tuple[int, Named, list[float]]]:
    """Each client of ``cohort``, and what the server's model becomes with it: values and losses.

    ``correct`` is that of :func:`train`, which is also told whose step it is.
    """
    for client_id in cohort:
        model, own = deepcopy(server), correct and partial(correct, client_id)
        losses = train(model, split, clients[client_id], how, (client_id, round_num), correct=own)
        yield client_id, values_of(model), losses


def average(server: nn.Module, states: list[Named], sizes: list[int]) -> None:
    for name, parameter in server.named_parameters():
        parts = zip(sizes, states, strict=True)
        mean = sum(size * state[name].double() for size, state in parts) / sum(sizes)
        parameter.data.copy_(mean)


def fedavg_round(
    server: nn.Module, split: Split, clients: list[list[int]], how: LocalTraining, round_num: int
) -> dict[str, float]:
    """One round: ``server`` becomes the mean of its clients; what the round tells about itself."""
    before, states, losses = values_of(server), [], []
    everybody = list(range(len(clients)))
    for _, values, each in local_models(server, split, clients, how, round_num, everybody):
        losses += each
        states.append(values)
    sizes = [len(examples) for examples in clients]
    average(server, states, sizes)
    weights = [size / sum(sizes) for size in sizes]
    deltas = [flatten(state) - flatten(before) for state in states]
    result = {
        "train_loss": sum(losses) / len(losses),
        "num_examples": len(losses),
        "drift": sum(delta.norm().item() for delta in deltas) / len(deltas),
        "update_norm": (flatten(dict(server.named_parameters())) - flatten(before)).norm().item(),
    }
    if len(deltas) > 1:  # the mean over pairs of clients, a pair weighing what its clients weigh
        pairs = list(combinations(range(len(deltas)), 2))
        aligned = sum(weights[i] * weights[j] * deltas[i].dot(deltas[j]).item() for i, j in pairs)
        squares = [delta.dot(delta).item() for delta in deltas]
        most = sum(weights[i] * weights[j] * (squares[i] + squares[j]) / 2 for i, j in pairs)
        result["agreement"] = aligned / most
    return result


def fedprox_round(
    server: nn.Module,
    split: Split,
    clients: list[list[int]],
    how: LocalTraining,
    round_num: int,
    cohort: list[int],
    mu: float,
) -> None:
    """One round of FedProx (1812.06127, algorithm 2) with the clients of ``cohort``."""
    before = values_of(server)

    def proximal(client_id: int, name: str, value: torch.Tensor) -> torch.Tensor:
        return mu * (value - before[name])

    trained = local_models(server, split, clients, how, round_num, cohort, proximal)
    states = [values for _, values, _ in trained]
    average(server, states, [len(clients[client_id]) for client_id in cohort])


def scaffold_round(
    server: nn.Module,
    split: Split,
    clients: list[list[int]],
    how: LocalTraining,
    round_num: int,
    cohort: list[int],
    control: Named,
    controls: list[Named],
) -> None:
    """One round of SCAFFOLD (1910.06378, algorithm 1 with option II). ``control`` and ``controls``
    are the variates of the server and of the clients.
    """
    before, states, changes = values_of(server), [], []

    def towards_all(client_id: int, name: str, value: torch.Tensor) -> torch.Tensor:
        return control[name] - controls[client_id][name]

    trained = local_models(server, split, clients, how, round_num, cohort, towards_all)
    for client_id, after, _ in trained:
        own = controls[client_id]
        num_steps = how.local_epochs * -(-len(clients[client_id]) // how.batch_size)
        scale = 1 / (num_steps * how.learning_rate)
        new = {n: own[n] - control[n] + scale * (before[n] - after[n]) for n in own}
        changes.append({name: new[name] - own[name] for name in own})
        controls[client_id] = new
        states.append(after)
    for name in control:
        control[name] = control[name] + sum(c[name] for c in changes) / len(clients)
    average(server, states, [len(clients[client_id]) for client_id in cohort])


def distilled_round(
    server: nn.Module,
    split: Split,
    texts: Split,
    clients: list[list[int]],
    how: LocalTraining,
    distilling: Distillation,
    *,
    from_mean: bool,
) -> torch.Tensor:
    """Round 1 of FedDF, or of one-shot, whose student is not the mean: the new model, flat.

    The teacher is asked text by text, and the student goes down the divergence as PyTorch has it.
    """
    student, asked = deepcopy(server), []
    everybody = list(range(len(clients)))
    for _, values, _ in local_models(server, split, clients, how, 1, everybody):
        model = deepcopy(server)
        model.load_state_dict(values, strict=False)
        model.eval()
        with torch.no_grad():
            batches = [padded_batch(texts, [i], 0) for i in range(len(texts))]
            asked.append(
                torch.cat([model(input_ids=i, attention_mask=m).logits for i, m, _ in batches])
            )
    teacher = torch.stack(asked).mean(dim=0).softmax(dim=-1)
    if from_mean:
        fedavg_round(student, split, clients, how, 1)
    student.train()
    optimizer = torch.optim.SGD(student.parameters(), lr=distilling.recipe.learning_rate)
    for batch in distilling.batches(1):
        token_ids, mask, _ = padded_batch(texts, batch.tolist(), 0)
        said = student(input_ids=token_ids, attention_mask=mask).logits.log_softmax(dim=-1)
        optimizer.zero_grad()
        kl_div(said, teacher[batch], reduction="batchmean").backward()
        optimizer.step()
    return flatten({name: p.detach() for name, p in student.named_parameters()})
