"""Helpers of the tests that use fedtune as a person does: by its commands."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from unittest import mock

import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from fedtune.commands.main import main

#: Settings with which the tiny models learn `toy` in 3 rounds (K = 1) or 4 (K = 4).
LEARNS = {"batch_size": 8, "max_length": 32, "learning_rate": 0.05, "threads": 1}

#: One round of one epoch, where what is learned does not matter.
SHORT = {**LEARNS, "local_epochs": 1, "budget_rounds": 1, "max_rounds": 1}

#: The same with a few of toy's texts.
FEW = {**SHORT, "train_examples": 32, "test_examples": 32}

#: Rounds that take a while, so that a trial can be stopped between two of them.
LASTING = {
    "local_epochs": 3,
    "budget_rounds": 8,
    "max_rounds": 8,
    "stop": "budget-then-target",
}


def options(**settings: Any) -> list[str]:
    """``learning_rate=0.05`` as ``["--learning-rate", "0.05"]``."""
    return [
        part
        for name, value in settings.items()
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar.gz as the pages say it. (Python's way to do so safely came with 3.11.4.)"""
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)


def toy_run(model: str, clients: object = "4", **settings: Any) -> list[str]:
    """The arguments of a `fedtune run` on `toy` that learns, with other ``settings`` if wanted."""
    what = {"name": "bert-toy", "model": model, "dataset": "toy", "clients": clients}
    return ["run", *options(**what | LEARNS | settings)]


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def everything(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


def call(*args: str, folder: Path) -> Done:
    """Run a command in this process, in ``folder``: the whole front door but a new interpreter."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", ["fedtune", *args]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            return Done(int(end.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("main() has to end with an exit code")


def command(*args: str) -> list[str]:
    """The same command for a process of its own."""
    return [sys.executable, "-m", "fedtune", *args]


@dataclass(frozen=True)
class Started:
    """A command that runs as a process group of its own.

    Its output goes to files: after a kill, children that outlive it would hold a pipe open.
    """

    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def finish(self, timeout_s: float = 300) -> Done:
        """Wait for its end."""
        code = self.process.wait(timeout_s)
        texts = []
        for file in (self.out, self.err):
            file.seek(0)
            texts.append(file.read().decode())
            file.close()
        return Done(code, *texts)

    def kill(self) -> Done:
        """Kill the process, and what it leaves behind."""
        self.process.kill()
        done = self.finish()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return done


def start(*args: str, folder: Path, **environment: str) -> Started:
    """Start a command without waiting for it."""
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(
        command(*args),
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
    )
    return Started(process, out, err)


def in_process_of_its_own(*args: str, folder: Path, **environment: str) -> Done:
    return start(*args, folder=folder, **environment).finish()


def wait_for(condition: Callable[[], Any], timeout_s: float = 240, what: str = "") -> Any:
    """What ``condition`` gives as soon as it is true; a busy machine needs minutes for a launch."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {timeout_s:.0f} s in vain for {what or condition}")


# What a store holds


def trial_configs(store: Path) -> dict[int, dict[str, Any]]:
    """The ``config.yaml`` of every trial of a store in which each K is there once, by K."""
    found = [yaml.safe_load(path.read_text()) for path in store.glob("*/config.yaml")]
    assert len({config["clients"] for config in found}) == len(found)
    return {config["clients"]: config for config in found}


def folder_of(store: Path, clients: int) -> Path:
    return store / trial_configs(store)[clients]["trial_id"]


def log(folder: Path) -> list[dict[str, Any]]:
    """A trial's round log without what may differ between two runs: times and throughput."""
    path = folder / "rounds.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines]
    free = ("time/", "throughput/")
    return [{k: v for k, v in r.items() if not k.startswith(free)} for r in records]


def logs(store: Path) -> dict[str, list[dict[str, Any]]]:
    """Every round log of a store, by trial id."""
    return {path.parent.name: log(path.parent) for path in store.glob("*/rounds.jsonl")}


# What MLflow holds


def sweep_run(client: MlflowClient, sweep: str, experiment: str = "fedtune") -> Run:
    """The one run of a sweep itself."""
    (run,) = _search(client, experiment, f"tags.`fedtune.sweep` = '{sweep}'", "= 'sweep'")
    return run


def trial_runs(client: MlflowClient, sweep: str, experiment: str = "fedtune") -> dict[int, Run]:
    """The runs of a sweep's trials by K, which has to be there once each."""
    runs = _search(client, experiment, f"tags.`fedtune.sweep` = '{sweep}'", "!= 'sweep'")
    by_clients = {int(run.data.params["clients"]): run for run in runs}
    assert len(by_clients) == len(runs)
    return by_clients


def _search(client: MlflowClient, experiment: str, condition: str, kind: str) -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(
        client.search_runs([found.experiment_id], f"{condition} and tags.`fedtune.kind` {kind}")
    )


def points(client: MlflowClient, run: Run) -> dict[str, list[tuple[int, float]]]:
    """Every point of every metric of a run, as (step, value), sorted."""
    return {
        key: sorted((p.step, p.value) for p in client.get_metric_history(run.info.run_id, key))
        for key in client.get_run(run.info.run_id).data.metrics
    }


def logged(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The points that a trial's round log amounts to: each metric of each round once."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in (folder / "rounds.jsonl").read_text().splitlines():
        record = json.loads(line)
        for key, value in record.items():
            if "/" in key:
                found.setdefault(key, []).append((record["round"], float(value)))
    return found


def assert_whole(client: MlflowClient, sweep: str, store: Path) -> None:
    """Every round of every trial is in MLflow, once, and every summary and fact is, once."""
    runs = trial_runs(client, sweep)
    assert set(runs) == set(trial_configs(store))
    for clients, run in runs.items():
        expected, found = logged(folder_of(store, clients)), points(client, run)
        once = {key: found.pop(key) for key in list(found) if key not in expected}
        assert found == expected
        assert {len(values) for values in once.values()} == {1}
        assert {"summary/final_accuracy", "data/num_classes"} <= set(once)


@functools.cache
def _empty_database() -> bytes:
    """MLflow's tables, made once: that takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        MlflowClient(f"sqlite:///{path}").search_experiments()
        return path.read_bytes()


def new_database(folder: Path) -> str:
    """The URI of an empty tracking database in ``folder``."""
    path = folder / "mlflow.db"
    path.write_bytes(_empty_database())
    return f"sqlite:///{path}"


# Servers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def serving(*args: str, folder: Path, url: str) -> Iterator[None]:
    """A server (``python -m ARGS``) that answers at ``url``; gone with its children afterwards."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *args],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: process.poll() is not None or answers(url), 240, url)
        assert process.poll() is None, (folder / "server.log").read_text()
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself, which is told above
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@contextlib.contextmanager
def mlflow_server(database: Path, folder: Path) -> Iterator[str]:
    """A real tracking server on a SQLite file; gives its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    server = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{database}"]
    artifacts = ["--artifacts-destination", str(folder / "artifacts")]
    with serving(*server, *places, *artifacts, folder=folder, url=f"{address}/health"):
        yield address
