"""Does bf16 change the answer? The same comparison in fp32 and in bf16, seed by seed.

    python -m benchmarks.precision [--model mini-distilbert] [--dataset bbc-news] [--seeds 5]

Prints accuracy per round, and how far the two precisions are apart beside how far seeds are apart.
A pair of runs differs in rounding alone, which soon makes it as different as two orders of the same
batches would be; the question is whether the curves differ by more than curves of one precision do.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.workload import markdown, measured_on
from fedtune.config import TrialConfig
from fedtune.trial.simulation import simulate

PRECISIONS = ("fp32", "bf16")


def curve(asked: argparse.Namespace, clients: int, seed: int, precision: str) -> list[float]:
    """Test accuracy after each round from the first."""
    config = TrialConfig(
        model=asked.model,
        dataset=asked.dataset,
        clients=clients,
        seed=seed,
        precision=precision,  # type: ignore[arg-type]
        budget_rounds=asked.rounds,
        max_rounds=asked.rounds,
        train_examples=asked.examples,
        threads=asked.threads,
        device="cpu",
        **({} if asked.rate is None else {"learning_rate": asked.rate}),
    )
    return [record["test/accuracy"] for record in simulate(config, asked.store)][1:]


def rows(asked: argparse.Namespace, clients: int) -> list[list[str]]:
    """A row per round: mean and spread of both, the mean difference and its standard error."""
    curves = {
        precision: [curve(asked, clients, seed, precision) for seed in range(asked.seeds)]
        for precision in PRECISIONS
    }
    table = []
    for at in range(asked.rounds):
        ends = {name: [each[at] for each in curves[name]] for name in PRECISIONS}
        apart = [b - a for a, b in zip(ends["fp32"], ends["bf16"], strict=True)]
        spread = statistics.stdev(ends["fp32"])
        table.append(
            [
                str(clients),
                str(at + 1),
                *(f"{statistics.mean(e):.3f} ± {statistics.stdev(e):.3f}" for e in ends.values()),
                f"{statistics.mean(apart):+.3f}",
                f"{spread:.3f}",
                "yes" if abs(statistics.mean(apart)) < spread else "no",
            ]
        )
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini-distilbert")
    parser.add_argument("--dataset", default="bbc-news")
    parser.add_argument("--clients", type=lambda text: [*map(int, text.split(","))], default=[1, 8])
    parser.add_argument("--examples", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--store", type=Path, help="keep the trials, and go on with them")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        asked.store = asked.store or Path(folder)
        table = [row for clients in asked.clients for row in rows(asked, clients)]
    print(
        f"{asked.model} on {asked.examples} texts of {asked.dataset}: test accuracy, mean ± "
        f"standard deviation over {asked.seeds} seeds. {measured_on(asked.threads, 'cpu')}\n"
    )
    header = ["K", "round", *PRECISIONS, "bf16 - fp32", "spread over seeds", "difference is less"]
    print(markdown(header, table))


if __name__ == "__main__":
    main()
