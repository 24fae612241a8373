"""What is wrong with MLflow is told before the first round, and what may pass is a warning."""

from __future__ import annotations

import contextlib
import http.server
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode
from support import FEW, Done, call, free_port, mlflow_server, new_database, toy_run, trial_runs

from fedtune.errors import BadInput
from fedtune.run import links
from fedtune.tracking import connection, writer
from fedtune.tracking.uri import experiment_name


def launch(bert: str, uri: str, folder: Path, **settings: object) -> Done:
    args = toy_run(bert, "2", **FEW | settings)
    return call(*args, "--no-ray", "--tracking-uri", uri, folder=folder)


def refused(done: Done, folder: Path, *said: str) -> None:
    """Nothing was started, and one line says why."""
    assert done.code == 2, done.everything
    assert "starts" not in done.out
    assert not list(folder.glob("trials/*/rounds.jsonl"))
    lines = done.err.splitlines()
    assert len(lines) == 1, done.everything
    for words in said:
        assert words in lines[0], done.everything


# What the environment says


def test_a_blank_name_of_an_experiment_is_refused(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    done = launch(bert, new_database(tmp_path), tmp_path)
    refused(done, tmp_path, "MLFLOW_EXPERIMENT_NAME='': is blank; unset the variable")


@pytest.mark.parametrize(
    ("name", "said"), [("x" * 501, "has 501 letters; allowed is"), ("caf\udce9", "is no UTF-8")]
)
def test_a_name_that_mlflow_does_not_take_is_refused(
    name: str, said: str, bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
    refused(launch(bert, new_database(tmp_path), tmp_path), tmp_path, said)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")  # which is what counts then
    assert experiment_name() == name


@pytest.mark.parametrize("code", ["INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"])
def test_an_experiment_that_may_not_be_made_is_refused(
    code: str, bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise MlflowException("not by you", error_code=ErrorCode.Value(code))

    monkeypatch.setattr(MlflowClient, "create_experiment", refuses)
    done = launch(bert, new_database(tmp_path), tmp_path)
    refused(done, tmp_path, "MLFLOW_EXPERIMENT_NAME='fedtune': MLflow makes no", "(not by you)")


@pytest.mark.parametrize("number", ["77", "mine", "9" * 30])
def test_an_experiment_or_a_run_that_mlflow_does_not_have_is_refused(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    for variable, what in (("MLFLOW_EXPERIMENT_ID", "experiment"), ("MLFLOW_RUN_ID", "run")):
        uri = new_database(tmp_path)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with monkeypatch.context() as patched:
            patched.setenv(variable, number)
            done = launch(bert, uri, tmp_path)
            refused(done, tmp_path, f"{variable}={number!r}: MLflow has no such {what}")
            if what == "experiment":
                for command in (["sync"], ["report"]):
                    told = call(*command, "--tracking-uri", uri, folder=tmp_path)
                    assert told.code == 2, told.everything


def test_what_was_deleted_in_mlflow_is_refused_with_what_mends_it(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = new_database(tmp_path)
    client = MlflowClient(uri)
    number = client.create_experiment("fedtune")
    run_id = client.create_run("0").info.run_id
    client.delete_experiment(number)
    client.delete_run(run_id)

    mend = f"`mlflow experiments restore --experiment-id {number}`"
    refused(launch(bert, uri, tmp_path), tmp_path, "MLFLOW_EXPERIMENT_NAME='fedtune'", mend)
    with monkeypatch.context() as patched:
        patched.setenv("MLFLOW_EXPERIMENT_ID", number)
        refused(launch(bert, uri, tmp_path), tmp_path, f"MLFLOW_EXPERIMENT_ID='{number}'", mend)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with monkeypatch.context() as patched:
        patched.setenv("MLFLOW_RUN_ID", run_id)
        refused(launch(bert, uri, tmp_path), tmp_path, "MLFLOW_RUN_ID=", "was deleted in MLflow")

    client.restore_experiment(number)
    assert launch(bert, uri, tmp_path).code == 0
    assert set(trial_runs(client, "bert-toy")) == {1, 2}


# What a SQLite file is


def test_a_database_that_cannot_be_opened_is_refused(bert: str, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("not a database, but a text of some length\n")
    (tmp_path / "folder.db").mkdir()
    for name, why in (
        ("notes.db", "is no SQLite database"),
        ("folder.db", "cannot be written to"),
        ("notes.db/mlflow.db", "cannot be written to"),
    ):
        done = launch(bert, f"sqlite:///{name}", tmp_path)
        refused(done, tmp_path, "tracking_uri=", why)
    assert "cannot be written to" in launch(bert, "sqlite:////proc/x.db", tmp_path).err


@pytest.mark.parametrize("name", ["my%20data", "what?"])
def test_nothing_starts_in_a_folder_that_mlflow_would_not_use(
    name: str, bert: str, tmp_path: Path
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    short = toy_run(bert, "2", **FEW)
    for args in ([*short, "--no-ray"], [*short, "--dry-run"], ["report"]):
        refused(call(*args, folder=folder), folder, "tracking_uri=", "MLflow would not use")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert list(folder.iterdir()) == []


def test_a_damaged_database_is_told_without_trying_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow would wait for minutes, between ten attempts."""
    monkeypatch.setattr("mlflow.store.db.utils.time.sleep", lambda _: pytest.fail("tries again"))
    database = Path(new_database(tmp_path).removeprefix("sqlite:///"))
    database.write_bytes(database.read_bytes()[:100] + b"x" * 5000)
    with pytest.raises(BadInput, match=r"MLflow cannot open it \("):
        connection.connect(f"sqlite:///{database}")


def test_tables_are_made_where_temporary_files_have_an_odd_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "a%41?b"
    odd.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    connection.connect(f"sqlite:///{tmp_path}/here/mlflow.db")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["mlflow.db"]
    assert {path.name for path in tmp_path.iterdir()} == {"here", "a%41?b"}
    assert list(odd.iterdir()) == []


def test_a_database_of_another_program_is_refused_with_what_mlflow_says(
    bert: str, tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.executescript(
            "CREATE TABLE alembic_version (version_num VARCHAR(32));"
            "INSERT INTO alembic_version VALUES ('of-nobody');"
            "CREATE TABLE runs (run_uuid VARCHAR(32)); INSERT INTO runs VALUES ('one');"
        )
    done = launch(bert, f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    refused(done, tmp_path, "tracking_uri=", "MLflow cannot open it (", "of-nobody")


def test_what_is_wrong_with_the_environment_is_not_blamed_on_the_database(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_database(tmp_path)
    for error in (DeprecationWarning("will be removed"), ImportError("no room for a library")):

        def raises(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(MlflowClient, "search_experiments", raises)
        done = launch(bert, f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
        assert done.code == 2, done.everything
        (line,) = done.err.splitlines()
        told = f"({type(error).__name__}: {error})"
        assert line == f"fedtune: MLflow cannot be used in this environment {told}"


# What answers at an address


@contextlib.contextmanager
def answering(status: int, body: str = "") -> Iterator[str]:
    """A server of which every answer is this one."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextlib.contextmanager
def hanging() -> Iterator[str]:
    """A server that takes every connection and never answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(64)
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, "<html>a page</html>", "what answers there is no MLflow server"),
        (200, "{}", "what answers there is no MLflow server"),
        (200, '{"experiments": [5]}', "what answers there is no MLflow server"),
        (200, '{"experiments": {"experiment_id": "0"}}', "what answers there is no MLflow server"),
        (200, "[" * 100_000, "what answers there is no MLflow server"),
        (404, "", "what answers there is no MLflow server"),
        (401, "", "MLFLOW_TRACKING_USERNAME"),
        (403, "", "MLFLOW_TRACKING_TOKEN"),
    ],
)
def test_a_server_that_mlflow_cannot_work_with_is_refused(
    bert: str, tmp_path: Path, status: int, body: str, said: str
) -> None:
    with answering(status, body) as address:
        refused(launch(bert, address, tmp_path), tmp_path, f"tracking_uri='{address}'", said)


def test_a_server_of_which_every_experiment_was_deleted_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is an empty object then."""
    uri = new_database(tmp_path)
    MlflowClient(uri).delete_experiment("0")
    with mlflow_server(tmp_path / "mlflow.db", tmp_path) as address:
        assert connection.connect(address).search_experiments() == []


def went_on(done: Done, folder: Path, *said: str) -> None:
    """A warning came before the first round, and what is left to do at the end."""
    assert done.code == 1, done.everything
    assert "Traceback" not in done.everything
    before, _, after = done.out.partition("K001 bert toy s0: starts")
    (warning,) = (line for line in before.splitlines() if "does not answer" in line)
    for words in (*said, "`fedtune sync`"):
        assert words in warning
    assert len(list(folder.glob("trials/*/rounds.jsonl"))) == 2
    assert after.count("is not in MLflow whole") == 2
    assert "`fedtune sync` brings MLflow up to date" in after


def test_a_server_that_is_away_is_a_warning(bert: str, tmp_path: Path) -> None:
    done = launch(bert, f"http://127.0.0.1:{free_port()}", tmp_path)
    went_on(done, tmp_path, "Connection refused")


def test_a_server_that_fails_is_a_warning(bert: str, tmp_path: Path) -> None:
    with answering(503) as address:
        went_on(launch(bert, address, tmp_path), tmp_path, "HTTP 503")


def test_a_server_that_hangs_holds_nothing_up(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_S", 0.3)
    monkeypatch.setattr(writer, "PATIENCE_S", 0.2)
    with hanging() as address:
        done = launch(bert, address, tmp_path)
        went_on(done, tmp_path, "no answer within 0.3 s")
        synced = call("sync", "--tracking-uri", address, folder=tmp_path)
        assert synced.code == 1
        assert "no answer within 0.3 s" in synced.out
        told = call("report", "--tracking-uri", address, folder=tmp_path)
        assert told.code == 1, told.everything
    assert call("sync", "--tracking-uri", new_database(tmp_path), folder=tmp_path).code == 0


# `mlflow ui`


def test_where_a_bare_mlflow_ui_shows_something_else_the_whole_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert links.ui_command(uri).endswith("mlflow ui")
    (tmp_path / "mlruns" / "models").mkdir(parents=True)  # what MLflow 3 makes for artifacts
    (tmp_path / "mlruns" / "models" / "meta.yaml").touch()
    assert links.ui_command(uri).endswith("mlflow ui")

    with monkeypatch.context() as patched:
        patched.setenv("MLFLOW_BACKEND_STORE_URI", "sqlite:///other.db")
        assert links.ui_command(uri).endswith(f"mlflow ui --backend-store-uri {uri}")
    (tmp_path / "mlruns" / "0").mkdir()
    (tmp_path / "mlruns" / "0" / "meta.yaml").touch()
    assert links.ui_command(uri).endswith(f"mlflow ui --backend-store-uri {uri}")
