"""A trial's model, data, clients and server state, and the record that each round gives."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from fedtune.federated.client_heads import ClientHeads
from fedtune.federated.clients import ModelClients
from fedtune.federated.cohort import cohort_of
from fedtune.federated.distilling import ModelPool, distillation_of
from fedtune.federated.evaluation import Evaluation, evaluate
from fedtune.federated.flat import FlatModel
from fedtune.federated.local import Diverged, recipe_of
from fedtune.federated.round import RoundResult, federated_round
from fedtune.federated.strategies import strategy_of
from fedtune.federated.strategy import Server, bytes_sent
from fedtune.federated.strategy_checks import check_memory, check_metrics, server_left_alone
from fedtune.models.classifier import load_classifier
from fedtune.trial import checkpoint
from fedtune.trial.activity import Watch, counting, unwatched
from fedtune.trial.by_step import due_in
from fedtune.trial.client_data import ClientData
from fedtune.trial.compatibility import check_reads
from fedtune.trial.facts import data_facts
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import check_unchanged, device_splits, open_examples
from fedtune.trial.isolation import settings_of
from fedtune.trial.own import NOTHING_OWN, Own
from fedtune.trial.within import Within

#: The total of the sequential steps, in a record.
STEPS = "steps/sequential"


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
            examples = open_examples(trial)[1]
            self.flat = self._load()
            self.facts = {**data_facts(trial), "model/parameters": self.flat.num_parameters}
            self._client_data = ClientData.of(trial, examples, own.partition)
            self.clients = self._client_data.clients
            self.partition = self._client_data.describe(examples.label_names)
            self.splits = device_splits(trial)
            check_reads(self.flat, self.splits, config.model)
            self.recipe = recipe_of(config)
            self._model_clients = ModelClients(
                self.flat, self.splits["train"], self.clients, self.recipe
            )
            self._cohort = partial(
                cohort_of,
                num_clients=len(self.clients),
                participation=config.participation,
                seed=config.seed,
            )
            self._heads = None
            if config.head_init == "per_client":
                self._heads = ClientHeads(self.flat, config.seed, self._cohort)
                self._heads.average(self.clients)
            self._pool = self._make_pool() if config.distils and not own.strategy else None
            self.strategy = own.strategy or strategy_of(
                config, self.flat.num_parameters, vectors, self._pool
            )
            params = self.flat.values.clone()
            known = [self._model_clients.info(client_id) for client_id in range(len(self.clients))]
            memory = self.strategy.memory(params, known)
            check_memory(self.strategy, memory)
            self.server = Server(params, memory)
            self._digests = checkpoint.digests(self.server)
            self._is_watched = own.strategy is not None
            self._totals = {STEPS: 0, "comm/bytes": 0}
            self._buffers = self.flat.buffers_digest()
            self._predictions = torch.empty(0, dtype=torch.int64)
            self.within = Within(self.flat, self._score)

    @classmethod
    def is_first(cls, trial: Trial) -> bool:
        """Has this process trained nothing yet, or only been timed on what ``trial`` trains?"""
        own = {(trial.model_hash, trial.dataset_hash)}
        return not cls.rounds_here and cls.inputs_here <= own

    def round_zero(self) -> dict[str, Any]:
        """The record of the untrained server model."""
        looked = self._evaluate(self.server, 0)
        return {"round": 0, **self._totals, **looked, **self._digests}

    def round(
        self, round_num: int, evaluates: bool, at_steps: Collection[int] = ()
    ) -> dict[str, Any]:
        """Run round ``round_num`` (from 1) and give its record.

        ``at_steps`` are sequential steps, counted from the trial's first, after which the model of
        a baseline is evaluated on the way; what was found is in :attr:`within`. Raises Diverged,
        with the server as it was before.
        """
        cohort = self._cohort(round_num)
        Federation.rounds_here += 1
        self.within = Within(self.flat, self._score, round_num, self._totals[STEPS], at_steps)
        with self._watched_strategy():
            start = time.perf_counter()
            with self.settings():
                clients = self._clients_of(round_num, cohort)
                self._begin_pool(round_num, evaluates)
                server, result = federated_round(
                    self.server, self.strategy, clients, cohort, round_num
                )
            # The norms that a round ends with waited for the device: this is the time of the work.
            elapsed = time.perf_counter() - start - self._judging_s - self.within.seconds
        check_memory(self.strategy, server.memory)
        digests = checkpoint.digests(server)
        if self.flat.buffers_digest() != self._buffers:
            raise RuntimeError("training changed the model's buffers, which FedAvg cannot average")
        record = self._of_training(round_num, result, len(cohort), elapsed)
        further = {name: float(value) for name, value in result.further.items()}
        if self._is_watched:
            check_metrics(self.strategy, further, record)
        record |= further
        if evaluates:
            record |= self._evaluate(server, round_num)
            record["time/eval_s"] += self._judging_s
        if self._pool is not None and evaluates:
            record["stages/distilled"] = record["test/accuracy"]
        self.server, self._digests = server, digests
        self._totals = {name: record[name] for name in self._totals}
        return record | digests

    def due_in(self, round_num: int) -> list[int]:
        """The steps within the next round after which the trial is to be evaluated."""
        info = self._model_clients.info(0)
        after = self._totals[STEPS]
        return due_in(self.trial, round_num, after, after + info.num_steps)

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
        self._digests = checkpoint.digests(self.server)
        if any(record.get(key) != value for key, value in self._digests.items()):
            raise ValueError(f"{directory} does not hold the model of the last logged round")
        self.strategy.check_kept(self.server)

    @property
    def commits_each_round(self) -> bool:
        """Must every round be committed by itself? A strategy that keeps vectors on disk has room
        for those of one round beside the committed ones.
        """
        return self.strategy.vectors is not None

    def settings(self) -> AbstractContextManager[None]:
        """The trial's threads and its own random numbers, for whatever computes with it."""
        return settings_of(self.trial.config)

    def _load(self) -> FlatModel:
        config = self.trial.config
        tokens, examples = open_examples(self.trial)
        model = load_classifier(
            Path(self.trial.model_dir),
            label_names=examples.label_names,
            seed=config.seed,
            pad_token_id=tokens.pad_token_id,
            head=config.head,
        )
        assert config.precision != "auto"
        return FlatModel(model.to(self.device), config.precision)

    def _clients_of(self, round_num: int, cohort: Sequence[int]) -> ModelClients:
        """The clients as round ``round_num`` trains them."""
        sizes = [len(self.clients[client_id]) for client_id in cohort]
        seen = counting(self._watch, round_num, "trains", sum(map(self.recipe.num_seen, sizes)))
        if self.within.steps:
            seen = self.within.watching(seen)
        if self._heads is None:
            return replace(self._model_clients, seen=seen)
        return replace(self._model_clients, seen=seen, prepare=self._heads.of_round(round_num))

    def _make_pool(self) -> ModelPool:
        texts, test = self.splits["distill"], self.splits["test"]
        return ModelPool(self.flat, texts, test, distillation_of(self.trial.config, len(texts)))

    def _begin_pool(self, round_num: int, evaluates: bool) -> None:
        if self._pool is not None:
            total = self._pool.how.num_trained
            seen = partial(counting, self._watch, round_num, "distils", total)
            self._pool.begin(round_num, judges=evaluates, seen=seen)

    @property
    def _judging_s(self) -> float:
        """Of the last round's seconds those in which models were looked at and not made."""
        return self._pool.judging_s if self._pool else 0.0

    def _watched_strategy(self) -> AbstractContextManager[None]:
        """Watches over a strategy of the user's own, which may do anything."""
        if not self._is_watched:
            return nullcontext()
        return server_left_alone(self.strategy, self.server, self._digests["params_digest"])

    def _of_training(
        self, round_num: int, result: RoundResult, num_sampled: int, elapsed: float
    ) -> dict[str, Any]:
        """What the record of a round says of the training, under the tracked names."""
        record: dict[str, Any] = {
            "round": round_num,
            "train/loss": result.train_loss,
            "clients/drift": result.drift,
            "server/update_norm": result.update_norm,
            **self._totals_after(result, num_sampled),
            "time/round_s": elapsed,
            "throughput/examples_per_s": result.num_examples / elapsed,
        }
        if result.agreement is not None:
            record["clients/agreement"] = result.agreement
        if self.trial.config.participation < 1:
            record["clients/sampled"] = num_sampled
        return record

    def _totals_after(self, result: RoundResult, num_sampled: int) -> dict[str, int]:
        """The totals of the round before, and what this one adds; a baseline sends nothing."""
        sent = num_sampled * bytes_sent(self.strategy, self.flat.num_parameters)
        added = {
            STEPS: result.num_steps,
            "comm/bytes": 0 if self.trial.is_baseline else sent,
        }
        return {name: total + added[name] for name, total in self._totals.items()}

    def _evaluate(self, server: Server, round_num: int) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        start = time.perf_counter()
        with self.settings():
            self.flat.values.copy_(server.params)
            for name, result in self._score(round_num):
                if not math.isfinite(result.loss):  # finite parameters, but far too large
                    raise Diverged(round_num, None)
                if name == "test":
                    self._predictions = result.predictions
                    labels = self.splits[name].labels.cpu().numpy()
                    metrics |= self._client_data.accuracies(labels, result.predictions.numpy())
                metrics |= {f"{name}/{key}": value for key, value in result.metrics().items()}
        return metrics | {"time/eval_s": time.perf_counter() - start}

    def _score(self, round_num: int) -> Iterator[tuple[str, Evaluation]]:
        """The working model on each split that is evaluated."""
        for name in ("test", "validation"):
            if name in self.splits:
                split = self.splits[name]
                seen = counting(self._watch, round_num, "evaluates", len(split))
                yield name, evaluate(self.flat, split, seen)
