"""Do the pretrained miniatures beat the same architectures from random weights?

    FEDTUNE_DATA=DIR make bench-mini      (or: python -m benchmarks.mini --work DIR [--report])

Each miniature, pretrained and from scratch, is fine-tuned by fedtune itself: one client, an epoch a
round. The tasks are IMDB, AG News, Yelp (the same number of texts of
each class) and `bbc-news`: 1,000 training texts, at most 1,000 test texts. The learning rate is
chosen once per row of the table, by the mean accuracy of the last two epochs on 400 other training
texts of AG News (the mean, since plain SGD at a constant rate jumps about). AdamW is there to see
what mini-distilbert keeps of mini-bert's accuracy; like every optimiser of fedtune's clients it
begins anew every round.

Every run is a trial in WORK/trials; running again goes on where it stopped, and several processes
(each with `--threads 1`) may work on one folder. Prints the Markdown table of the model cards.
All runs together take about two hours of two cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.workload import measured_on
from fedtune.config import TrialConfig
from fedtune.data.tokenizer import TOKENIZER_FILES
from fedtune.machine import available_cores
from fedtune.models import zoo
from fedtune.models.classifier import quiet_transformers
from fedtune.trial.folder import TrialFolder
from fedtune.trial.locks import TrialInUse
from fedtune.trial.prepare import prepare
from fedtune.trial.simulation import simulate

MODELS = ("mini-bert", "mini-albert", "mini-distilbert")
TASKS = {"imdb": "imdb", "ag-news": "ag_news_14k", "yelp": "yelp_23k", "bbc-news": "bbc-news"}
TUNED_ON = "ag-news"
NUM_TRAIN, MOST_TEST, VALIDATION = 1000, 1000, 400
# The rates tried for each kind of row: how the weights start, and what trains them.
RATES = {
    ("pretrained", "sgd"): (0.0125, 0.025, 0.05, 0.1),
    ("scratch", "sgd"): (0.0125, 0.025, 0.05, 0.1, 0.2),
    ("pretrained", "adamw"): (3e-4, 1e-3),
}
OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW"}


@dataclass(frozen=True)
class Run:
    """One fine-tuning; with ``tuning`` scored on texts set aside from the training texts."""

    model: str
    start: str  # pretrained | scratch
    optimizer: str  # sgd | adamw
    rate: float
    task: str
    seed: int
    tuning: bool = False


class Bench:
    """The folder in which everything is made and kept."""

    def __init__(self, work: Path, epochs: int, threads: int):
        self.work, self.epochs, self.threads = work, epochs, threads

    def config(self, run: Run) -> TrialConfig:
        """The trial that ``run`` is."""
        return TrialConfig(
            model=run.model if run.start == "pretrained" else str(self.scratch(run)),
            dataset=TASKS[run.task],
            balance_classes=run.task == "yelp",  # its classes are not balanced
            clients=1,
            seed=run.seed,
            train_examples=NUM_TRAIN,
            validation_examples=VALIDATION if run.tuning else 0,
            test_examples=20 if run.tuning else "all" if run.task == "bbc-news" else MOST_TEST,
            local_epochs=1,
            client_optimizer="adamw" if run.optimizer == "adamw" else "sgd",
            learning_rate=run.rate,
            budget_rounds=self.epochs,
            max_rounds=self.epochs,
            eval_every=1 if run.tuning else self.epochs,
            stop_on="validation" if run.tuning else "test",
            threads=self.threads,
            device="cpu",
        )

    def scratch(self, run: Run) -> Path:
        """The architecture of ``run.model`` with weights drawn from ``run.seed``, written once."""
        from transformers import AutoConfig, AutoModelForSequenceClassification

        folder = self.work / "scratch" / f"{run.model}-{run.seed}"
        if not folder.exists():
            source = zoo.find_model(run.model).directory
            partial = folder.with_suffix(f".{os.getpid()}")
            with quiet_transformers(), torch.random.fork_rng():
                torch.manual_seed(run.seed)
                config = AutoConfig.from_pretrained(source, dtype=torch.float32)
                AutoModelForSequenceClassification.from_config(config).save_pretrained(partial)
            for name in TOKENIZER_FILES:
                if (source / name).is_file():
                    (partial / name).write_bytes((source / name).read_bytes())
            partial.rename(folder)
        return folder

    def accuracy(self, run: Run) -> float | None:
        """What ``run`` reached, where it is done: in tuning the mean of the last two rounds."""
        config = self.config(run)
        folder = TrialFolder(self.work / "trials", prepare(config).trial_id)
        records = folder.records() if folder.exists else []
        if len(records) <= self.epochs:
            return None
        counted = records[self.epochs - 1 : self.epochs + 1] if run.tuning else records[-1:]
        return statistics.mean(record[f"{config.stop_on}/accuracy"] for record in counted)

    def do(self, run: Run) -> None:
        """Run ``run`` unless it is done, or being done by another process."""
        if self.accuracy(run) is not None:
            return
        try:
            records = list(simulate(self.config(run), self.work / "trials"))
        except TrialInUse:
            return
        print(run, {k: v for k, v in records[-1].items() if k.endswith("accuracy")}, flush=True)

    def rate(self, model: str, start: str, optimizer: str, do: bool) -> float | None:
        """The rate with the best accuracy on the texts set aside; None until all are tried."""
        scores = {}
        for rate in RATES[start, optimizer]:
            run = Run(model, start, optimizer, rate, TUNED_ON, 0, tuning=True)
            if do:
                self.do(run)
            accuracy = self.accuracy(run)
            if accuracy is not None:
                scores[rate] = accuracy
        complete = len(scores) == len(RATES[start, optimizer])
        return max(scores, key=lambda rate: scores[rate]) if complete else None


def rows(models: list[str]) -> Iterator[tuple[str, str, str]]:
    """Model, start and optimiser of each row. AdamW is for distillation, so not for ALBERT."""
    for start, optimizer in RATES:
        for model in models:
            if optimizer == "sgd" or model != "mini-albert":
                yield model, start, optimizer


def work_through(bench: Bench, asked: argparse.Namespace) -> None:
    """Run whatever is missing, seed by seed, so that a stop leaves whole rows with fewer seeds."""
    for seed in range(asked.seeds):
        for model, start, optimizer in rows(asked.models):
            rate = bench.rate(model, start, optimizer, do=True)
            for task in asked.tasks if rate is not None else ():
                bench.do(Run(model, start, optimizer, rate, task, seed))


def table(bench: Bench, asked: argparse.Namespace) -> Iterator[str]:
    """The lines of the table: mean and standard deviation over the seeds that are done."""
    yield "| model | start | optimiser, rate | " + " | ".join(asked.tasks) + " |"
    yield "|---|---|---|" + "---|" * len(asked.tasks)
    for model, start, optimizer in rows(asked.models):
        rate = bench.rate(model, start, optimizer, do=False)
        if rate is None:
            continue
        cells = []
        for task in asked.tasks:
            example = Run(model, start, optimizer, rate, task, 0)
            runs = (replace(example, seed=seed) for seed in range(asked.seeds))
            scores = [score for run in runs if (score := bench.accuracy(run)) is not None]
            cells.append(cell(scores))
        yield f"| {model} | {start} | {OPTIMIZERS[optimizer]} {rate:g} | {' | '.join(cells)} |"


def cell(scores: list[float]) -> str:
    """Mean ± standard deviation (number of seeds)."""
    if not scores:
        return "not run"
    spread = f" ± {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.3f}{spread} ({len(scores)})"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("bench-mini"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=list(TASKS))
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--report", action="store_true", help="only print what is done")
    parser.add_argument("--threads", type=int, default=available_cores())
    asked = parser.parse_args()
    if "FEDTUNE_DATA" not in os.environ and set(asked.tasks) != {"bbc-news"}:
        parser.error("FEDTUNE_DATA must name the folder that holds imdb, ag_news_14k and yelp_23k")
    asked.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(asked.work.absolute(), asked.epochs, asked.threads)
    if not asked.report:
        work_through(bench, asked)
    print(
        f"Test accuracy, mean ± standard deviation (number of seeds), after {asked.epochs} epochs "
        f"of {NUM_TRAIN:,} training texts in batches of 32, texts cut to 128 tokens; at "
        f"most {MOST_TEST:,} test texts. The rate was chosen once per row on {VALIDATION} other "
        f"texts of {TUNED_ON}. {measured_on(asked.threads, 'cpu')}\n"
    )
    for line in table(bench, asked):
        print(line)


if __name__ == "__main__":
    main()
