"""Final models in MLflow, as Hugging Face directories with a signature that can be served."""

from __future__ import annotations

import os
import warnings
from importlib.metadata import version
from pathlib import Path

from fedtune.models.heads import is_of_transformers
from fedtune.tracking.projection import Projection
from fedtune.trial.folder import TrialFolder
from fedtune.trial.results import Result

#: The artifact's name in the trial's run: ``mlflow models serve -m runs:/<run id>/model``.
MODEL = "model"


def log_final_model(projection: Projection, store: Path, result: Result) -> None:
    """Log the model after the trial's last round to its run, unless that one is there already.

    Nothing is logged where the log is longer than what was asked for: the checkpoint is of its end.
    Nor where the model has a head with which transformers computes something else.

    Served, it takes texts and answers with a label and a score each.
    """
    trial_id, records = result.trial.trial_id, result.records
    folder, run_id = TrialFolder(store, trial_id), projection.run_id(trial_id)
    directory, head = Path(result.trial.model_dir), result.trial.config.head
    if not is_of_transformers(directory, head):
        return
    if run_id is None or not folder.checkpoint.exists() or len(records) != len(folder.records()):
        return
    folder.check_checkpoint()
    digest = records[-1].get("params_digest", "")
    known = projection.client.get_run(run_id).data.tags.get("fedtune.logged_model")
    if known == digest:
        return
    import mlflow
    from mlflow.models import infer_signature
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is in the checkpoint
    model = AutoModelForSequenceClassification.from_pretrained(folder.checkpoint)
    mlflow.set_tracking_uri(projection.uri)
    with warnings.catch_warnings(), mlflow.start_run(run_id=run_id):
        # About type hints of MLflow's own, when it imports its servers for chat models.
        warnings.filterwarnings("ignore", ".*Any type hint is inferred", UserWarning)
        mlflow.transformers.log_model(
            {"model": model, "tokenizer": AutoTokenizer.from_pretrained(folder.checkpoint)},
            name=MODEL,
            # Named here: MLflow would look for them by loading the model once more, and stumble
            # over packages such as torchvision that texts do not need.
            pip_requirements=[_pinned("torch"), _pinned("transformers")],
            task="text-classification",
            signature=infer_signature(
                ["a text"], [{"label": model.config.id2label[0], "score": 0.5}]
            ),
        )
    projection.client.set_tag(run_id, "fedtune.logged_model", digest)


def _pinned(package: str) -> str:
    """``torch==2.9.1``, without the part that names a build (``+cpu``)."""
    return f"{package}=={version(package).partition('+')[0]}"
