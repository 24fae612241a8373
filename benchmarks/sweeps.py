"""What a launch costs beside computing: starting, one more trial, idle slots.

    python -m benchmarks.sweeps [--trials 24] [--model mini-distilbert] [--dataset toy]

Runs the real command in a folder of its own. The times of trials are read from their round logs,
those of files from the file system.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.workload import markdown, measured_on

#: How often a start is measured; the median counts.
_STARTS = 3


@dataclass(frozen=True)
class Launch:
    """Seconds: the whole command, until its first trial began, and what its trials computed."""

    whole: float
    to_first_trial: float
    busy: float
    computing: float  # from the beginning of the first trial to the last line of any log
    trials: int


def fedtune(folder: Path, *arguments: str) -> float:
    """Run the command to its end; returns its seconds."""
    start = time.time()
    command = [sys.executable, "-m", "fedtune", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.time() - start


def launch(folder: Path, asked: argparse.Namespace, num_trials: int, *options: str) -> Launch:
    """Run ``num_trials`` baselines, one a seed, and read what they cost."""
    folder.mkdir()
    start = time.time()
    whole = fedtune(
        folder, "run", "--model", asked.model, "--dataset", asked.dataset, "--clients", "1",
        "--seed", ",".join(map(str, range(num_trials))), "--threads", "1",
        "--budget-rounds", str(asked.rounds), "--max-rounds", str(asked.rounds), *options,
    )  # fmt: skip
    logs = [*(folder / "trials").glob("*/rounds.jsonl")]
    assert len(logs) == num_trials
    records = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    begun = min((log.parent / "partition.json").stat().st_mtime for log in logs)
    return Launch(
        whole=whole,
        to_first_trial=begun - start,
        busy=sum(r.get("time/round_s", 0.0) + r.get("time/eval_s", 0.0) for r in records),
        computing=max(log.stat().st_mtime for log in logs) - begun,
        trials=num_trials,
    )


def _median(launches: Sequence[Launch]) -> str:
    return f"{statistics.median(one.to_first_trial for one in launches):.1f} s"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini-distilbert")
    parser.add_argument("--dataset", default="toy")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    slots = os.cpu_count() or 1
    with TemporaryDirectory() as name:
        folder = Path(name)
        helps = [fedtune(folder, "--help") for _ in range(5)]
        launch(folder / "warm", asked, 1, "--no-ray")  # tokens, and files in memory
        alone = [launch(folder / f"alone{n}", asked, 1, "--no-ray") for n in range(_STARTS)]
        fews = [launch(folder / f"few{n}", asked, slots) for n in range(_STARTS)]
        few = sorted(fews, key=lambda one: one.whole)[_STARTS // 2]
        many = launch(folder / "many", asked, asked.trials)
    more = (many.whole - few.whole) - (many.busy - few.busy) / slots
    rows = [
        ["`fedtune --help`", f"{statistics.median(helps):.2f} s"],
        ["from `fedtune run` to round 0", _median(fews)],
        ["the same with `--no-ray`", _median(alone)],
        ["busy share of the slots", f"{100 * many.busy / many.computing / slots:.0f} %"],
        ["one more trial, beside its computing", f"{more / (many.trials - few.trials):.2f} s"],
    ]
    print(
        f"{asked.trials} trials of {asked.rounds} rounds of {asked.model} on {asked.dataset}, "
        f"{many.busy / many.trials:.1f} s of computing each, {slots} at a time. {measured_on(1)}\n"
    )
    print(markdown(["what", "cost"], rows))


if __name__ == "__main__":
    main()
