"""A password in an address is nowhere but in the address."""

from __future__ import annotations

import io
import logging
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support import (
    FEW,
    Done,
    call,
    free_port,
    mlflow_server,
    new_database,
    sweep_run,
    toy_run,
    trial_runs,
)

from fedtune import redaction
from fedtune.errors import BadInput, first_line
from fedtune.invocation import fedtune_command, same_command
from fedtune.redaction import redacted, remember
from fedtune.trial.folder import TrialFolder

SECRET = "xyzzy-plugh"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is remembered, hooks and variables are those of the test alone."""
    monkeypatch.setattr(redaction, "_shown", {})
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for variable in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(variable, "")
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ada:xyzzy@host:5000/", "http://ada:***@host:5000/"),
        (
            "postgresql+psycopg2://ada:xy@zz/y@host/db away",
            "postgresql+psycopg2://ada:***@host/db away",
        ),
        ("at 'mysql://:xyzzy@host'", "at 'mysql://:***@host'"),
        (
            "postgresql://host/db?user=ada&password=xyzzy&x=1",
            "postgresql://host/db?user=ada&password=***&x=1",
        ),
        ("https://host/?access_token=xyzzy", "https://host/?access_token=***"),
        ("http://ada@host:5000", "http://ada@host:5000"),
        ("sqlite:////home/a:b@c/mlflow.db", "sqlite:////home/a:b@c/mlflow.db"),
        ("see http://127.0.0.1:5000/#/experiments/1", "see http://127.0.0.1:5000/#/experiments/1"),
        ("write to ada@host: at once", "write to ada@host: at once"),
    ],
)
def test_what_is_shown_of_an_address(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_an_address_that_was_given_is_known_whatever_its_password_is_made_of() -> None:
    address = "postgresql://ada:xy zz@y#?@host/db"
    remember(address)
    assert redacted(f"no {address}!") == "no postgresql://ada:***@host/db!"
    remember("sqlite:////home/a:b@c/mlflow.db")
    assert redacted("sqlite:////home/a:b@c/mlflow.db") == "sqlite:////home/a:b@c/mlflow.db"


def test_errors_commands_and_kept_tracebacks_do_not_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"ftp://ada:{SECRET}@host"
    bad = BadInput.of("tracking_uri", address, f"{address} is none")
    monkeypatch.setattr(sys, "argv", ["fedtune", "sync", "--tracking-uri", address])
    folder = TrialFolder(tmp_path, "abc")
    folder.note_failure(f"Traceback\nConnectionError: {address}")
    monkeypatch.setenv("FEDTUNE_COMMAND", f"study --to {address}")
    told = [str(bad), str(pickle.loads(pickle.dumps(bad))), first_line(ValueError(address))]
    told += [fedtune_command("sync", "--tracking-uri", address), same_command()]
    for text in [*told, folder.failure.read_text()]:
        assert SECRET not in text
        assert "ada:***@host" in text


def test_libraries_that_log_it_and_tracebacks_do_not_show_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    redaction.redact_logs()
    redaction.redact_logs()
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    log = logging.getLogger("mlflow.somewhere")
    log.addHandler(handler)
    try:
        raise ConnectionError(f"http://ada:{SECRET}@host is away")
    except ConnectionError as error:
        log.warning("Retrying %s", f"http://ada:{SECRET}@host/api", exc_info=True)
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        log.removeHandler(handler)
    err = capsys.readouterr().err
    for text in (out.getvalue(), err):
        assert SECRET not in text
        assert "ConnectionError: http://ada:***@host is away" in text
    assert "Retrying http://ada:***@host/api" in out.getvalue()


def assert_nowhere(folder: Path, done: Done) -> None:
    assert SECRET not in done.everything
    found = [
        path
        for path in folder.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    assert found == []


@pytest.mark.parametrize("where", ["option", "variable"])
def test_nothing_that_is_printed_or_written_has_it_where_the_server_is_away(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    address = f"http://ada:{SECRET}@127.0.0.1:{free_port()}"
    args = [*toy_run(bert, "2", **FEW), "--no-ray"]
    if where == "variable":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    told = [] if where == "variable" else ["--tracking-uri", address]
    for words in ([*args, *told], ["sync", *told], ["report", *told]):
        done = call(*words, folder=tmp_path)
        assert done.code == 1, done.everything
        assert_nowhere(tmp_path, done)
    wrong = call(*args, "--tracking-uri", f"ftp://ada:{SECRET}@host", folder=tmp_path)
    assert wrong.code == 2
    assert_nowhere(tmp_path, wrong)


def test_nothing_that_a_server_keeps_has_it(bert: str, tmp_path: Path, two_figures: None) -> None:
    """Printed, in the store, in MLflow's database and artifacts, and in what the server logs."""
    new_database(tmp_path)
    args = [*toy_run(bert, "2", **FEW), "--no-ray"]
    with mlflow_server(tmp_path / "mlflow.db", tmp_path) as address:
        secret = address.replace("://", f"://ada:{SECRET}@")
        for words in (args, ["sync"], ["report"]):
            done = call(*words, "--tracking-uri", secret, folder=tmp_path)
            assert done.code == 0, done.everything
            assert_nowhere(tmp_path, done)
        assert (
            f"{address}/#/experiments" in call(*args, "--tracking-uri", secret, folder=tmp_path).out
        )
        client = MlflowClient(address)
        assert sweep_run(client, "bert-toy").info.status == "FINISHED"
        assert set(trial_runs(client, "bert-toy")) == {1, 2}
