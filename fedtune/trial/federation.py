"""A trial's model, data, partition and server state, and the record that each round gives."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from fedtune.data.batches import DeviceSplit
from fedtune.data.partition import iid_partition, label_counts
from fedtune.data.splits import Examples
from fedtune.data.token_arrays import Split
from fedtune.data.tokenizer import pads_left
from fedtune.errors import BadInput, first_line
from fedtune.federated.evaluation import evaluate
from fedtune.federated.fedavg import fedavg_round
from fedtune.federated.flat import FlatModel, digest
from fedtune.federated.local import Diverged, Seen
from fedtune.models.classifier import draw_head, head_names, load_classifier
from fedtune.models.forward import PaddedForward
from fedtune.trial import checkpoint
from fedtune.trial.activity import Activity, Watch, unwatched
from fedtune.trial.device import DEVICE_ERRORS, deterministic_kernels
from fedtune.trial.identity import Trial
from fedtune.trial.isolation import turn
from fedtune.trial.prepare import check_unchanged, data_facts, open_examples, recipe_of

BYTES_PER_PARAMETER = 4  # fp32, the precision in which parameters travel


class Federation:
    """Everything a trial computes with. ``server`` (num_parameters,) fp32 is the global model.

    ``watch`` is told what is being done.
    """

    #: Of this process: models and data sets that there were federations of, and the rounds run.
    inputs_here: ClassVar[set[tuple[str, str]]] = set()
    rounds_here: ClassVar[int] = 0

    def __init__(self, trial: Trial, watch: Watch = unwatched):
        self.trial, self._watch, config = trial, watch, trial.config
        Federation.inputs_here.add((trial.model_hash, trial.dataset_hash))
        with self.settings():
            self.device = torch.device(config.device)
            check_unchanged(trial)
            tokens, examples = open_examples(trial)
            self.facts: dict[str, Any] = data_facts(trial)
            model = load_classifier(
                Path(trial.model_dir),
                label_names=examples.label_names,
                seed=config.seed,
                pad_token_id=tokens.pad_token_id,
            )
            assert config.precision != "auto"
            self.flat = FlatModel(model.to(self.device), config.precision)
            self.facts["model/parameters"] = self.flat.num_parameters
            self.clients = iid_partition(
                len(examples.train),
                config.clients,
                seed=config.seed,
                drop_remainder=config.drop_last,
            )
            self.partition = self._describe_partition(examples)
            self.splits = {
                name: self._on_device(split, examples, tokens.pad_token_id)
                for name, split in vars(examples).items()
                if isinstance(split, Split)
            }
            self._check_reads()
            self.recipe = recipe_of(config)
            self._heads_apart = config.head_init == "per_client"
            if self._heads_apart:
                self._average_heads()
            self.server = self.flat.values.clone()
            self._buffers = self.flat.buffers_digest()
            self._predictions = torch.empty(0, dtype=torch.int64)

    @classmethod
    def is_first(cls, trial: Trial) -> bool:
        """Has this process trained nothing yet, or only been timed on what ``trial`` trains?"""
        own = {(trial.model_hash, trial.dataset_hash)}
        return not cls.rounds_here and cls.inputs_here <= own

    def round_zero(self) -> dict[str, Any]:
        """The record of the untrained server model."""
        record = {"round": 0, "steps/sequential": 0, "comm/bytes": 0}
        return record | self._evaluate(self.server, 0) | {"params_digest": digest(self.server)}

    def round(self, round_num: int, evaluates: bool) -> dict[str, Any]:
        """Run round ``round_num`` (from 1) and give its record.

        Raises Diverged, with the server's model as it was before.
        """
        config = self.trial.config
        own_heads = self._heads_apart and round_num == 1
        Federation.rounds_here += 1
        start = time.perf_counter()
        with self.settings():
            server, result = fedavg_round(
                self.server,
                self.flat,
                self.splits["train"],
                self.clients,
                self.recipe,
                round_num,
                self._draw_own_head if own_heads else lambda client_id: None,
                self._seen(round_num, "trains", self._examples_per_round),
            )
        # The norms that a round ends with waited for the device, so this is the time of the work.
        elapsed = time.perf_counter() - start
        params_digest = digest(server)
        if self.flat.buffers_digest() != self._buffers:
            raise RuntimeError("training changed the model's buffers, which FedAvg cannot average")
        traffic = 2 * config.clients * BYTES_PER_PARAMETER * self.flat.num_parameters
        record: dict[str, Any] = {
            "round": round_num,
            "train/loss": result.train_loss,
            "clients/drift": result.drift,
            "server/update_norm": result.update_norm,
            "steps/sequential": round_num * self.facts["steps/per_round"],
            "comm/bytes": round_num * traffic if config.clients > 1 else 0,
            "time/round_s": elapsed,
            "throughput/examples_per_s": result.num_examples / elapsed,
        }
        if result.agreement is not None:
            record["clients/agreement"] = result.agreement
        if evaluates:
            record |= self._evaluate(server, round_num)
        self.server = server
        return record | {"params_digest": params_digest}

    @property
    def test_predictions(self) -> np.ndarray:
        """Labels and predicted classes of the last evaluation, (2, num_test), in the order of the
        test split; a byte each for up to 256 classes.
        """
        split = self.splits["test"]
        kind = np.min_scalar_type(split.num_classes - 1)
        return np.stack([split.labels.cpu().numpy(), self._predictions.numpy()]).astype(kind)

    def save(self, directory: Path) -> None:
        """Write the server's model as a Hugging Face directory, tokenizer included."""
        with self.settings():
            self.flat.values.copy_(self.server)
            checkpoint.write(self.flat, Path(self.trial.model_dir), directory)

    def load(self, directory: Path, params_digest: str) -> None:
        """Take the server's model from a checkpoint; ValueError unless it has ``params_digest``.

        What the device itself raises (DEVICE_ERRORS) is let through.
        """
        checkpoint.read(self.flat, directory)
        self.server.copy_(self.flat.values)
        if digest(self.server) != params_digest:
            raise ValueError(f"{directory} does not hold the model of the last logged round")

    def _evaluate(self, server: torch.Tensor, round_num: int) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        start = time.perf_counter()
        with self.settings():
            self.flat.values.copy_(server)
            for name in ("test", "validation"):
                if name in self.splits:
                    split = self.splits[name]
                    seen = self._seen(round_num, "evaluates", len(split))
                    result = evaluate(self.flat, split, seen)
                    if not math.isfinite(result.loss):  # finite parameters, but far too large
                        raise Diverged(round_num, None)
                    if name == "test":
                        self._predictions = result.predictions
                    metrics |= {f"{name}/{key}": value for key, value in result.metrics().items()}
        return metrics | {"time/eval_s": time.perf_counter() - start}

    def _seen(self, round_num: int, doing: str, total: int) -> Seen:
        """What the round calls with the number of examples that went by; the watch gets the sum."""
        done = 0

        def seen(num_examples: int) -> None:
            nonlocal done
            done += num_examples
            self._watch(Activity(round_num, doing, done, total))

        seen(0)
        return seen

    @property
    def _examples_per_round(self) -> int:
        """What all clients train on in a round, each example once per local epoch."""
        size, drops = self.recipe.batch_size, self.recipe.drop_last
        left_out = sum(len(examples) % size for examples in self.clients) if drops else 0
        return self.recipe.local_epochs * (sum(map(len, self.clients)) - left_out)

    def _draw_own_head(self, client_id: int) -> None:
        draw_head(self.flat.model, self.trial.config.seed, "client", client_id)

    def _average_heads(self) -> None:
        """Give the server the weighted mean of the clients' heads (``head_init=per_client``)."""
        names = head_names(self.flat.model)
        total = sum(map(len, self.clients))
        mean = torch.zeros_like(self.flat.values)
        for client_id, examples in enumerate(self.clients):
            self._draw_own_head(client_id)
            mean.add_(self.flat.values, alpha=len(examples) / total)
        for name in names:
            part = self.flat.slices[name]
            self.flat.values[part] = mean[part]

    @torch.inference_mode()
    def _check_reads(self) -> None:
        """Raise BadInput where transformers' code cannot classify the shortest or longest texts."""
        if not isinstance(self.flat.forward, PaddedForward):
            return
        self.flat.model.eval()
        for name, data in self.splits.items():
            extremes = torch.stack([data.lengths.argmin(), data.lengths.argmax()])
            try:
                self.flat.forward(data.batch(extremes))
            except DEVICE_ERRORS:
                raise
            except Exception as error:
                lengths = " and ".join(map(str, data.lengths[extremes].tolist()))
                raise BadInput.of(
                    "model",
                    self.trial.config.model,
                    f"transformers' own code does not classify texts of {lengths} tokens, of the "
                    f"{name} split: {type(error).__name__}: {first_line(error)[:200]}",
                ) from error

    def _on_device(self, split: Split, examples: Examples, pad_token_id: int) -> DeviceSplit:
        return DeviceSplit(
            split,
            num_classes=examples.num_classes,
            pad_token_id=pad_token_id,
            pad_to=self._pad_to,
            pad_left=bool(self._pad_to) and pads_left(Path(self.trial.model_dir)),
            device=self.device,
        )

    @property
    def _pad_to(self) -> int | None:
        return None if self.trial.config.attention_mask else self.trial.config.max_length

    def _describe_partition(self, examples: Examples) -> dict[str, Any]:
        counts = label_counts(examples.train.labels, self.clients, examples.num_classes)
        return {
            "label_names": list(examples.label_names),
            "clients": [
                {"client_id": client_id, "num_examples": sum(labels), "labels": labels}
                for client_id, labels in enumerate(counts)
            ],
        }

    @contextmanager
    def settings(self) -> Iterator[None]:
        """The trial's threads and its own random numbers; the caller's are put back afterwards."""
        config = self.trial.config
        gpus = [config.device] if config.device.startswith("cuda") else []
        with (
            turn(),
            torch.random.fork_rng(devices=gpus),
            deterministic_kernels() if gpus else nullcontext(),
        ):
            threads = torch.get_num_threads()
            torch.set_num_threads(int(config.threads))
            try:
                yield
            finally:
                torch.set_num_threads(threads)
