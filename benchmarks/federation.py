"""What federation costs: rounds of fedtune's engine beside a plain PyTorch loop, at several K.

    make bench            (or: python -m benchmarks.federation --model mini-bert --clients 1,8,32)

Both do the same work in one run, turn by turn: the same model, texts, partition, local epochs and
batch size; dropout is off so that their parameters can be compared at the end. The plain loop is
what one writes first: a copy of the model per client, an optimiser over its parameters, a list of
state dicts, their weighted mean. Prints a Markdown table; quote ratios, not seconds.
"""

from __future__ import annotations

import argparse
import copy
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fedtune.config import TrialConfig
from fedtune.trial.federation import Federation
from fedtune.trial.prepare import prepare


def plain_round(
    server: Any, federation: Federation, round_num: int, config: TrialConfig
) -> dict[str, Tensor]:
    """One round as a hand-written loop has it; returns the new state dict."""
    data, recipe = federation.splits["train"], federation.recipe
    states, sizes = [], []
    for client_id, examples in enumerate(federation.clients):
        model = copy.deepcopy(server)
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=recipe.learning_rate)
        for positions in recipe.batches(len(examples), round_num, client_id):
            batch = data.batch(examples[positions])
            optimizer.zero_grad()
            output = model(input_ids=batch.token_ids, attention_mask=batch.attention_mask)
            torch.nn.functional.cross_entropy(output.logits, batch.labels).backward()
            optimizer.step()
        states.append(model.state_dict())
        sizes.append(len(examples))
    total = sum(sizes)
    mean = {
        name: sum(state[name] * (size / total) for state, size in zip(states, sizes, strict=True))
        for name in states[0]
        if states[0][name].is_floating_point()
    }
    return {**states[0], **mean}


def measure(
    model: str, dataset: str, clients: int, rounds: int, examples: int, threads: int
) -> str:
    """A row of the table: median seconds of a round, their ratio, the largest difference."""
    config = TrialConfig(
        model=model,
        dataset=dataset,
        clients=clients,
        train_examples=examples,
        local_epochs=1,
        threads=threads,
        device="cpu",
    )
    federation = Federation(prepare(config))
    without_dropout(federation.flat.model)
    plain = copy.deepcopy(federation.flat.model)
    times: dict[str, list[float]] = {"fedtune": [], "plain": []}
    torch.set_num_threads(threads)
    for round_num in range(1, rounds + 2):
        start = time.perf_counter()
        federation.round(round_num, evaluates=False)
        middle = time.perf_counter()
        plain.load_state_dict(plain_round(plain, federation, round_num, config))
        end = time.perf_counter()
        if round_num > 1:  # the first is warm-up
            times["fedtune"].append(middle - start)
            times["plain"].append(end - middle)
    difference = largest_difference(federation, plain)
    ratios = [p / f for p, f in zip(times["plain"], times["fedtune"], strict=True)]
    ours, theirs = (statistics.median(times[name]) for name in ("fedtune", "plain"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"| {clients} | {ours:.2f} | {theirs:.2f} | {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}) | {difference:.1e} | {peak:.0f} |"
    )


def without_dropout(model: Any) -> None:
    """Switch dropout off, also where attention reads its rate from the configuration."""
    for module in model.modules():
        for name in ("p", "dropout_prob", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def largest_difference(federation: Federation, plain: Any) -> float:
    """The largest absolute difference between the two models' parameters."""
    theirs = dict(plain.named_parameters())
    return max(
        float((federation.server[part] - theirs[name].detach().flatten()).abs().max())
        for name, part in federation.flat.slices.items()
    )


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> None:
    """Measure each K in a fresh federation and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--dataset", default="bbc-news")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args(arguments)
    say(
        f"{asked.model} on {asked.examples} texts of {asked.dataset}, {asked.threads} threads, "
        f"median of {asked.rounds} rounds; PyTorch {torch.__version__}, {platform.platform()}\n"
    )
    say("| K | fedtune, s a round | plain loop, s | plain / fedtune | difference | peak MB |")
    say("|---|---|---|---|---|---|")
    for clients in map(int, asked.clients.split(",")):
        say(
            measure(
                asked.model, asked.dataset, clients, asked.rounds, asked.examples, asked.threads
            )
        )


if __name__ == "__main__":
    main()
