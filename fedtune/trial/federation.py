"""A trial's model, data, partition and server state, and the record that each round gives."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from fedtune.data.batches import DeviceSplit
from fedtune.data.partition import Draw, own_partition
from fedtune.data.splits import Examples
from fedtune.data.token_arrays import Split
from fedtune.data.tokenizer import pads_left
from fedtune.errors import BadInput, first_line
from fedtune.federated.client_accuracy import client_accuracies, own_accuracies
from fedtune.federated.clients import ModelClients
from fedtune.federated.cohort import cohort_of
from fedtune.federated.evaluation import Evaluation, evaluate
from fedtune.federated.flat import FlatModel, digest
from fedtune.federated.local import Diverged, Seen, unseen
from fedtune.federated.round import federated_round
from fedtune.federated.strategies import strategy_of
from fedtune.federated.strategy import FedAvg, Server
from fedtune.models.classifier import draw_head, head_names, load_classifier
from fedtune.models.forward import PaddedForward
from fedtune.trial import checkpoint
from fedtune.trial.activity import Activity, Watch, unwatched
from fedtune.trial.device import DEVICE_ERRORS, deterministic_kernels
from fedtune.trial.identity import Trial
from fedtune.trial.isolation import turn
from fedtune.trial.prepare import (
    check_unchanged,
    data_facts,
    open_examples,
    partition_of,
    recipe_of,
)

BYTES_PER_PARAMETER = 4  # fp32, the precision in which parameters travel


@dataclass(frozen=True)
class Own:
    """What a user brings in place of what has a name: see :func:`fedtune.simulate`."""

    strategy: FedAvg | None = None
    partition: Draw | None = None


NOTHING_OWN = Own()


class Federation:
    """Everything a trial computes with. ``server`` is the global model and what the strategy keeps.

    ``vectors`` is the file in which a strategy may keep a vector for each client between processes.
    ``watch`` is told what is being done. ``own`` are a strategy and a partition in place of those
    of the configuration.
    """

    #: Of this process: models and data sets that there were federations of, and the rounds run.
    inputs_here: ClassVar[set[tuple[str, str]]] = set()
    rounds_here: ClassVar[int] = 0

    def __init__(
        self,
        trial: Trial,
        watch: Watch = unwatched,
        vectors: Path | None = None,
        own: Own = NOTHING_OWN,
    ):
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
            labels = examples.train.labels
            spread = own_partition(own.partition, labels, config) if own.partition else None
            spread = spread or partition_of(trial)
            self.clients = spread.clients
            self._counts = spread.label_counts(labels, examples.num_classes)
            self._differ = own.partition is not None or config.partition != "iid"
            self._own_tests = None if own.partition else self._owners_of_tests(examples)
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
            self.strategy = own.strategy or strategy_of(config, self.flat.num_parameters, vectors)
            known = map(self._trained(0).info, range(len(self.clients)))
            params = self.flat.values.clone()
            self.server = Server(params, self.strategy.memory(params, list(known)))
            self._met: set[int] = set()
            self._met_until = 0
            self._totals = {"steps/sequential": 0, "comm/bytes": 0}
            self._buffers = self.flat.buffers_digest()
            self._predictions = torch.empty(0, dtype=torch.int64)

    @classmethod
    def is_first(cls, trial: Trial) -> bool:
        """Has this process trained nothing yet, or only been timed on what ``trial`` trains?"""
        own = {(trial.model_hash, trial.dataset_hash)}
        return not cls.rounds_here and cls.inputs_here <= own

    def round_zero(self) -> dict[str, Any]:
        """The record of the untrained server model."""
        params = self.server.params
        record = {"round": 0, **self._totals}
        record |= self._evaluate(params, 0) | {"params_digest": digest(params)}
        return record | _memory_digest(self.server)

    def round(self, round_num: int, evaluates: bool) -> dict[str, Any]:
        """Run round ``round_num`` (from 1) and give its record.

        Raises Diverged, with the server as it was before.
        """
        config, cohort = self.trial.config, self._cohort(round_num)
        Federation.rounds_here += 1
        start = time.perf_counter()
        with self.settings():
            server, result = federated_round(
                self.server, self.strategy, self._trained(round_num), cohort, round_num
            )
        # The norms that a round ends with waited for the device, so this is the time of the work.
        elapsed = time.perf_counter() - start
        params_digest = digest(server.params)
        if self.flat.buffers_digest() != self._buffers:
            raise RuntimeError("training changed the model's buffers, which FedAvg cannot average")
        totals = {
            "steps/sequential": self._totals["steps/sequential"] + result.num_steps,
            "comm/bytes": self._totals["comm/bytes"] + self._sent(len(cohort)),
        }
        record: dict[str, Any] = {
            "round": round_num,
            "train/loss": result.train_loss,
            "clients/drift": result.drift,
            "server/update_norm": result.update_norm,
            **totals,
            "time/round_s": elapsed,
            "throughput/examples_per_s": result.num_examples / elapsed,
        }
        if result.agreement is not None:
            record["clients/agreement"] = result.agreement
        if config.participation < 1:
            record["clients/sampled"] = len(cohort)
        record |= self._further(result.further, record)
        if evaluates:
            record |= self._evaluate(server.params, round_num)
        self.server, self._totals = server, totals
        return record | {"params_digest": params_digest, **_memory_digest(server)}

    @property
    def test_predictions(self) -> np.ndarray:
        """Labels and predicted classes of the last evaluation, (2, num_test), in the order of the
        test split; a byte each for up to 256 classes.
        """
        split = self.splits["test"]
        kind = np.min_scalar_type(split.num_classes - 1)
        return np.stack([split.labels.cpu().numpy(), self._predictions.numpy()]).astype(kind)

    def save(self, directory: Path) -> None:
        """Write the server's model as a Hugging Face directory, tokenizer included, and beside it
        what the strategy keeps.
        """
        with self.settings():
            self.flat.values.copy_(self.server.params)
            checkpoint.write(self.flat, Path(self.trial.model_dir), directory)
            checkpoint.write_memory(self.server.memory, directory)
            if self.strategy.vectors:
                self.strategy.vectors.flush()

    def load(self, directory: Path, record: Mapping[str, Any]) -> None:
        """Go on after the round with ``record`` from its checkpoint.

        Raises ValueError where that holds another model than the record says. What the device
        itself raises (DEVICE_ERRORS) is let through.
        """
        checkpoint.read(self.flat, directory)
        self.server.params.copy_(self.flat.values)
        memory = checkpoint.read_memory(self.server.memory, directory)
        self.server = Server(self.server.params, memory)
        self._totals = {name: record[name] for name in self._totals}
        now = {"params_digest": digest(self.server.params), **_memory_digest(self.server)}
        if any(record.get(key) != value for key, value in now.items()):
            raise ValueError(f"{directory} does not hold the model of the last logged round")
        self.strategy.check_kept(self.server)

    @property
    def commits_each_round(self) -> bool:
        """Must every round be committed by itself? A strategy that keeps vectors on disk has room
        for those of one round beside the committed ones.
        """
        return self.strategy.vectors is not None

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
                        metrics |= self._client_accuracies(split, result)
                    metrics |= {f"{name}/{key}": value for key, value in result.metrics().items()}
        return metrics | {"time/eval_s": time.perf_counter() - start}

    def _client_accuracies(self, test: DeviceSplit, seen: Evaluation) -> dict[str, float]:
        """The server's model as each client finds it: its accuracy on the test examples of the
        client's own groups where every client has some, else that on each class, weighted by the
        client's shares of the classes. Nothing where clients have the same to within chance.
        """
        if not self._differ or len(self.clients) == 1:
            return {}
        labels, own = test.labels.cpu().numpy(), self._own_tests
        right = seen.predictions.numpy() == labels
        if own is not None and np.bincount(1 + own, minlength=1 + len(self.clients))[1:].all():
            by_client = own_accuracies(own, right)
        else:
            by_client = client_accuracies(self._counts, labels, right)
        return {
            "clients/accuracy_mean": float(by_client.mean()),
            "clients/accuracy_worst": float(by_client.min()),
            "clients/accuracy_p10": float(np.percentile(by_client, 10)),
        }

    def _seen(self, round_num: int, doing: str, total: int) -> Seen:
        """What the round calls with the number of examples that went by; the watch gets the sum."""
        done = 0

        def seen(num_examples: int) -> None:
            nonlocal done
            done += num_examples
            self._watch(Activity(round_num, doing, done, total))

        seen(0)
        return seen

    def _cohort(self, round_num: int) -> list[int]:
        config = self.trial.config
        return cohort_of(round_num, len(self.clients), config.participation, config.seed)

    def _further(self, told: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, float]:
        """What the strategy tells of a round; ValueError where that is no number of its own."""
        found = {name: float(value) for name, value in told.items()}
        for name, value in found.items():
            own = "/" in name and name not in record
            if not (own and math.isfinite(value) and not name.startswith(("test/", "validation/"))):
                kind = type(self.strategy).__name__
                raise ValueError(
                    f"{kind}.metrics gives {name!r}: {value}; allowed are finite numbers under "
                    "names with a slash that no other metric has"
                )
        return found

    def _newcomers(self, round_num: int) -> set[int]:
        """The clients that train in this round for the first time."""
        if self.trial.config.participation == 1:
            return set(range(len(self.clients))) if round_num == 1 else set()
        while self._met_until < round_num - 1:
            self._met_until += 1
            self._met.update(self._cohort(self._met_until))
        return set(self._cohort(round_num)) - self._met

    def _trained(self, round_num: int) -> ModelClients:
        """The clients as round ``round_num`` trains them."""
        newcomers = self._newcomers(round_num) if self._heads_apart and round_num else set()

        def prepare(client_id: int) -> None:
            if client_id in newcomers:
                self._draw_own_head(client_id)

        total = self._examples_of(self._cohort(round_num))
        return ModelClients(
            self.flat,
            self.splits["train"],
            self.clients,
            self.recipe,
            prepare,
            self._seen(round_num, "trains", total) if round_num else unseen,
        )

    def _examples_of(self, cohort: Sequence[int]) -> int:
        """What a cohort trains on in a round, each example once per local epoch."""
        size, drops = self.recipe.batch_size, self.recipe.drop_last
        sizes = [len(self.clients[client_id]) for client_id in cohort]
        left_out = sum(num % size for num in sizes) if drops else 0
        return self.recipe.local_epochs * (sum(sizes) - left_out)

    def _sent(self, num_clients: int) -> int:
        """Bytes to and from the clients of a round; none in a baseline."""
        vectors = self.strategy.vectors_down + self.strategy.vectors_up
        travels = BYTES_PER_PARAMETER * self.flat.num_parameters
        return 0 if self.trial.is_baseline else vectors * num_clients * travels

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

    def _owners_of_tests(self, examples: Examples) -> np.ndarray | None:
        """The client of each test example, by its group, -1 for nobody's; None without groups."""
        train, test = examples.train.groups, examples.test.groups
        if self.trial.config.partition != "natural" or train is None or test is None:
            return None
        return partition_of(self.trial).owners(train, test)

    def _describe_partition(self, examples: Examples) -> dict[str, Any]:
        clients: list[dict[str, Any]] = [
            {"client_id": client_id, "num_examples": sum(labels), "labels": labels}
            for client_id, labels in enumerate(self._counts.tolist())
        ]
        groups = examples.train.groups
        if self.trial.config.partition == "natural" and groups is not None:
            for client, own in zip(clients, self.clients, strict=True):
                client["groups"] = [examples.group_names[g] for g in np.unique(groups[own.numpy()])]
        if self._own_tests is not None:
            for client in clients:
                client["num_test_examples"] = int((self._own_tests == client["client_id"]).sum())
        return {"label_names": list(examples.label_names), "clients": clients}

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


def _memory_digest(server: Server) -> dict[str, str]:
    """What a record says of what the strategy keeps; nothing where it keeps nothing."""
    if not server.memory:
        return {}
    whole = hashlib.sha256()
    for name, tensor in sorted(server.memory.items()):
        whole.update(f"/{name}/{tensor.dtype}/".encode())
        whole.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return {"memory_digest": whole.hexdigest()[:16]}
