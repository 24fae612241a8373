"""A SQLite database for MLflow, made whole or not at all.

MLflow makes its tables in some forty steps, which take seconds, and on a busy machine a minute. A
database whose making was cut off cannot be opened any more, so it is made elsewhere.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

#: Where each of those steps is logged.
_STEPS = "alembic.runtime.migration"


def make_database(path: Path, on_step: Callable[[], None]) -> None:
    """Make an empty tracking database at ``path``, unless there is something; ``on_step`` is called
    after each step on the way.

    Where another process makes one at the same time, the first to end has made it.
    """
    if os.path.lexists(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # A process that ends meanwhile removes the folder, in which another thread may still write.
    # Beside it where ? or % in the name of the usual place would mean something in a URI.
    where = path.parent if {"?", "%"} & set(tempfile.gettempdir()) else None
    with tempfile.TemporaryDirectory("", "fedtune-", where, ignore_cleanup_errors=True) as folder:
        made = Path(folder, path.name)
        _make_tables(made, on_step)
        _put(made, path)


def _make_tables(path: Path, on_step: Callable[[], None]) -> None:
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def step(record: logging.LogRecord) -> bool:
        on_step()
        return record.levelno >= logging.WARNING

    log = logging.getLogger(_STEPS)
    level = log.level
    log.addFilter(step)
    log.setLevel(logging.INFO)
    try:
        store: Any = SqlAlchemyStore  # which has no types
        store(f"sqlite:///{path}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()
    finally:
        log.setLevel(level)
        log.removeFilter(step)


def _put(made: Path, path: Path) -> None:
    """Bring the file to its place in one step, unless something is there by now."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        shutil.copyfile(made, beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not os.path.lexists(path):
                beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)


def why_unusable(path: Path, said: str) -> str:
    """Why MLflow cannot open the SQLite file, of which it ``said`` something, and what mends it."""
    if _was_cut_off(path):
        return (
            "is a database whose making was cut off, and holds no run; where no other process is "
            f"making it now, remove it (`rm {path}`): the next launch makes it anew, and "
            "`fedtune sync` brings in what was run before"
        )
    return f"MLflow cannot open it ({said})"


def _was_cut_off(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
            runs = database.execute("SELECT count(*) FROM runs") if "runs" in tables else None
            return not runs or not runs.fetchone()[0]
    except sqlite3.Error:
        return False
