"""What reaches a pipe and a terminal, and the last words of a launch that is told to end."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from support import (
    FEW,
    Done,
    call,
    command,
    in_process_of_its_own,
    new_database,
    options,
    toy_run,
)

QUICK = {**FEW, "max_rounds": 2}
NOISE = ("Traceback", "INFO", "WARNING", "(pid=", "(raylet)", "it/s", "Trial status", "alembic")


def on_a_terminal(args: list[str], folder: Path, width: int = 120, **environ: str) -> Done:
    """Run a command with a pseudo-terminal as its output."""
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(width), "LINES": "24"}
    environment = {**os.environ, "TERM": "xterm-256color", **size, **environ}
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
    done = on_a_terminal(toy_run(bert, **QUICK), tmp_path)

    assert done.code == 0, done.out
    assert "time left" in done.out  # a column that only the live table has
    assert "waits for its baseline" in done.out
    assert "\x1b[" in done.out
    assert "│ baseline" in done.out
    assert not [noise for noise in NOISE if noise in done.out]
    # The charts' long addresses are links, the address of the run can be copied whole.
    assert re.search(r"\x1b]8;[^;]*;http://\S+compareRunsMode", done.out)
    bare = re.sub(r"\x1b]8;.*?\x1b\\", "", done.out)
    (address,) = re.findall(r"http://\S+", bare)
    assert re.fullmatch(r"http://127.0.0.1:5000/#/experiments/1/runs/\w{32}\?\S+", address)


@pytest.fixture(scope="module")
def launched(bert: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A folder with a launch of the sweep `n`, and what a pipe was given."""
    folder = tmp_path_factory.mktemp("launched")
    new_database(folder)
    done = call(*toy_run(bert, name="n", **QUICK), "--no-ray", folder=folder)
    assert done.code == 0, done.everything
    return folder, done


@pytest.mark.parametrize("width", [80, 40])
def test_a_narrow_terminal_gets_whole_numbers(launched: tuple[Path, Done], width: int) -> None:
    folder, whole = launched
    rows = [line.split("│") for line in whole.out.splitlines() if line.startswith("│")]
    assert len(rows) == 2

    shown = on_a_terminal(["status", "n"], folder, width)

    assert shown.code == 0, shown.out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.out)
    assert max(map(len, plain.splitlines())) <= width
    for _, clients, accuracy, _, rounds, *_ in rows:
        line = next(li for li in plain.splitlines() if clients.strip() in li.split()[:2])
        assert accuracy.strip() in line
        assert rounds.strip() in line


def printed_in(encoding: str, args: list[str], folder: Path) -> str:
    """What a pipe gets that has an encoding: plain lines, of ASCII alone, and no errors."""
    done = in_process_of_its_own(*args, folder=folder, PYTHONIOENCODING=encoding)
    assert done.code == 0, done.everything
    assert done.err == ""
    assert done.out.isascii()
    assert "\x1b" not in done.out
    assert not [noise for noise in NOISE if noise in done.out]
    return done.out


def test_a_pipe_gets_plain_lines_and_other_characters_for_those_that_it_lacks(
    bert: str, tmp_path: Path
) -> None:
    args = [*toy_run(bert, **QUICK | {"budget_rounds": 3, "max_rounds": 3}), "--no-ray"]
    text = printed_in("ascii", args, tmp_path)
    assert "K001 bert toy s0: round 1/3, accuracy" in text
    assert "<= " in text  # the time left
    assert "+---" in text  # a table


def test_another_encoding_that_lacks_some_is_given_others_too(launched: tuple[Path, Done]) -> None:
    assert "+---" in printed_in("latin-1", ["status", "n"], launched[0])


def test_help_and_errors_are_printed_where_characters_are_missing(tmp_path: Path) -> None:
    for args, code in (
        (["run", "--help"], 0),
        (["run", "--model", "Modèle", "--dataset", "toy", "--clients", "2"], 2),
        (["nonsense…"], 2),
    ):
        done = subprocess.run(
            command(*args),
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
        )
        assert done.returncode == code
        assert (done.stdout + done.stderr).isascii()
        assert b"Traceback" not in done.stderr


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(bert: str, tmp_path: Path) -> None:
    new_database(tmp_path)
    done = on_a_terminal([*toy_run(bert, **QUICK), "--no-ray"], tmp_path, TERM="dumb")
    assert done.code == 0, done.out
    assert "K001 bert toy s0: round 1/1, accuracy" in done.out
    assert "\x1b" not in done.out


@pytest.fixture
def handler() -> Iterator[None]:
    """Put back who handles the signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, who in before.items():
        signal.signal(number, who)


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


@pytest.mark.usefixtures("handler")
def test_after_ctrl_c_what_is_being_closed_is_not_cut_off_by_a_sigterm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`mlflow run` sends one to its child when it is itself interrupted."""
    import fedtune.run.session as session

    def run_sweep(spec: object, launch: session.Options, console: Console) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGTERM)
            launch.say_why()
            console.print("the table")
            raise

    monkeypatch.setattr(session, "run_sweep", run_sweep)
    monkeypatch.setenv("FEDTUNE_COMMAND", "make demo")

    done = call("run", *options(model="m", dataset="toy", clients=2), folder=tmp_path)

    assert done.code == 130, done.everything
    assert done.out.split("\n") == [
        "",
        "Interrupted.",
        "the table",
        "",
        "Complete rounds are kept; the same command goes on from there:",
        "  make demo",
        "",
    ]


@pytest.mark.usefixtures("handler")
def test_a_dry_run_that_is_interrupted_has_nothing_to_go_on_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import fedtune.run.session as session

    monkeypatch.setattr(session, "dry_run", lambda *_: signal.raise_signal(signal.SIGINT))
    args = ["run", *options(model="m", dataset="toy", clients=2), "--dry-run"]
    done = call(*args, folder=tmp_path)
    assert (done.code, done.out) == (130, "\nInterrupted.\n")


def test_another_exit_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import fedtune.run.session as session

    monkeypatch.setattr(session, "run_sweep", lambda *_: sys.exit(7))
    done = call("run", *options(model="m", dataset="toy", clients=2), folder=tmp_path)
    assert (done.code, done.out) == (7, "")
