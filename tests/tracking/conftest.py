"""Fixtures for tests of tracking: a finished launch, and a copy of it to be changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from launched import Launched
from support import Done, call, new_database, toy_run


@pytest.fixture(scope="module", autouse=True)
def forget_the_uri() -> Iterator[None]:
    """`mlflow.set_tracking_uri` also sets the variable that later launches would read."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="module")
def on_disk(bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished launch, to be copied by tests that change it."""
    folder = tmp_path_factory.mktemp("on_disk")
    new_database(folder)
    done = call(*toy_run(bert, "1,4", max_rounds=3), "--no-ray", folder=folder)
    assert "not_reached" in done.out, done.everything
    return folder


@pytest.fixture
def copied(on_disk: Path, tmp_path: Path) -> Launched:
    folder = tmp_path / "copy"
    shutil.copytree(on_disk, folder)
    return Launched(folder, f"sqlite:///{folder}/mlflow.db", Done(0, "", ""))
