"""The way to MLflow, looked at before the first round: what is wrong is told at once, and in
seconds where a server is away.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils import credentials, rest_utils
from sqlalchemy.exc import OperationalError

from fedtune.errors import BadInput, Refusal, first_line
from fedtune.tracking.database import make_database, why_unusable
from fedtune.tracking.uri import (
    UNKNOWN,
    database_path,
    find_experiment,
    is_database_server,
    is_server,
    resolve_uri,
)

#: Seconds that a server has for its first answer. A launch goes on without it, and asks again.
ANSWER_S = 5.0


class _Counting:
    """A client that calls ``on_step`` after every call that has come back."""

    def __init__(self, client: MlflowClient, on_step: Callable[[], None]):
        self._client, self._on_step = client, on_step

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            given = found(*args, **kwargs)
            self._on_step()
            return given

        return call


def connect(uri: str, on_step: Callable[[], None] = lambda: None) -> MlflowClient:
    """A client of the tracking store at ``uri``, which answers; ``on_step`` is called whenever it
    has done something. A SQLite database that is not there is made.

    Raises BadInput where MLflow cannot work with what is there. Where nothing answers, raises what
    a network or a driver raises.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # else a line for every table it makes
    logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)  # errors are told by fedtune
    path = database_path(uri)
    if is_server(uri):
        _ask(uri)
    elif path is not None:
        _open_file(uri, path, on_step)
    elif is_database_server(uri):
        _open_database(uri)
    return cast(MlflowClient, _Counting(MlflowClient(uri), on_step))


def run_of_environment(client: MlflowClient, uri: str) -> Run | None:
    """The run that ``MLFLOW_RUN_ID`` names, where that is of the store at ``uri``.

    Raises BadInput where MLflow does not have it, or not any more.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id or resolve_uri() != uri:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in UNKNOWN:
            raise
        message = "MLflow has no such run; unset the variable"
        raise BadInput.of("MLFLOW_RUN_ID", run_id, message) from None
    if run.info.lifecycle_stage == "deleted":
        message = "this run was deleted in MLflow; restore it, or unset the variable"
        raise BadInput.of("MLFLOW_RUN_ID", run_id, message)
    return run


def experiment_of_environment(client: MlflowClient, run: Run | None) -> str | None:
    """The experiment of ``run`` (see :func:`run_of_environment`), else that which the environment
    names, else ``fedtune``; None where it is not there yet. Launches, ``sync`` and ``report`` of
    one shell ask here, and so meet.
    """
    return str(run.info.experiment_id) if run else find_experiment(client)


def _ask(uri: str) -> None:
    """Ask a server for an experiment, once, as MLflow's client would many times."""
    reply = _get(uri, "search", max_results=1)
    if reply.status_code in (401, 403):
        message = (
            f"the server lets nobody in like this (HTTP {reply.status_code}); allowed is whom it "
            "knows, by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or by "
            "MLFLOW_TRACKING_TOKEN"
        )
        raise BadInput.of("tracking_uri", uri, message)
    if reply.status_code != 200 or not _is_mlflow(uri, _object(reply)):
        message = "what answers there is no MLflow server; allowed is the address of one"
        raise BadInput.of("tracking_uri", uri, message)


def _get(uri: str, what: str, **params: Any) -> Any:
    """The server's reply about experiments; ConnectionError where it has none at the moment."""
    request: Any = rest_utils.http_request  # neither has types
    creds: Any = credentials.get_default_host_creds
    try:
        reply = request(
            creds(uri),
            f"/api/2.0/mlflow/experiments/{what}",
            "GET",
            params=params,
            max_retries=0,
            timeout=ANSWER_S,
            raise_on_status=False,
        )
    except MlflowException as error:
        raise ConnectionError(_root(error)) from None
    if reply.status_code >= 500 or reply.status_code == 429:
        raise ConnectionError(f"the server answers HTTP {reply.status_code}")
    return reply


def _object(reply: Any) -> dict[str, Any]:
    """What the reply says; empty where that is no JSON object."""
    try:
        said = reply.json()
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _is_mlflow(uri: str, said: dict[str, Any]) -> bool:
    """Is this what MLflow says when it is asked for experiments?"""
    found = said.get("experiments")
    if isinstance(found, list):
        return all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in found)
    # MLflow leaves out the list where every experiment was deleted; it still has the first.
    first = _object(_get(uri, "get", experiment_id="0")) if found is None else {}
    return "error_code" in first or isinstance(first.get("experiment"), dict)


def _root(error: BaseException) -> str:
    """What lies at the bottom of an error: ``[Errno 111] Connection refused``."""
    below = error.__cause__ or error.__context__
    while below is not None:
        error, below = below, below.__cause__ or below.__context__
    return (
        f"no answer within {ANSWER_S:g} s" if isinstance(error, TimeoutError) else first_line(error)
    )


def _open_file(uri: str, path: Path, on_step: Callable[[], None]) -> None:
    try:
        make_database(path, on_step)
        _look_into(path)
        MlflowClient(uri).search_experiments(max_results=1)
    except (ImportError, MemoryError, Warning) as error:  # PYTHONWARNINGS=error, say
        why = f"{type(error).__name__}: {first_line(error)}"
        raise Refusal(f"MLflow cannot be used in this environment ({why})") from None
    except Exception as error:  # MLflow's own, SQLAlchemy's, Alembic's, the system's
        if isinstance(error, OperationalError) and "locked" in str(error):
            raise  # for longer than MLflow waits
        raise BadInput.of("tracking_uri", uri, why_unusable(path, first_line(error))) from None


def _look_into(path: Path) -> None:
    """Read the SQLite file, once; MLflow tries for two minutes, and tells nothing of it. It waits
    for one that is locked, too.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as database:
            database.execute("SELECT name FROM sqlite_master").fetchall()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise


def _open_database(uri: str) -> None:
    """Connect to a database server, once; MLflow tries for a minute and a half, and tells of it."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    with create_engine(uri, poolclass=NullPool).connect():
        pass
