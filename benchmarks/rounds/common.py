"""What every program of a peer needs: the work folder, the turns, the weighted mean.

The work folder is plain data that `benchmarks.peers` writes: a Hugging Face model directory, token
ids and labels, and for every round, client and step the texts of the batch, so that all tools
compute the same batches. Needs numpy, PyTorch and transformers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class Texts(Dataset[dict[str, Any]]):
    """Every training text: its token ids without padding, and its label."""

    def __init__(self, token_ids: np.ndarray, offsets: np.ndarray, labels: np.ndarray):
        self.token_ids, self.offsets, self.labels = token_ids, offsets, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        start, end = self.offsets[index], self.offsets[index + 1]
        return {"input_ids": self.token_ids[start:end], "labels": self.labels[index]}


class Batches:
    """The texts of each step of one client in one round, in order: a batch sampler."""

    def __init__(self, batches: list[list[int]], batch_size: int):
        self.batches, self.batch_size, self.drop_last = batches, batch_size, False

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        return iter(self.batches)


@dataclass(frozen=True)
class Work:
    """The work folder, read.

    ``sizes`` has the number of texts of each client, ``steps`` the number of its steps in a round.
    """

    folder: Path
    num_rounds: int
    batch_size: int
    learning_rate: float
    threads: int
    dropout: bool
    pad_token_id: int
    num_classes: int
    recipe: dict[str, Any]
    arrays: dict[str, np.ndarray]
    texts: Texts

    @property
    def num_clients(self) -> int:
        return len(self.arrays["sizes"])

    @property
    def sizes(self) -> list[int]:
        return [int(size) for size in self.arrays["sizes"]]

    def batches(self, round_num: int, client: int) -> Batches:
        """The batches of ``client`` (from 0) in round ``round_num`` (from 1)."""
        steps, offsets = self.arrays["steps"], self.arrays["batch_offsets"]
        first = (round_num - 1) * steps.sum() + steps[:client].sum()
        bounds = offsets[first : first + steps[client] + 1]
        parts = [self.arrays["batches"][a:b].tolist() for a, b in pairwise(bounds)]
        return Batches(parts, self.batch_size)

    def collate(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """A batch, padded to its longest text: input_ids, attention_mask (B, T), labels (B,)."""
        longest = max(len(example["input_ids"]) for example in examples)
        token_ids = np.full((len(examples), longest), self.pad_token_id, dtype=np.int64)
        mask = np.zeros((len(examples), longest), dtype=np.int64)
        for row, example in enumerate(examples):
            length = len(example["input_ids"])
            token_ids[row, :length] = example["input_ids"]
            mask[row, :length] = 1
        return {
            "input_ids": torch.from_numpy(token_ids),
            "attention_mask": torch.from_numpy(mask),
            "labels": torch.tensor([int(example["labels"]) for example in examples]),
        }

    def loader(self, round_num: int, client: int) -> DataLoader[dict[str, Any]]:
        """A DataLoader over the batches of ``client`` in round ``round_num``."""
        sampler: Any = self.batches(round_num, client)
        return DataLoader(self.texts, batch_sampler=sampler, collate_fn=self.collate)

    def load_model(self) -> Any:
        """The classifier that every tool starts from, in fp32, as transformers gives it."""
        from transformers import AutoConfig, AutoModelForSequenceClassification

        directory = self.folder / "model"
        config = AutoConfig.from_pretrained(directory)
        if not self.dropout:
            for name, value in config.to_dict().items():
                if "dropout" in name and isinstance(value, float):
                    setattr(config, name, 0.0)
        return AutoModelForSequenceClassification.from_pretrained(
            directory, config=config, dtype=torch.float32
        )


@lru_cache(maxsize=1)
def open_work(folder: str) -> Work:
    """Read the work folder; once per process."""
    plan = json.loads(Path(folder, "plan.json").read_text())
    with np.load(Path(folder, "arrays.npz")) as file:
        arrays = dict(file)
    texts = Texts(arrays.pop("token_ids"), arrays.pop("offsets"), arrays.pop("labels"))
    return Work(folder=Path(folder), arrays=arrays, texts=texts, **plan)


@lru_cache(maxsize=1)
def shared_model(folder: str) -> Any:
    """The classifier, loaded once per process, for workers that serve one client after another."""
    return open_work(folder).load_model()


def arguments() -> argparse.Namespace:
    """What `benchmarks.peers` starts every program with: work, params and precision."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work")
    parser.add_argument("params", type=Path, help="where the final parameters go (.npz)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    return parser.parse_args()


class Turns:
    """The talk with `benchmarks.peers`: one line each way per round, so that tools take turns.

    It begins with ``ready VERSION``. Each ``go`` is answered by ``done SECONDS``, ``end`` by
    ``peak MB``.
    Takes over the process's standard input and output: what a framework prints goes to standard
    error.
    """

    def __init__(self) -> None:
        self._input, self._output = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
        with open(os.devnull) as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        self._start = 0.0

    def ready(self, version: str) -> None:
        """Everything is loaded; ``version`` names the tool."""
        self._say(f"ready {version}")

    def wait(self) -> None:
        """Wait for this tool's turn; the clock of the round starts."""
        self._hear("go")
        self._start = time.perf_counter()

    def done(self) -> None:
        """The new server model is there: the clock stops."""
        self._say(f"done {time.perf_counter() - self._start}")

    def finish(self, peak_mb: float) -> None:
        """All rounds are done and the parameters are saved."""
        self._hear("end")
        self._say(f"peak {peak_mb}")

    def _hear(self, word: str) -> None:
        if self._input.readline().strip() != word:
            sys.exit("the driver has gone")

    def _say(self, line: str) -> None:
        print(line, file=self._output, flush=True)


def play(
    asked: argparse.Namespace,
    version: str,
    one_round: Callable[[int], None],
    state: Callable[[], dict[str, Tensor]],
    turns: Turns,
) -> None:
    """All turns of a tool whose round is a function call; ``state`` gives the server's model."""
    turns.ready(version)
    for round_num in range(1, open_work(asked.work).num_rounds + 1):
        turns.wait()
        one_round(round_num)
        turns.done()
    save_parameters(asked.params, state())
    turns.finish(peak_mb())


def weighted_mean(states: Sequence[dict[str, Tensor]], sizes: Sequence[int]) -> dict[str, Tensor]:
    """The clients' state dicts, averaged with the number of their texts as weights."""
    total = sum(sizes)
    mean = dict(states[0])
    for name, first in states[0].items():
        if first.is_floating_point():
            pairs = zip(states, sizes, strict=True)
            mean[name] = sum(state[name] * (size / total) for state, size in pairs)
    return mean


def save_parameters(path: Path, state: dict[str, Tensor]) -> None:
    """Write a state dict as an .npz file."""
    np.savez(path, **{name: tensor.detach().numpy() for name, tensor in state.items()})


def peak_mb() -> float:
    """The most memory that this process had resident, in MB.

    Linux says it of the program alone; ``ru_maxrss`` also knows what the process was before it.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
