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
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.workload import federation, hardware, markdown, model_of


def measured(asked: argparse.Namespace) -> None:
    """The measured process: a round for every line on stdin, its seconds as the answer."""
    with model_of(asked.model) as model:
        made = federation(
            model,
            asked.dataset,
            clients=asked.clients,
            examples=asked.examples,
            threads=asked.threads,
            precision=asked.precision,
        )
    for round_num, _ in enumerate(sys.stdin, start=1):
        start = time.perf_counter()
        made.round(round_num, evaluates=False)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mb": peak, "model_mb": megabytes(made)}))
        sys.stdout.flush()


def megabytes(made: Any) -> float:
    """The size of the model's parameters in fp32."""
    return made.flat.num_parameters * 4 / 2**20


def take_turns(settings: Sequence[dict[str, Any]], rounds: int) -> list[dict[str, float]]:
    """Median seconds, peak memory and model size for each of ``settings``; one warm-up round."""
    processes = [start(each) for each in settings]
    answers: list[list[dict[str, float]]] = [[] for _ in settings]
    for _ in range(rounds + 1):
        for process, kept in zip(processes, answers, strict=True):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            kept.append(json.loads(process.stdout.readline()))
    for process in processes:
        process.communicate()
    return [
        kept[-1] | {"seconds": statistics.median(answer["seconds"] for answer in kept[1:])}
        for kept in answers
    ]


def start(settings: dict[str, Any]) -> subprocess.Popen[str]:
    options = [f"--{name}={value}" for name, value in settings.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.scaling", "--measured", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(settings["threads"])},
    )


def table(name: str, values: Sequence[Any], common: dict[str, Any], rounds: int) -> str:
    """A table over ``values`` of the setting ``name``; ratios are to the first."""
    results = take_turns([common | {name: value} for value in values], rounds)
    first = results[0]
    rows = []
    for value, result in zip(values, results, strict=True):
        more = result["peak_mb"] - first["peak_mb"]
        rows.append(
            [
                value,
                f"{result['seconds']:.2f}",
                f"{result['seconds'] / first['seconds']:.2f}",
                f"{common['examples'] / result['seconds']:.0f}",
                f"{result['peak_mb']:.0f}",
                f"{more:+.0f} ({more / result['model_mb']:+.1f} models)",
            ]
        )
    header = [name, "s a round", "ratio", "examples/s", "peak MB", f"more than {values[0]}"]
    return markdown(header, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measured", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--dataset", default="bbc-news")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--examples", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="auto")
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
        f"turn by turn. {hardware(asked.threads)}\n"
    )
    print(f"Clients ({asked.model}):\n")
    print(table("clients", [1, 8, 32, 128, 1024], common, asked.rounds), flush=True)
    print(f"\nModels (K = {asked.clients}):\n")
    shapes = ["2x128", "4x128", "4x256", "8x256"]
    print(table("model", shapes, common | {"examples": asked.examples // 4}, asked.rounds))
    threads = [n for n in (1, 2, 4, 8, 16, 32) if n <= (os.cpu_count() or 1)]
    print(f"\nThreads ({asked.model}, K = {asked.clients}):\n")
    print(table("threads", threads, common, asked.rounds))


if __name__ == "__main__":
    main()
