"""Where MLflow tracks, read and checked without importing MLflow, which takes a second."""

from __future__ import annotations

import os
import re
import tempfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from fedtune.errors import BadInput, first_line
from fedtune.paths import expanded
from fedtune.redaction import remember
from fedtune.tracking.names import EXPERIMENT

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_DATABASES = {"postgresql", "mysql", "mssql"}
_SCHEMES = {*_DATABASES, "sqlite", "http", "https", "databricks"}

#: Every URI of a SQLite file begins so.
_SQLITE = "sqlite:///"

#: What to install for a database, by the module that SQLAlchemy imports.
_DRIVERS = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
}


def _plugged_in(scheme: str) -> bool:
    """Does an installed package add a tracking store of this kind? (mysql+pymysql is mysql.)"""
    plugins = entry_points(group="mlflow.tracking_store")
    return scheme.partition("+")[0] in _SCHEMES or scheme in plugins.names


def resolve_uri(asked: str | None = None) -> str:
    """The tracking URI: ``asked``, else ``MLFLOW_TRACKING_URI``, else mlflow.db in this folder.

    Absolute, because trials run in other folders. The password of a server leaves the URI for the
    variables in which MLflow looks for it too. Raises BadInput for a folder (MLflow 3 tracks in
    databases and servers) and for a database whose driver is not installed.
    """
    uri = (asked or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db").strip()
    remember(uri)
    scheme, colon, rest = uri.partition(":")
    if colon:
        scheme = scheme.lower()
        uri = f"{scheme}:{rest}"
    elif not re.fullmatch("databricks[a-z-]*", uri):  # those stand without a colon, too
        scheme = ""
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
    if scheme in ("http", "https"):
        return _without_password(uri)
    if is_database_server(uri):
        _check_driver(uri)
    if scheme == "sqlite":
        return _absolute(uri)
    return uri


def writable_uri(asked: str | None = None) -> str:
    """The same for what will write there. Raises BadInput for a SQLite file that cannot be written,
    be it that its folder cannot.
    """
    uri = resolve_uri(asked)
    path = database_path(uri)
    why = _not_writable(path) if path else None
    if why:
        raise BadInput.of("tracking_uri", uri, f"{why}; allowed is a SQLite database of yours")
    return uri


def database_path(uri: str) -> Path | None:
    """The file of a SQLite database, as MLflow reads it; None for any other kind of store."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(_as_read(uri.removeprefix(_SQLITE).partition("?")[0]))


def is_server(uri: str) -> bool:
    """Is it one that speaks HTTP?"""
    return uri.startswith(("http:", "https:"))


def is_database_server(uri: str) -> bool:
    """Is it a database that is reached over a network, by SQLAlchemy? (mysql+pymysql is mysql.)"""
    return uri.partition(":")[0].partition("+")[0] in _DATABASES


def _absolute(uri: str) -> str:
    """The URI of a SQLite file with its whole path; ``~`` is a home, as everywhere else.

    Raises BadInput where MLflow would read another path in it.
    """
    name, mark, query = uri.removeprefix(_SQLITE).partition("?")
    if not uri.startswith(_SQLITE) or name in ("", ":memory:"):
        message = "names no file, and what is tracked in memory is gone with the command"
        raise BadInput.of("tracking_uri", uri, f"{message}; allowed is sqlite:///mlflow.db, say")
    if "/" in query and "=" not in query:  # a folder whose name ends with ?
        raise _misread(uri, expanded(f"{name}?{query}").absolute())
    read = _as_read(name)
    path = expanded(read).absolute()
    literal = expanded(name).absolute()
    if path != literal and literal.parent.exists() and not path.parent.exists():
        raise _misread(uri, literal)
    if _as_read(str(path)) == str(path):
        return f"{_SQLITE}{path}{mark}{query}"
    if read == str(path):  # whoever wrote the URI has escaped what needs it
        return uri
    raise _misread(uri, path)


def _as_read(name: str) -> str:
    """The path of the SQLite file that SQLAlchemy reads in this part of a URI."""
    if not {"%", "?"} & set(name):
        return name
    from sqlalchemy.engine import make_url  # whose versions differ over escapes

    return make_url(f"{_SQLITE}{name}").database or ""


def _misread(uri: str, path: Path) -> BadInput:
    return BadInput.of(
        "tracking_uri",
        uri,
        f"MLflow would not use {path} but {_as_read(str(path))}, since ? and escapes such as %20 "
        "mean something in the address of a database; rename the folder, or track where there are "
        "none: --tracking-uri sqlite:////elsewhere/mlflow.db",
    )


def _without_password(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        named = parts.hostname and (parts.port or True)
    except ValueError:  # a port that is no number, say
        named = False
    if not named:
        message = "is no address of a server; allowed is http://host:5000, say"
        raise BadInput.of("tracking_uri", uri, message)
    if not parts.username or not parts.password:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _check_driver(uri: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as missing:
        module = str(missing.name).partition(".")[0]
        install = f"pip install {_DRIVERS.get(module, module)}"
        message = f"this kind of database needs the package {module}, which is not here: {install}"
        raise BadInput.of("tracking_uri", uri, message) from None
    except (ArgumentError, ValueError):  # a port that is no number, say
        message = "is no address of a database; allowed is postgresql://user@host/name, say"
        raise BadInput.of("tracking_uri", uri, message) from None


def _not_writable(path: Path) -> str | None:
    """Why no process of this user can write the SQLite file, or make it; None where one can."""
    folder = next(parent for parent in path.parents if os.path.lexists(parent))
    try:
        if path.exists():
            with path.open("r+b") as file:
                head = file.read(16)
            if head and head != b"SQLite format 3\0":
                return f"{path} is no SQLite database"
        with tempfile.TemporaryFile(dir=folder):  # as SQLite does beside its file
            return None
    except OSError as error:
        place = error.filename if error.filename == str(path) else folder
        return f"{place} cannot be written to ({error.strerror})"


#: Letters that MLflow takes in the name of an experiment, and what its databases have for a number.
_LONGEST, _NUMBERS = 500, 2**63


def experiment_name() -> str:
    """As the environment tells it, else ``fedtune``: its name, or its number where that is all.

    Raises BadInput for a name that MLflow does not take.
    """
    number = os.environ.get("MLFLOW_EXPERIMENT_ID")
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", number or EXPERIMENT)
    if not name.strip():
        message = "is blank; unset the variable, or give the experiment a name"
        raise BadInput.of("MLFLOW_EXPERIMENT_NAME", name, message)
    if not number and len(name) > _LONGEST:
        message = f"has {len(name)} letters; allowed is a name of at most {_LONGEST}"
        raise BadInput.of("MLFLOW_EXPERIMENT_NAME", name, message)
    if not number and name != name.encode(errors="ignore").decode():
        message = "is no UTF-8; allowed is a name that is"
        raise BadInput.of("MLFLOW_EXPERIMENT_NAME", name, message)
    return name


def make_experiment(client: MlflowClient) -> str:
    """Make the experiment of :func:`experiment_name`; its number.

    Raises BadInput where MLflow makes none of that name for this user.
    """
    from mlflow.exceptions import MlflowException

    name = experiment_name()
    try:
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code not in ("INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"):
            raise
        message = (
            f"MLflow makes no such experiment ({first_line(error)}); allowed is one that is there, "
            "or another name"
        )
        raise BadInput.of("MLFLOW_EXPERIMENT_NAME", name, message) from None


def find_experiment(client: MlflowClient) -> str | None:
    """The experiment that the environment names, by number or by name, else ``fedtune``; None
    where there is none of that name yet.

    Raises BadInput for a number that MLflow does not know, and for an experiment that was deleted.
    """
    from mlflow.exceptions import MlflowException

    name, number = experiment_name(), os.environ.get("MLFLOW_EXPERIMENT_ID")
    variable = "MLFLOW_EXPERIMENT_ID" if number else "MLFLOW_EXPERIMENT_NAME"
    message = "MLflow has no such experiment; unset the variable, or give it a number that is there"
    if number and number.isdecimal() and int(number) >= _NUMBERS:
        raise BadInput.of(variable, number, message)
    try:
        known = client.get_experiment(number) if number else client.get_experiment_by_name(name)
    except MlflowException as error:
        if not number or error.error_code not in UNKNOWN:
            raise
        raise BadInput.of(variable, number, message) from None
    if known is None:
        return None
    _check_lives(known, variable)
    return str(known.experiment_id)


#: MLflow's codes for an id that it does not have, or that cannot be one.
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def _check_lives(experiment: Experiment, variable: str) -> None:
    if experiment.lifecycle_stage == "deleted":
        number = experiment.experiment_id
        shown = number if variable.endswith("ID") else experiment.name
        message = (
            f"this experiment was deleted in MLflow; restore it (`mlflow experiments restore "
            f"--experiment-id {number}`), or name another in MLFLOW_EXPERIMENT_NAME"
        )
        raise BadInput.of(variable, shown, message)
