"""Where MLflow tracks, read and checked without importing MLflow, which takes a second."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from fedtune.errors import BadInput
from fedtune.tracking.names import EXPERIMENT

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SCHEMES = {"sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks"}


def _plugged_in(scheme: str) -> bool:
    """Does an installed package add a tracking store of this kind? (mysql+pymysql is mysql.)"""
    plugins = entry_points(group="mlflow.tracking_store")
    return scheme.partition("+")[0] in _SCHEMES or scheme in plugins.names


def resolve_uri(asked: str | None = None) -> str:
    """The tracking URI: ``asked``, else ``MLFLOW_TRACKING_URI``, else mlflow.db in this folder.

    Absolute, because trials run in other folders. Raises BadInput for a folder: MLflow 3 tracks in
    databases and servers.
    """
    uri = asked or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme = uri.partition(":")[0] if ":" in uri or uri == "databricks" else ""
    if scheme in ("", "file"):
        raise BadInput.of(
            "tracking_uri",
            uri,
            "MLflow does not track in folders any more; allowed is a database such as "
            "sqlite:///mlflow.db or a server such as http://host:5000",
        )
    if scheme not in _SCHEMES and not _plugged_in(scheme):
        allowed = ", ".join(sorted(_SCHEMES))
        raise BadInput.of("tracking_uri", uri, f"no such kind of store; allowed are {allowed}")
    prefix = "sqlite:///"
    if uri.startswith(prefix) and not uri.startswith("sqlite:////"):
        return f"{prefix}{Path(uri.removeprefix(prefix)).absolute()}"
    return uri


def experiment_name() -> str:
    """As the environment tells it, else ``fedtune``: its name, or its number where that is all."""
    number = os.environ.get("MLFLOW_EXPERIMENT_ID")
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", number or EXPERIMENT)


def find_experiment(client: MlflowClient) -> str | None:
    """The experiment that the environment names, by number or by name, else ``fedtune``; None
    where there is none of that name yet.
    """
    number = os.environ.get("MLFLOW_EXPERIMENT_ID")
    if number:
        return number
    known = client.get_experiment_by_name(experiment_name())
    return str(known.experiment_id) if known else None
