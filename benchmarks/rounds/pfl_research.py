"""pfl-research: FederatedAveraging in its SimulatedBackend, in one process.

It evaluates every client before and after training in the first round, which is not counted, and in
no other.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from common import Turns, Work, arguments, open_work, peak_mb, save_parameters
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchDataDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn


class Classifier(nn.Module):
    """The model with the two methods that pfl asks for."""

    def __init__(self, inner: Any):
        super().__init__()
        self.inner = inner

    def loss(self, **batch: Tensor) -> Tensor:
        self.train()
        return self.inner(**batch).loss

    @torch.no_grad()
    def metrics(self, **batch: Tensor) -> dict[str, Any]:
        self.eval()
        count = len(batch["labels"])
        return {"loss": Weighted(self.inner(**batch).loss.item() * count, count)}


class Client(PyTorchDataDataset):
    """A client in a round; its batches, of all local epochs, are given, and are one pass."""

    def __init__(self, work: Work, round_num: int, client: int):
        super().__init__(work.texts, user_id=str(client))
        self._size = work.sizes[client]
        self._loader = work.loader(round_num, client)

    def __len__(self) -> int:
        return self._size

    def iter(self, batch_size: int | None) -> Any:
        return iter(self._loader)


class TakeTurns(TrainingProcessCallback):
    """Waits for the turn before every round and tells when the round is done."""

    def __init__(self, turns: Turns, num_rounds: int):
        self.turns, self.num_rounds = turns, num_rounds

    def on_train_begin(self, *, model: Any) -> Metrics:
        self.turns.ready(f"pfl {version('pfl')}")
        self.turns.wait()
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: Any, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        self.turns.done()
        if central_iteration + 1 < self.num_rounds:
            self.turns.wait()
        return False, Metrics()


def main() -> None:
    """Play all rounds."""
    asked, turns = arguments(), Turns()
    work = open_work(asked.work)
    torch.set_num_threads(work.threads)
    torch.manual_seed(0)
    np.random.seed(0)
    classifier = Classifier(work.load_model())
    rounds, clients = range(1, work.num_rounds + 1), range(work.num_clients)
    everyone = ((round_num, client) for round_num in rounds for client in clients)
    training = FederatedDataset(lambda who: Client(work, *who), everyone.__next__)
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=work.num_rounds,
            evaluation_frequency=work.num_rounds,  # round 1 alone, which is not counted
            train_cohort_size=work.num_clients,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(
            training_data=training, val_data=training, postprocessors=[WeightByDatapoints()]
        ),
        model=PyTorchModel(
            classifier,
            local_optimizer_create=torch.optim.SGD,
            central_optimizer=torch.optim.SGD(classifier.parameters(), lr=1.0),
        ),
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1,
            local_learning_rate=work.learning_rate,
            local_batch_size=work.batch_size,
        ),
        callbacks=[TakeTurns(turns, work.num_rounds)],
    )
    save_parameters(asked.params, classifier.inner.state_dict())
    turns.finish(peak_mb())


if __name__ == "__main__":
    main()
