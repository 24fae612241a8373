"""Every benchmark but the miniatures', one after another: ``make bench``.

    python -m benchmarks [--out DIR] [--dataset bbc-news] [--quick]

Prints each table as it comes and leaves them in DIR/tables.md, the comparison with other tools also
as a figure (DIR/peers.svg) and as numbers (DIR/peers.json). About an hour on two cores, of which
the first run spends some minutes on making the other tools' environments; ``--quick`` measures one
round of each on few texts, to see that everything runs. With a GPU, all tables but that of
other tools are of it, and one more sets it beside the eager loop.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch


def commands(out: Path, dataset: str, quick: bool) -> Iterator[tuple[str, list[str]]]:
    """Titles and the modules to run with their options."""
    rounds = ["--rounds", "1", "--examples", "128"] if quick else []
    for model in ("4x128", "4x256"):
        name = f"peers-{model}"
        files = ["--out", f"{out / name}.json", "--figure", f"{out / name}.svg"]
        options = ["peers", "--model", model, "--dataset", dataset, *files, *rounds]
        yield f"Beside other tools, {model}", options
    yield "Do they compute the same?", ["peers", "--check", "--model", "4x128", "--examples", "256"]
    turns = ["--turns", "1", "--examples", "64"] if quick else []
    yield "What each technique buys", ["techniques", "--dataset", dataset, *turns]
    yield "Where the time goes", ["parts", "--dataset", dataset, *rounds]
    yield "How it grows", ["scaling", "--dataset", dataset, *rounds]
    seeds = ["--seeds", "2", "--rounds", "1", "--examples", "128"] if quick else []
    yield "Does bf16 change the answer?", ["precision", "--dataset", dataset, *seeds]
    trials = ["--trials", "4", "--rounds", "2"] if quick else []
    yield "What a launch costs", ["sweeps", *trials]
    if torch.cuda.is_available():
        yield "On the GPU", ["gpu", "--dataset", dataset, *rounds]


def main() -> int:
    """Run them; gives 1 where one failed, after running the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--dataset", default="bbc-news")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    with (asked.out / "tables.md").open("w", encoding="utf-8") as tables:
        for title, (module, *options) in commands(asked.out, asked.dataset, asked.quick):
            command = [sys.executable, "-m", f"benchmarks.{module}", *options]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            failed += done.returncode != 0
            text = f"## {title}\n\n{done.stdout.strip()}\n"
            print(text, flush=True)
            print(text, file=tables, flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
