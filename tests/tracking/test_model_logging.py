"""The final model that a launch with ``--log-model`` leaves in MLflow."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from pathlib import Path

import pytest
from launched import Launched, by_clients
from support import Done, free_port, serving

from fedtune.data import toy


@pytest.fixture(scope="module")
def with_model(
    on_disk: Path, bert: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Launched, str]:
    """A launch with ``--log-model``, and the URI of the model of K = 4."""
    folder = tmp_path_factory.mktemp("with_model") / "copy"
    shutil.copytree(on_disk, folder)
    launched = Launched(folder, f"sqlite:///{folder}/mlflow.db", Done(0, "", ""))
    done = launched.again(bert, "--log-model", max_rounds=3)
    assert done.code == 0, done.everything
    return launched, f"runs:/{by_clients(launched)[4].info.run_id}/model"


TEXTS = ["rain wind snow storm cloud", "bread soup salt butter oven"]


def test_the_final_model_answers_with_the_names_of_the_classes(
    with_model: tuple[Launched, str],
) -> None:
    import mlflow

    launched, model_uri = with_model
    mlflow.set_tracking_uri(launched.uri)
    model = mlflow.pyfunc.load_model(model_uri)

    answers = model.predict(TEXTS)

    assert model.metadata.signature is not None
    assert list(answers["label"]) == list(toy.LABEL_NAMES)
    assert all(0.5 <= score <= 1 for score in answers["score"])


@pytest.mark.slow
def test_the_final_model_can_be_served(with_model: tuple[Launched, str]) -> None:
    launched, model_uri = with_model
    port = free_port()
    serve = ["mlflow", "models", "serve", "-m", model_uri, "--env-manager", "local"]
    address = f"http://127.0.0.1:{port}"
    os.environ["MLFLOW_TRACKING_URI"] = launched.uri
    try:
        with serving(*serve, "--port", str(port), folder=launched.folder, url=f"{address}/ping"):
            request = urllib.request.Request(
                f"{address}/invocations",
                json.dumps({"inputs": TEXTS}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as reply:
                answers = json.load(reply)["predictions"]
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]
    assert [answer["label"] for answer in answers] == list(toy.LABEL_NAMES)
