"""Paths: homes that are not there, and links below a folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fedtune import paths
from fedtune.paths import cache_root, has_home, link_fault


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whom the system does not know, without ``$HOME``; where temporary files go."""

    def unknown(path: Path) -> Path:
        if path.parts[:1] == ("~",):
            raise RuntimeError("Could not determine home directory.")
        return path

    for name in ("HOME", "FEDTUNE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", unknown)
    monkeypatch.setattr(paths.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_user_without_a_home_has_a_folder_that_nobody_else_can_write_to(nobody: Path) -> None:
    assert not has_home()
    home = nobody / f"fedtune-{os.getuid()}"
    assert cache_root() == home / ".cache" / "fedtune"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert cache_root() == home / ".cache" / "fedtune", "the next time too"


@pytest.mark.parametrize("planted", ["link", "file", "writable by all"])
def test_a_folder_that_another_has_put_there_is_not_taken(nobody: Path, planted: str) -> None:
    home = nobody / f"fedtune-{os.getuid()}"
    if planted == "link":
        (nobody / "elsewhere").mkdir()
        home.symlink_to(nobody / "elsewhere")
    elif planted == "file":
        home.write_text("")
    else:
        home.mkdir()
        home.chmod(0o777)
    paths._of_this_process.cache_clear()
    taken = cache_root().parents[1]
    assert taken.parent == nobody
    assert taken != home
    assert stat.S_IMODE(taken.stat().st_mode) == 0o700


def test_a_home_that_cannot_be_written_to_is_none(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(paths.tempfile, "tempdir", str(nobody))
    monkeypatch.setenv("HOME", "/proc/self/fdinfo")  # nobody can, not even root
    for name in ("FEDTUNE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform == "linux":
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        assert cache_root().is_relative_to(nobody)
        monkeypatch.setenv("HOME", str(nobody))
        (nobody / ".cache").mkdir()
        assert cache_root() == nobody / ".cache" / "fedtune", "one that is there can be read"


def test_what_the_user_names_is_taken(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_root() == Path("/somewhere/fedtune")
    monkeypatch.setenv("FEDTUNE_CACHE", "/else")
    assert cache_root() == Path("/else")


def test_a_command_gives_the_libraries_a_home_where_there_is_none(tmp_path: Path) -> None:
    """MLflow asks for one, and others would make a folder called ``~``."""
    program = (
        "import os, pathlib, sys\n"
        "known = pathlib.Path.expanduser\n"
        "def unknown(path):\n"
        "    if path.parts[:1] == ('~',) and 'HOME' not in os.environ:\n"
        "        raise RuntimeError('Could not determine home directory.')\n"
        "    return known(path)\n"
        "pathlib.Path.expanduser = unknown\n"
        "from fedtune.commands.main import main\n"
        "sys.argv = ['fedtune', '--version']\n"
        "try: main()\n"
        "except SystemExit: print(os.environ['HOME'])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "HOME"} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == str(tmp_path / f"fedtune-{os.getuid()}")


@pytest.mark.parametrize("writes", [False, True])
def test_links_below_a_folder(writes: bool, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "file").write_text("")
    (tmp_path / "link to root").symlink_to(root)
    (root / "inside").symlink_to("a")
    (root / "outside").symlink_to(tmp_path)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    (root / "loop").symlink_to("loop")

    def faulty(start: Path, name: str) -> bool:
        return link_fault(start, start / name, writes=writes) is not None

    for start in (root, tmp_path / "link to root"):
        assert not faulty(start, "a/file")
        assert not faulty(start, "not/there")
        assert faulty(start, "inside/file") == writes
        assert faulty(start, "outside/file")
        assert faulty(start, "dangling")
        assert faulty(start, "loop") == writes
