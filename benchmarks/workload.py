"""What the benchmarks compute: real texts where there are any, models of chosen shapes."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from fedtune.config import TrialConfig
from fedtune.data.tokenizer import TOKENIZER_FILES
from fedtune.models import zoo
from fedtune.models.classifier import quiet_transformers
from fedtune.provenance import hardware
from fedtune.trial.federation import Federation
from fedtune.trial.prepare import prepare


def measured_on(threads: int, device: str = "auto") -> str:
    """The line that belongs under every measured figure; ``auto`` is the device of a federation."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    return f"{hardware(device)}, {threads} threads; {versions}; {date.today():%Y-%m-%d}."


def make_model(directory: Path, layers: int, width: int, vocab_size: int = 8000) -> Path:
    """Write a BERT of that shape with random weights and mini-bert's tokenizer.

    Heads are 64 wide, the feed-forward part four times as wide as the model, as in BERT base.
    """
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(width // 64, 1),
        intermediate_size=4 * width,
    )
    with quiet_transformers(), torch.random.fork_rng():
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(directory)
    source = zoo.find_model("mini-bert").directory
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            (directory / name).write_bytes((source / name).read_bytes())
    return directory


@contextmanager
def model_of(asked: str) -> Iterator[str]:
    """A model by its name, or one of a shape such as ``4x256`` (layers x width), while needed."""
    layers, _, width = asked.partition("x")
    if not (layers.isdigit() and width.isdigit()):
        yield asked
        return
    with TemporaryDirectory() as folder:
        yield str(make_model(Path(folder) / asked, int(layers), int(width)))


def federation(
    model: str,
    dataset: str,
    *,
    clients: int,
    examples: int,
    threads: int,
    precision: str = "auto",
    local_epochs: int = 1,
) -> Federation:
    """A federation that is ready for its first round."""
    config = TrialConfig(
        model=model,
        dataset=dataset,
        clients=clients,
        train_examples=examples,
        test_examples=min(examples, 400),
        local_epochs=local_epochs,
        learning_rate=0.01,
        threads=threads,
        precision=precision,  # type: ignore[arg-type]
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    return Federation(prepare(config))


def add_round_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which round is measured."""
    parser.add_argument("--model", default="mini-bert")
    parser.add_argument("--dataset", default="bbc-news")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--examples", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="auto")


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
