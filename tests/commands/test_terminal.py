"""What reaches a pipe and a terminal, and the last words of a launch that is told to end."""

from __future__ import annotations

import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Done, call, command, in_process_of_its_own, options, toy_run

SHORT = {"budget_rounds": 1, "max_rounds": 2, "local_epochs": 1}
NOISE = ("Traceback", "INFO", "WARNING", "(pid=", "(raylet)", "it/s", "Trial status", "alembic")


def test_a_pipe_gets_plain_lines_only(bert: str, tmp_path: Path) -> None:
    done = in_process_of_its_own(*toy_run(bert, **SHORT), "--no-ray", folder=tmp_path)

    assert done.code == 0, done.everything
    assert done.err == ""
    assert "\x1b" not in done.out
    assert "K001 bert toy s0: round 1/1, accuracy" in done.out
    assert not [noise for noise in NOISE if noise in done.out]


def on_a_terminal(args: list[str], folder: Path) -> Done:
    """Run a command with a pseudo-terminal as its output, 120 columns wide."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        command(*args), cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 180
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side has been closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    return Done(process.wait(30), seen.decode(), "")


def test_a_terminal_gets_a_live_table_and_no_noise(bert: str, tmp_path: Path) -> None:
    done = on_a_terminal(toy_run(bert, **SHORT), tmp_path)

    assert done.code == 0, done.out
    assert "time left" in done.out  # a column that only the live table has
    assert "waits for its baseline" in done.out
    assert "\x1b[" in done.out
    assert "│ baseline" in done.out
    assert not [noise for noise in NOISE if noise in done.out]


@pytest.fixture
def handler() -> Iterator[None]:
    """Put back who handles SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("where", ["--no-ray", "Ray waits", "Ray's handler"])
def test_a_launch_that_is_terminated_says_how_to_go_on(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import fedtune.run.session as session

    def run_sweep(*_: object) -> None:
        if where == "Ray's handler":  # as ray.init sets it
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            if where == "Ray waits":  # as ray.wait ends
                sys.exit(1)
            raise

    monkeypatch.setattr(session, "run_sweep", run_sweep)
    args = ["run", *options(model="a model", dataset="toy", clients=2)]

    done = call(*args, folder=tmp_path)

    assert done.code == 143, done.everything
    assert "the same command goes on" in done.out
    assert shlex.split(done.out.splitlines()[-1]) == ["fedtune", *args]


def test_another_exit_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import fedtune.run.session as session

    monkeypatch.setattr(session, "run_sweep", lambda *_: sys.exit(7))
    done = call("run", *options(model="m", dataset="toy", clients=2), folder=tmp_path)
    assert (done.code, done.out) == (7, "")
