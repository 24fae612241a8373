"""How a round's time and memory grow: with the clients, with the model, with the threads.

    python -m benchmarks.scaling [--dataset bbc-news] [--examples 1024] [--rounds 5]

Every line is measured in a process of its own, so that its peak memory is its own, and all of a
table's processes are there at once and take turns, so that what else the machine does meets all of
them alike. The work of a table is the same in every line but for what varies: the same texts, each
seen once a round, in batches of 32; only where a client has fewer than 32 texts its batches are
smaller, and then a round takes more steps.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.rounds.common import Turns, peak_mb
from benchmarks.turns import Player, take_turns
from benchmarks.workload import add_round_options, federation, markdown, measured_on, model_of


def measured(asked: argparse.Namespace) -> None:
    """The measured process: a round each turn. Its version is the size of its model in MB."""
    turns = Turns()
    with model_of(asked.model) as model:
        made = federation(
            model,
            asked.dataset,
            clients=asked.clients,
            examples=asked.examples,
            threads=asked.threads,
            precision=asked.precision,
        )
    turns.ready(str(made.flat.num_parameters * 4 / 2**20))
    for round_num in range(1, asked.rounds + 2):
        turns.wait()
        made.round(round_num, evaluates=False)
        turns.done()
    on_gpu = made.device.type == "cuda"
    turns.finish(torch.cuda.max_memory_allocated(made.device) / 1e6 if on_gpu else peak_mb())


def player(name: str, settings: dict[str, Any]) -> Player:
    options = [f"--{key}={value}" for key, value in settings.items()]
    command = [sys.executable, "-m", "benchmarks.scaling", "--measured", *options]
    return Player(name, command, {"OMP_NUM_THREADS": str(settings["threads"])})


def table(name: str, values: Sequence[Any], common: dict[str, Any], rounds: int) -> str:
    """A table over ``values`` of the setting ``name``; ratios are to the first."""
    players = [player(str(value), common | {name: value, "rounds": rounds}) for value in values]
    with TemporaryDirectory() as logs:
        finished, left_out = take_turns(players, rounds + 1, Path(logs))
    if left_out:
        raise SystemExit(f"{left_out}")
    seconds = [statistics.median(each.seconds[1:]) for each in finished]  # the first warms up
    rows = []
    for value, each, median in zip(values, finished, seconds, strict=True):
        more = each.peak_mb - finished[0].peak_mb
        rows.append(
            [
                value,
                f"{median:.2f}",
                f"{median / seconds[0]:.2f}",
                f"{common['examples'] / median:.0f}",
                f"{each.peak_mb:.0f}",
                f"{more:+.0f} ({more / float(each.version):+.1f} models)",
            ]
        )
    header = [name, "s a round", "ratio", "examples/s", "peak MB", f"more than {values[0]}"]
    return markdown(header, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measured", action="store_true", help=argparse.SUPPRESS)
    add_round_options(parser)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if asked.measured:
        measured(asked)
        return
    common = {
        key: getattr(asked, key)
        for key in ("model", "dataset", "clients", "examples", "threads", "precision")
    }
    print(
        f"A round over {asked.examples} texts of {asked.dataset}; median of {asked.rounds} rounds, "
        f"turn by turn. {measured_on(asked.threads)}\n"
    )
    print(f"Clients ({asked.model}):\n")
    clients = [number for number in (1, 8, 32, 128, 1024) if number <= asked.examples]
    print(table("clients", clients, common, asked.rounds), flush=True)
    print(f"\nModels (K = {asked.clients}):\n")
    shapes = ["2x128", "4x128", "4x256", "8x256"]
    print(table("model", shapes, common | {"examples": asked.examples // 4}, asked.rounds))
    threads = [n for n in (1, 2, 4, 8, 16, 32) if n <= (os.cpu_count() or 1)]
    print(f"\nThreads ({asked.model}, K = {asked.clients}):\n")
    print(table("threads", threads, common, asked.rounds))


if __name__ == "__main__":
    main()
