"""MLflow's tables are made whole or not at all, and a database of before that is recognised."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support import FEW, assert_whole, call, new_database, start, toy_run, wait_for

from fedtune.tracking import database
from fedtune.tracking.database import make_database

#: Stops after some of MLflow's steps, as where a process is killed there.
CUT_OFF = """
import os, sys
from pathlib import Path
from fedtune.tracking.database import {make}
left = [int(sys.argv[2])]
def step():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), 9)
{make}(Path(sys.argv[1]), step)
"""


def cut_off(make: str, path: Path, steps: int, where: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CUT_OFF.format(make=make), str(path), str(steps)],
        env={**os.environ, "TMPDIR": str(where)},
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_database_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "here" / "mlflow.db", tmp_path / "elsewhere"
    elsewhere.mkdir()
    cut_off("make_database", path, 20, elsewhere)
    assert list(elsewhere.rglob("mlflow.db")), "killed before anything was made"
    assert list(path.parent.iterdir()) == []

    steps: list[int] = []
    make_database(path, lambda: steps.append(len(steps)))

    assert len(steps) > 20
    assert [p.name for p in path.parent.iterdir()] == ["mlflow.db"]
    client = MlflowClient(f"sqlite:///{path}")
    assert [e.name for e in client.search_experiments()] == ["Default"]


def test_what_is_there_is_left_alone_even_where_it_came_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"

    def another_was_first(made: Path, on_step: object) -> None:
        made.write_text("mine")
        path.write_text("another's")

    monkeypatch.setattr(database, "_make_tables", another_was_first)
    make_database(path, lambda: None)
    assert path.read_text() == "another's"
    make_database(path, lambda: None)
    assert [p.name for p in tmp_path.iterdir()] == ["mlflow.db"]


def test_without_hard_links_the_file_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_here(*_: object) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(database, "_make_tables", lambda made, on_step: made.write_text("mine"))
    monkeypatch.setattr(os, "link", none_here)
    make_database(tmp_path / "mlflow.db", lambda: None)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]


def test_a_database_that_was_cut_off_is_named_and_sync_recovers_all(
    bert: str, tmp_path: Path
) -> None:
    """As an earlier version left it, or a `mlflow ui` that was killed within a step: SQLite keeps
    each table that is made, and the step is not yet noted.
    """
    args = [*toy_run(bert, "2", **FEW), "--no-ray"]
    path = tmp_path / "half.db"
    make_database(path, lambda: None)
    with closing(sqlite3.connect(path)) as half:
        half.execute("DELETE FROM alembic_version")
        half.commit()
    whole = f"sqlite:///{tmp_path}/whole.db"
    assert call(*args, "--tracking-uri", whole, folder=tmp_path).code == 0
    for words in (args, ["sync"], ["report"]):
        done = call(*words, "--tracking-uri", f"sqlite:///{path}", folder=tmp_path)
        assert done.code == 2, done.everything
        (line,) = done.err.splitlines()
        assert f"(`rm {path}`)" in line
        assert "making was cut off" in line

    anew = f"sqlite:///{tmp_path}/anew.db"  # within one process MLflow remembers the other
    assert call("sync", "--tracking-uri", anew, folder=tmp_path).code == 0
    assert_whole(MlflowClient(anew), "bert-toy", tmp_path / "trials")


def test_a_database_that_was_cut_off_between_two_steps_goes_on(bert: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = tmp_path / "mlflow.db"
    cut_off("_make_tables", path, 20, elsewhere)
    args = [*toy_run(bert, "2", **FEW), "--no-ray"]
    done = call(*args, "--tracking-uri", f"sqlite:///{path}", folder=tmp_path)
    assert done.code == 0, done.everything


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_launch_that_ends_while_the_tables_are_made_leaves_nothing_half_made(
    bert: str, tmp_path: Path, how: signal.Signals
) -> None:
    where = tmp_path / "tmp"
    where.mkdir()
    args = [*toy_run(bert, "2", **FEW), "--no-ray"]
    launch = start(*args, folder=tmp_path, TMPDIR=str(where))
    wait_for(lambda: list(where.rglob("mlflow.db")), 120, "the first table")
    os.kill(launch.pid, how)
    done = launch.finish()
    assert done.code == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[how]
    assert "Traceback" not in done.everything

    path = tmp_path / "mlflow.db"
    if path.exists():  # it was made on the way out
        with closing(sqlite3.connect(path)) as made:
            assert made.execute("SELECT count(*) FROM runs").fetchone()
    else:
        new_database(tmp_path)
    assert call(*args, folder=tmp_path).code == 0
    assert_whole(MlflowClient(f"sqlite:///{path}"), "bert-toy", tmp_path / "trials")
