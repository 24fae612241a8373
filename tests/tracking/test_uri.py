"""Where MLflow tracks, before MLflow is asked."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from fedtune.errors import BadInput
from fedtune.tracking.uri import database_path, resolve_uri


@pytest.mark.parametrize("uri", ["databricks", "databricks://profile", "http://host:5000"])
def test_a_server_is_taken_as_it_is_named(uri: str) -> None:
    assert resolve_uri(uri) == uri


def test_a_uri_is_taken_as_libraries_take_it(tmp_path: Path) -> None:
    assert resolve_uri(" HTTP://host:5000\n") == "http://host:5000"
    assert resolve_uri("Https://Host") == "https://Host"
    assert resolve_uri(f"SQLite:///{tmp_path}/X.db ") == f"sqlite:///{tmp_path}/X.db"
    for unknown in ("databricks-uc", "FTP://host"):
        with pytest.raises(BadInput, match="no such kind of store; allowed are databricks, http"):
            resolve_uri(unknown)


@pytest.mark.parametrize("uri", ["http://", "https:///mlflow", "http://host:port", "http:host"])
def test_an_address_that_names_no_server_is_refused(uri: str) -> None:
    with pytest.raises(BadInput, match="is no address of a server"):
        resolve_uri(uri)


@pytest.mark.parametrize("uri", ["mlruns", "file:///mlruns", "databricks/mlruns", "ftp://host"])
def test_what_mlflow_cannot_track_in_is_refused(uri: str) -> None:
    with pytest.raises(BadInput, match="tracking_uri"):
        resolve_uri(uri)


def test_a_home_in_the_name_of_a_file_is_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_uri("sqlite:///~/x.db") == f"sqlite:///{tmp_path}/x.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///~/a/y.db")
    assert resolve_uri() == f"sqlite:///{tmp_path}/a/y.db"
    assert resolve_uri("sqlite:////srv/~/x.db") == "sqlite:////srv/~/x.db"
    here = Path.cwd()
    assert resolve_uri("sqlite:///~nobody-here/x.db") == f"sqlite:///{here}/~nobody-here/x.db"


@pytest.mark.parametrize("name", ["my%20data", "a%41b", "what?", "a?timeout=3"])
def test_a_folder_whose_name_mlflow_reads_as_another_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    said = f"would not use {re.escape(str(folder))}/mlflow.db but .*; rename .* --tracking-uri sql"
    for uri in (None, "sqlite:///mlflow.db", "sqlite:///x/../mlflow.db"):
        with pytest.raises(BadInput, match=said if uri != "sqlite:///x/../mlflow.db" else "rename"):
            resolve_uri(uri)
    if "=" not in name:
        with pytest.raises(BadInput, match=said):
            resolve_uri(f"sqlite:///{folder}/mlflow.db")


@pytest.mark.parametrize("name", ["a#b", "50% done", "ünï [1] *", "at@host:1", "a=b&c"])
def test_a_folder_whose_name_mlflow_reads_as_it_is_may_be_odd(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = folder / "mlflow.db"
    assert resolve_uri() == resolve_uri(f"sqlite:///{path}") == f"sqlite:///{path}"
    assert database_path(resolve_uri()) == path
    assert make_url(resolve_uri()).database == str(path)


def test_escapes_in_a_uri_mean_what_they_mean_to_mlflow(tmp_path: Path) -> None:
    """As MLflow writes them itself, where `mlflow run` hands the URI on."""
    assert (
        resolve_uri(f"sqlite:///{tmp_path}/my%20data/x.db") == f"sqlite:///{tmp_path}/my data/x.db"
    )
    kept = f"sqlite:///{tmp_path}/what%3F/my%2520data.db"
    assert resolve_uri(kept) == kept
    assert database_path(kept) == tmp_path / "what?" / "my%20data.db"
    options = f"sqlite:///{tmp_path}/x.db?timeout=30"
    assert resolve_uri(options) == options
    assert database_path(options) == tmp_path / "x.db"


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://x.db"])
def test_a_database_that_is_no_file_is_refused(uri: str) -> None:
    with pytest.raises(BadInput, match="names no file"):
        resolve_uri(uri)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("postgresql://host/db", "needs the package psycopg"),
        ("postgresql+psycopg2://host/db", "which is not here: pip install psycopg2-binary"),
        ("mysql+pymysql://host/db", "needs the package pymysql, which is not here: pip install py"),
        ("mssql+pyodbc://host/db", "needs the package pyodbc"),
        ("postgresql+nosuch://host/db", "is no address of a database"),
        ("postgresql://host:port/db", "is no address of a database"),
    ],
)
def test_a_database_whose_driver_is_missing_is_refused(uri: str, said: str) -> None:
    with pytest.raises(BadInput, match="tracking_uri") as told:
        resolve_uri(uri)
    assert said in str(told.value)


def test_the_password_of_a_server_goes_where_mlflow_looks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(variable, "")  # which is undone
    assert (
        resolve_uri("https://ada:p%40ss:w@host:5000/mlflow?x=1") == "https://host:5000/mlflow?x=1"
    )
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "ada"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "p@ss:w"
