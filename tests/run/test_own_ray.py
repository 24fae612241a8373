"""A Ray of a launch's own: it is not reached from outside, and starts where that is hard."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedtune.errors import Refusal
from fedtune.run import own_ray
from fedtune.run.own_ray import start_own_ray


class Starts:
    """What stands for ``ray.init``: it fails with the ``errors``, one a time, then starts."""

    def __init__(self, *errors: Exception):
        self.errors, self.folders = list(errors), list[Path]()

    def __call__(self, *, address: str, _temp_dir: str, **settings: Any) -> None:
        assert address == "local"
        self.folders.append(Path(_temp_dir))
        assert self.folders[-1].stat().st_mode & 0o777 == 0o700
        if self.errors:
            raise self.errors.pop(0)


SLOW = Exception("The current node timed out during startup. This could happen because some …")


def of_length(folder: Path, length: int) -> Path:
    """A folder below ``folder`` with a path of so many letters."""
    place = folder
    while len(str(place)) < length - 1:
        place = place / ("x" * min(length - len(str(place)) - 1, 100))
    assert length - 1 <= len(str(place)) <= length
    return place


@pytest.mark.parametrize(
    "asked",
    [
        lambda folder: {"TMPDIR": str(of_length(folder, 90))},
        lambda folder: {"TMPDIR": str(folder / ("ü" * 30))},  # bytes count, not letters
        lambda folder: {"RAY_TMPDIR": str(of_length(folder, 200))},
        lambda folder: {"RAY_TMPDIR": "/proc/self/fdinfo/ray"},  # where nobody can write
    ],
    ids=["90 letters", "two bytes a letter", "RAY_TMPDIR", "not writable"],
)
def test_sockets_are_where_their_paths_are_short_enough(
    asked: Callable[[Path], dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in asked(tmp_path).items():
        monkeypatch.setenv(name, value)
        if value.startswith(str(tmp_path)):
            Path(value).mkdir(parents=True)
    monkeypatch.setattr(own_ray.tempfile, "tempdir", None)  # asked anew
    starts = Starts()
    clean = start_own_ray(starts)
    (folder,) = starts.folders
    socket = folder / "session_2026-11-26_09-00-00_000000_4194304/sockets/plasma_store"
    assert len(os.fsencode(socket)) <= 107
    assert folder.parent == Path("/tmp")
    clean()
    assert not folder.exists()


def test_a_short_tmpdir_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    short = Path("/tmp/ray-test")
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    starts = Starts()
    try:
        start_own_ray(starts)()
        assert starts.folders[0].parent == short
    finally:
        shutil.rmtree(short, ignore_errors=True)


def test_without_a_place_for_sockets_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_ray, "can_be_made", lambda folder: False)
    with pytest.raises(Refusal, match=r"^TMPDIR=\S+ cannot hold Ray's sockets .* --no-ray$"):
        start_own_ray(Starts())


def test_a_ray_that_starts_slowly_is_waited_for() -> None:
    starts = Starts(SLOW, TimeoutError("Timed out after 30 seconds while waiting for node"))
    start_own_ray(starts)()
    assert len(set(starts.folders)) == 3
    assert not any(folder.exists() for folder in starts.folders)


@pytest.mark.parametrize(
    ("errors", "attempts"),
    [
        ([SLOW] * 9, 3),
        ([OSError("validate_socket_filename failed: AF_UNIX path length cannot exceed …")], 1),
        ([RuntimeError("Failed to start GCS")], 1),
    ],
    ids=["slow", "sockets", "broken"],
)
def test_a_ray_that_does_not_start_is_a_line_with_the_way_out(
    errors: list[Exception], attempts: int
) -> None:
    starts = Starts(*errors)
    with pytest.raises(Refusal) as refused:
        start_own_ray(starts)
    (line,) = str(refused.value).splitlines()
    assert line.startswith("Ray could not be started on this machine (")
    assert line.endswith("or use --no-ray")
    assert len(starts.folders) == attempts
    assert not any(folder.exists() for folder in starts.folders)


def test_what_a_slow_start_has_left_running_is_ended() -> None:
    ended: list[str] = []

    class Node:
        def kill_all_processes(self, **how: bool) -> None:
            ended.append("all")

        def start(self) -> None:
            raise SLOW

    def init(**settings: Any) -> None:
        if not ended:
            Node().start()

    start_own_ray(init)()
    assert ended == ["all"]


@pytest.mark.skipif(not shutil.which("ss"), reason="ss tells who listens where")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Ray does so by itself")
def test_a_ray_of_ones_own_listens_on_the_loopback_alone() -> None:
    mark = f"FEDTUNE_TEST_MARK={uuid.uuid4()}"
    program = (
        "import pathlib, re, subprocess, sys, ray\n"
        "from fedtune.run.own_ray import start_own_ray\n"
        "quiet = {'log_to_driver': False, 'logging_level': 50, 'include_dashboard': False}\n"
        "clean = start_own_ray(ray.init, num_cpus=1, **quiet)\n"
        "@ray.remote\n"
        "def work(): return 5\n"
        "assert ray.get(work.remote()) == 5\n"
        "told = subprocess.run(['ss', '-ltnpH'], capture_output=True, text=True).stdout\n"
        "for line in told.splitlines():\n"
        "    for pid in re.findall(r'pid=(\\d+)', line):\n"
        "        if sys.argv[1] in pathlib.Path(f'/proc/{pid}/environ').read_text():\n"
        "            print(line)\n"
        "ray.shutdown(); clean()\n"
    )
    name, _, value = mark.partition("=")
    done = subprocess.run(
        [sys.executable, "-c", program, mark],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    hosts = {line.split()[3].rpartition(":")[0] for line in done.stdout.splitlines()}
    assert "gcs_server" in done.stdout
    assert "raylet" in done.stdout
    assert hosts <= {"127.0.0.1", "[::ffff:127.0.0.1]", "[::1]"}, done.stdout
