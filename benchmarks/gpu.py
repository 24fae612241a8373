"""A GPU: examples a second, share of its matrix-product ceiling, and the eager loop beside it.

    python -m benchmarks.gpu [--shapes 12x768,4x128] [--dataset bbc-news] [--rounds 5]

A shape is LAYERSxWIDTH of a BERT with random weights and BERT base's vocabulary. Both sides train
in this process on the same batches and take turns, round by round; the first round, in which
fedtune records most of its steps, is not counted.
The eager loop is what one writes by hand: transformers' model under bf16 autocast, a copy for each
client, added to a running mean. Its texts are on the device already, padded once and cut to the
longest of a batch, so it is spared the DataLoader; and its kernels need not be deterministic, as
fedtune's are. Without a GPU the same is computed on the processor.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.ceiling import matmul_ceiling, operations
from benchmarks.workload import federation, make_model, markdown, measured_on
from fedtune.data.packing import send
from fedtune.machine import available_cores
from fedtune.trial.federation import Federation

VOCABULARY = 30_522  # of BERT base

Round = Callable[[int], Any]


def fedtune_round(made: Federation) -> Round:
    """fedtune's round as a trial runs it; each goes on from the server's model."""
    return partial(made.round, evaluates=False)


def unrecorded_round(made: Federation) -> Round:
    """The same kernel by kernel, without recorded steps; it goes on from the same model."""

    def one_round(round_num: int) -> None:
        graphs, made.flat._graphs = made.flat._graphs, None
        made.round(round_num, evaluates=False)
        made.flat._graphs = graphs

    return one_round


def eager_round(made: Federation, server: Any) -> Round:
    """The hand-written loop's round; each goes on from ``server``, transformers' model."""
    data, recipe = made.splits["train"], made.recipe
    bf16 = made.trial.config.precision == "bf16"
    column = torch.arange(int(data.lengths.max()))
    real = (column < data.lengths[:, None]).to(made.device)
    take = torch.where(real, (data.starts[:, None] + column).to(made.device), 0)
    texts = torch.where(real, data.token_ids[take].long(), data.pad_token_id)

    def one_round(round_num: int) -> None:
        mean: dict[str, torch.Tensor] = {}
        for client_id, examples in enumerate(made.clients):
            model = copy.deepcopy(server)
            optimizer = torch.optim.SGD(model.parameters(), lr=recipe.learning_rate)
            for positions in recipe.batches(len(examples), round_num, client_id):
                chosen = examples[positions]
                width = int(data.lengths[chosen].max())
                chosen = send(chosen, made.device)
                optimizer.zero_grad()
                with torch.autocast(made.device.type, torch.bfloat16, enabled=bf16):
                    loss = model(
                        texts[chosen, :width],
                        attention_mask=real[chosen, :width].long(),
                        labels=data.labels[chosen],
                    ).loss
                loss.backward()
                optimizer.step()
            weight = len(examples) / len(data)
            for name, parameter in model.named_parameters():
                part = parameter.detach() * weight
                mean[name] = mean[name].add_(part) if name in mean else part
        with torch.no_grad():
            for name, parameter in server.named_parameters():
                parameter.copy_(mean[name])

    return one_round


def seconds(one_round: Round, round_num: int, device: torch.device) -> float:
    """How long a round takes, waiting for the device."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    one_round(round_num)
    wait()
    return time.perf_counter() - start


def row(shape: str, asked: argparse.Namespace) -> list[str]:
    """A shape's line of the table."""
    layers, width = map(int, shape.split("x"))
    with TemporaryDirectory() as folder:
        model = make_model(Path(folder) / shape, layers, width, VOCABULARY)
        made = federation(
            str(model),
            asked.dataset,
            clients=asked.clients,
            examples=asked.examples,
            threads=asked.threads,
            precision=asked.precision,
        )
    data = made.splits["train"]
    products = torch.float32 if made.trial.config.precision == "fp32" else torch.bfloat16
    ours, unrecorded, theirs, ceilings = [], [], [], []
    eager = eager_round(made, copy.deepcopy(made.flat.model).train())
    for round_num in range(1, asked.rounds + 2):
        ceilings.append(matmul_ceiling(products, made.device))
        ours.append(seconds(fedtune_round(made), round_num, made.device))
        unrecorded.append(seconds(unrecorded_round(made), round_num, made.device))
        theirs.append(seconds(eager, round_num, made.device))
    rate = len(data) / statistics.median(ours[1:])
    share = operations(made, data.lengths) / len(data) * rate / statistics.median(ceilings[1:])
    ratios = [their / our for our, their in zip(ours[1:], theirs[1:], strict=True)]
    return [
        shape.replace("x", " × "),
        f"{float(data.lengths.double().mean()):.0f}",
        f"{rate:,.0f}",
        f"{statistics.median(ceilings[1:]) / 1e12:.3g}",
        f"{100 * share:.0f} %",
        f"{len(data) / statistics.median(unrecorded[1:]):,.0f}",
        f"{len(data) / statistics.median(theirs[1:]):,.0f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=["12x768", "4x128"])
    parser.add_argument("--dataset", default="bbc-news")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--examples", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5, help="that are counted")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    header = [
        *("layers × width", "tokens a text", "fedtune, examples/s", "ceiling, TFLOP/s"),
        *("share of it", "kernel by kernel, examples/s", "eager loop, examples/s"),
        "times as long as fedtune (min to max)",
    ]
    print(
        f"{asked.examples} texts of {asked.dataset}, K = {asked.clients}, batches of 32, "
        f"{asked.precision}; median of {asked.rounds} rounds. {measured_on(asked.threads)}\n"
    )
    print(markdown(header, [row(shape, asked) for shape in asked.shapes]))


if __name__ == "__main__":
    main()
