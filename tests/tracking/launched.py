"""A finished launch and what MLflow holds of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from support import Done, call, toy_run, trial_runs


@dataclass(frozen=True)
class Launched:
    """A finished launch of K = 1 and 4 in ``folder``, and the MLflow it was tracked in."""

    folder: Path
    uri: str
    done: Done

    @property
    def store(self) -> Path:
        return self.folder / "trials"

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def again(self, model: str, *args: str, clients: str = "1,4", **settings: object) -> Done:
        """The same command, changed."""
        launch = toy_run(model, clients, **settings)
        where = ["--no-ray", "--tracking-uri", self.uri]
        return call(*launch, *where, *args, folder=self.folder)


def by_clients(launched: Launched) -> dict[int, Run]:
    return trial_runs(launched.client, "bert-toy")
