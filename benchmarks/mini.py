"""Do the pretrained miniatures beat the same architectures from random weights?

    FEDTUNE_DATA=DIR python -m benchmarks.mini [--out FILE] [--seeds N] [--report]

Each miniature, pretrained and from scratch, is fine-tuned with plain SGD (batches of 32, 128
tokens, no momentum) on IMDB, AG News, Yelp and `bbc-news`, on the same texts for the same number
of steps. The learning rate is chosen once per model and start, on a validation split of the
training texts. Every run is one line of a JSON lines file; running again goes on where it
stopped. Prints the Markdown table of the model cards; last rows: AdamW, to see what
mini-distilbert keeps of mini-bert's accuracy.

One run of the default size takes one to three minutes on two cores, all of them some hours. Two
processes with one thread each (`--models`, the same `--out`) do more than one with two.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.mini_tasks import NUM_TEST, TASKS, Split, Task, load_task, tokens_of

MODELS = ("mini-bert", "mini-albert", "mini-distilbert")
FOLDER = Path(__file__).parent.parent / "fedtune" / "models" / "mini"
BATCH_SIZE = 32
# By kind of row: how the weights start and what trains them.
RATES = {
    "pretrained": (0.05, 0.1, 0.2),
    "scratch": (0.05, 0.1, 0.2),
    "adamw": (3e-4, 1e-3),
}
KINDS = tuple(RATES)
ADAMW_EPOCHS = 4
TUNED_ON = "ag_news"


@dataclass(frozen=True)
class Run:
    """What one fine-tuning run is; equal runs are not repeated."""

    model: str
    start: str  # pretrained | scratch
    task: str
    optimizer: str  # sgd | adamw
    rate: float
    seed: int
    epochs: int
    num_train: int
    tuning: bool  # scored on a validation split of the training texts


def build(run: Run, num_labels: int) -> Any:
    """Return the classifier: pretrained encoder and a new head, or everything new."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(run.seed)
    folder = FOLDER / run.model
    if run.start == "pretrained":
        return AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=num_labels, dtype=torch.float32
        )
    config = AutoConfig.from_pretrained(folder, num_labels=num_labels, dtype=torch.float32)
    return AutoModelForSequenceClassification.from_config(config).float()


def pad(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad id lists with 0 to the longest; return ids and attention mask."""
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    return ids, (ids != 0).long()


@torch.no_grad()
def accuracy(model: Any, split: Split) -> float:
    """Share of `split` that `model` gets right."""
    model.eval()
    order = sorted(range(len(split.labels)), key=lambda i: len(split.tokens[i]))
    right = 0
    for at in range(0, len(order), 100):
        rows = order[at : at + 100]
        ids, mask = pad([split.tokens[i] for i in rows])
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=ids, attention_mask=mask).logits
        right += int((logits.argmax(-1) == torch.tensor([split.labels[i] for i in rows])).sum())
    return right / len(order)


def train(run: Run, task: Task) -> dict[str, Any]:
    """Fine-tune and return the accuracies after every second epoch, and the seconds it took."""
    began = time.monotonic()
    model = build(run, task.num_labels)
    rules: Any = torch.optim.SGD if run.optimizer == "sgd" else torch.optim.AdamW
    optimizer = rules(model.parameters(), lr=run.rate)
    data, test = (task.tune, task.validation) if run.tuning else (task.train, task.test)
    generator = torch.Generator().manual_seed(run.seed)
    curve = []
    for epoch in range(run.epochs):
        model.train()
        order = torch.randperm(len(data.labels), generator=generator).tolist()
        for at in range(0, len(order), BATCH_SIZE):
            rows = order[at : at + BATCH_SIZE]
            ids, mask = pad([data.tokens[i] for i in rows])
            labels = torch.tensor([data.labels[i] for i in rows])
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 2 == 1 or epoch + 1 == run.epochs:
            curve.append(round(accuracy(model, test), 4))
    return {
        "accuracy": curve[-1],
        "curve": curve,
        "seconds": round(time.monotonic() - began, 1),
    }


class Results:
    """The JSON lines file of finished runs."""

    def __init__(self, path: Path, data: Path) -> None:
        self.path = path
        self.data = data
        self.tasks: dict[tuple[str, int], Task] = {}
        self.done: dict[Run, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                self.done[Run(**entry["run"])] = entry["result"]

    def get(self, run: Run) -> dict[str, Any]:
        """Return the result of `run`, running it first if need be."""
        if run not in self.done:
            key = (run.task, run.num_train)
            if key not in self.tasks:
                encode = tokens_of(FOLDER / "mini-bert" / "tokenizer.json")
                self.tasks[key] = load_task(run.task, self.data, run.num_train, encode)
            result = train(run, self.tasks[key])
            self.done[run] = result
            with self.path.open("a") as stream:
                stream.write(json.dumps({"run": asdict(run), "result": result}) + "\n")
            print(run, result, flush=True)
        return self.done[run]


def tuning_runs(model: str, kind: str, args: Any) -> dict[float, Run]:
    """The runs, by rate, among which the rate of `model` is chosen; `kind` is a key of RATES."""
    start = "scratch" if kind == "scratch" else "pretrained"
    optimizer = "adamw" if kind == "adamw" else "sgd"
    epochs = ADAMW_EPOCHS if kind == "adamw" else args.epochs
    return {
        rate: Run(model, start, TUNED_ON, optimizer, rate, 0, epochs, args.num_train, True)
        for rate in RATES[kind]
    }


def tuned_rate(results: Results, model: str, kind: str, args: Any) -> float | None:
    """The rate with the best validation accuracy; None where none has been tried."""
    runs = tuning_runs(model, kind, args)
    scores = {
        rate: results.done[run]["accuracy"] for rate, run in runs.items() if run in results.done
    }
    return max(scores, key=lambda rate: scores[rate], default=None)


def scored_runs(model: str, kind: str, rate: float, task: str, args: Any) -> list[Run]:
    """The runs, one a seed, whose test accuracies make one cell of a table."""
    example = next(iter(tuning_runs(model, kind, args).values()))
    return [
        replace(example, task=task, rate=rate, seed=seed, tuning=False)
        for seed in range(args.seeds)
    ]


def work_through(results: Results, args: Any) -> None:
    """Run whatever is missing, seed by seed, so that a stop leaves whole rows with fewer seeds."""
    rows = [(model, kind) for kind in KINDS for model in args.models if has_row(model, kind)]
    for seed in range(args.seeds):
        for model, kind in rows:
            for run in tuning_runs(model, kind, args).values():
                results.get(run)
            rate = tuned_rate(results, model, kind, args)
            for task in args.tasks if rate is not None else ():
                results.get(scored_runs(model, kind, rate, task, args)[seed])


def has_row(model: str, kind: str) -> bool:
    """Whether the table has this row: AdamW is for what distillation keeps, so not for ALBERT."""
    return kind != "adamw" or model != "mini-albert"


def table(results: Results, args: Any) -> Iterator[str]:
    """Yield the Markdown lines: mean and standard deviation over the seeds that are done."""
    yield "| model | start | optimizer, rate | " + " | ".join(args.tasks) + " |"
    yield "|---|---|---|" + "---|" * len(args.tasks)
    for kind in KINDS:
        for model in args.models:
            rate = tuned_rate(results, model, kind, args) if has_row(model, kind) else None
            if rate is None:
                continue
            cells = []
            for task in args.tasks:
                runs = scored_runs(model, kind, rate, task, args)
                scores = [results.done[run]["accuracy"] for run in runs if run in results.done]
                cells.append(cell(scores))
            start = "scratch" if kind == "scratch" else "pretrained"
            rule = "AdamW" if kind == "adamw" else "SGD"
            yield f"| {model} | {start} | {rule} {rate:g} | " + " | ".join(cells) + " |"


def cell(scores: list[float]) -> str:
    """Mean ± standard deviation (number of seeds)."""
    if not scores:
        return "not run"
    spread = f" ± {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.3f}{spread} ({len(scores)})"


def main() -> None:
    """Run what is missing and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("bench-mini.jsonl"))
    parser.add_argument("--data", type=Path, default=os.environ.get("FEDTUNE_DATA", "data"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--num-train", type=int, default=2000)
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=list(TASKS))
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--report", action="store_true", help="only print what is done")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(args.threads)
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    results = Results(args.out, Path(args.data))
    if not args.report:
        work_through(results, args)
    print(
        f"Test accuracy, mean ± standard deviation (seeds): {args.num_train} training texts at "
        f"most, {NUM_TEST} test texts at most, {args.epochs} epochs of SGD, {ADAMW_EPOCHS} of "
        f"AdamW, batches of 32, 128 tokens; rate chosen once per row on {TUNED_ON}.\n"
    )
    for line in table(results, args):
        print(line)


if __name__ == "__main__":
    main()
