"""Fixtures for all tests: no network, caches of their own, one thread, models of 2 layers.

What takes seconds to import is imported where it is used: of the processes that run the tests side
by side, the one that hands them out needs none of it.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

HERE = Path(__file__).parent

# Before anything imports a library that reads these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Two tests run side by side: a thread that waits for another by spinning keeps the core from the
# other test, and a trial of two threads then takes ten times as long.
os.environ["OMP_WAIT_POLICY"] = "passive"
for _name in ("FEDTUNE_DATA", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
    os.environ.pop(_name, None)

#: Fixtures for tests of plans and launches.
pytest_plugins = ["launches"]

#: What takes longest comes first: with such a file at the end one process works, and others wait.
#: Two files that start Ray do not begin at once.
LONGEST = (
    "run/test_ray.py",
    "docs/test_documented_commands.py",
    "run/test_interrupted_launch.py",
    "docs/test_tutorial.py",
    "commands/test_terminal.py",
    "test_mlproject.py",
    "tracking/test_tracking.py",
    "trial/test_interruption.py",
    "run/test_tune_scripts.py",
    "commands/test_commands.py",
    "trial/test_clients_that_differ.py",
    "test_benchmarks.py",
    "analysis/test_history.py",
    "tracking/test_sweep_run.py",
    "test_wheel.py",
    "analysis/test_report.py",
    "analysis/test_drawn.py",
    "test_browser.py",
    "commands/test_damaged_store.py",
    "analysis/test_client_reports.py",
    "federated/test_strategies_on_models.py",
    "tracking/test_connection.py",
    "models/test_architectures.py",
    "test_redaction.py",
)

# What is imported stays: to look for garbage in it again and again takes seconds.
gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}

    def place(item: pytest.Item) -> int:
        return places.get(item.path.relative_to(HERE).as_posix(), len(LONGEST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Several threads on tiny tensors cost more than they give, most of all on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens are cached once per test session, away from the user's cache."""
    cache = tmp_path_factory.mktemp("cache")
    os.environ["FEDTUNE_CACHE"] = str(cache)
    return cache


@pytest.fixture(scope="session", autouse=True)
def without_waiting_for_the_disk() -> Iterator[None]:
    """SQLite does not wait until a commit has reached the disk: MLflow makes hundreds a launch."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def connected(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", connected)
    yield
    event.remove(Engine, "connect", connected)


@pytest.fixture(scope="session")
def made_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, Callable[[Path], None]], Path]:
    """A folder by its name, filled by whoever asks first of all the processes that run tests."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def folder_of(name: str, fill: Callable[[Path], None]) -> Path:
        folder, part = root / name, root / f"{name}.part"
        with FileLock(root / f"{name}.lock"):
            if not folder.exists():
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir()
                fill(part)
                part.rename(folder)
        return folder

    return folder_of


@pytest.fixture(scope="session")
def tiny(made_once: Callable[..., Path]) -> Path:
    """A folder with bert, albert and distilbert, 2 layers wide 32."""
    from tiny_models import build_models

    return made_once("tiny", build_models)


@pytest.fixture(scope="session")
def bert(tiny: Path) -> str:
    """The directory of the tiny BERT."""
    return str(tiny / "bert")


@pytest.fixture(scope="session")
def without_dropout(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models with every dropout rate of their configuration at 0."""
    folder = tmp_path_factory.mktemp("without dropout")
    for source in tiny.iterdir():
        made = Path(shutil.copytree(source, folder / source.name))
        config = json.loads((made / "config.json").read_text())
        rates = [key for key in config if "dropout" in key]
        assert rates
        config |= dict.fromkeys([*rates, "classifier_dropout_prob", "seq_classif_dropout"], 0.0)
        (made / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def two_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report has two figures, of which one needs several clients: to draw takes longest."""
    from fedtune.analysis import report

    monkeypatch.setattr(report, "FIGURES", {number: report.FIGURES[number] for number in (1, 5)})
