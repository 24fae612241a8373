"""Where the time of a round goes, and how near it is to what the machine can multiply.

    python -m benchmarks.parts [--model mini-bert] [--dataset bbc-news] [--clients 32]

The parts are timed by themselves on the round's own batches: making a batch, forward, backward, the
optimiser's step, averaging, evaluation, and what a round costs outside the round (writing the log
and the checkpoint, carrying it into MLflow). The ceiling is the best rate of a large matrix product
in the same precision with the same threads, measured in between (`benchmarks.ceiling`).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.ceiling import matmul_ceiling, operations
from benchmarks.workload import add_round_options, federation, markdown, measured_on, model_of
from fedtune.federated.evaluation import evaluate
from fedtune.tracking.projection import Projection
from fedtune.trial.folder import TrialFolder
from fedtune.trial.results import read_result


class Times:
    """Seconds by part; each measurement waits for the device."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[part].append(time.perf_counter() - start)


def one_round(made: Any, times: Times) -> float:
    """A round of all clients, part by part; returns the operations it needed."""
    flat, data, recipe = made.flat, made.splits["train"], made.recipe
    needed = 0.0
    mean = torch.zeros_like(made.server.params)
    flat.model.train()
    for client_id, examples in enumerate(made.clients):
        with times.of("averaging"):
            flat.values.copy_(made.server.params)
        optimizer = recipe.new_optimizer(flat)
        for positions in recipe.batches(len(examples), 1, client_id):
            with times.of("batch"):
                batch = data.batch(examples[positions])
            with times.of("forward"):
                loss = cross_entropy(flat.forward(batch), batch.labels)
            with times.of("update"):
                optimizer.zero_grad(set_to_none=False)
            with times.of("backward"):
                loss.backward()
            with times.of("update"):
                optimizer.step()
            needed += operations(made, batch.packing.lengths)
        with times.of("averaging"):
            mean.add_(flat.values.sub_(made.server.params), alpha=1 / len(made.clients))
            torch.linalg.vector_norm(flat.values).item()
    with times.of("evaluation"):
        evaluate(flat, data.subset(torch.arange(len(made.splits["test"]))))
    return needed


def bookkeeping(made: Any, times: Times, folder: Path, rounds: int) -> None:
    """What is done beside the rounds: the log, the checkpoint, MLflow."""
    trial = TrialFolder(folder / "trials", made.trial.trial_id)
    trial.write_config(made.trial, made.facts)
    trial.write_json("partition.json", made.partition)
    projection = Projection(f"sqlite:///{folder / 'mlflow.db'}", "benchmark")
    projection.open_sweep()
    record = made.round_zero()
    for round_num in range(rounds):
        line = record | {"round": round_num}
        with times.of("log and checkpoint"):
            trial.commit([line], made.save)
        with times.of("MLflow"):
            projection.project(read_result(folder / "trials", made.trial))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_round_options(parser)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with model_of(asked.model) as model, TemporaryDirectory() as folder:
        made = federation(
            model,
            asked.dataset,
            clients=asked.clients,
            examples=asked.examples,
            threads=asked.threads,
            precision=asked.precision,
        )
        report(made, asked, Path(folder))


def report(made: Any, asked: argparse.Namespace, folder: Path) -> None:
    times = Times()
    dtype = torch.bfloat16 if made.trial.config.precision == "bf16" else torch.float32
    one_round(made, times)  # warm-up
    rounds, rates, needed = [], [], 0.0
    for _ in range(asked.rounds):
        times = Times()
        rates.append(matmul_ceiling(dtype, made.device))
        needed = one_round(made, times)
        rounds.append({part: sum(seconds) for part, seconds in times.seconds.items()})
    seconds = {part: statistics.median(each[part] for each in rounds) for part in rounds[0]}
    times = Times()
    bookkeeping(made, times, folder, 5)
    seconds |= {part: statistics.median(each) for part, each in times.seconds.items()}
    whole = sum(seconds.values())
    rows = [[part, f"{1000 * s:.0f}", f"{100 * s / whole:.1f} %"] for part, s in seconds.items()]
    print(
        f"One round of {asked.model} over {asked.examples} texts of {asked.dataset}, K = "
        f"{asked.clients}, {made.trial.config.precision}; evaluation of {len(made.splits['test'])} "
        f"texts. {measured_on(asked.threads)}\n"
    )
    print(markdown(["part", "ms a round", "share"], rows))
    training = seconds["forward"] + seconds["backward"]
    ceiling = statistics.median(rates)
    print(
        f"\nForward and backward: {needed / training / 1e9:.0f} of {ceiling / 1e9:.0f} GFLOP/s, "
        f"{100 * needed / training / ceiling:.0f} % of the ceiling."
    )


if __name__ == "__main__":
    main()
