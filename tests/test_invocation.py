"""The commands that fedtune tells its user to type work where the user stands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fedtune import invocation

ASK = (
    "import sys\n"
    "from fedtune.invocation import command_beside, fedtune_command, same_command\n"
    "for told in (same_command(), fedtune_command('report'), command_beside('mlflow')):\n"
    "    print(told)\n"
)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """``.venv/bin`` in a folder of its own, with a fedtune that tells what it would print."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    source = "#!" + sys.executable + "\n" + ASK
    for name in ("fedtune", "mlflow"):
        (folder / name).write_text(source.replace("import sys\n", BESIDE.format(folder)))
        (folder / name).chmod(0o755)
    return folder


#: As where that Python is the one that runs.
BESIDE = "import sys\nsys.executable = '{}/python'\n"


def asked(folder: Path, command: list[str], **environment: str) -> list[str]:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_script_that_is_not_on_the_path_is_named_by_its_place(scripts: Path) -> None:
    here = scripts.parents[1]
    for typed in (".venv/bin/fedtune", str(scripts / "fedtune")):
        told = asked(here, [typed, "run", "--name", "a b"])
        assert told == [
            ".venv/bin/fedtune run --name 'a b'",
            ".venv/bin/fedtune report",
            ".venv/bin/mlflow",
        ]
    elsewhere = asked(here / ".venv", [str(scripts / "fedtune"), "run"])
    assert elsewhere[0] == "bin/fedtune run"
    assert asked(scripts, ["./fedtune", "run"])[0] == "./fedtune run"
    far = asked(Path("/"), [str(scripts / "fedtune"), "run"])
    assert far[0] == str(scripts / "fedtune").lstrip("/") + " run"


def test_a_script_on_the_path_is_named_by_its_name(scripts: Path) -> None:
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    told = asked(Path("/"), ["fedtune", "run"], PATH=path)
    assert told == ["fedtune run", "fedtune report", "mlflow"]


def test_another_fedtune_on_the_path_is_not_taken_for_this_one(scripts: Path) -> None:
    other = scripts.parents[1] / "other"
    other.mkdir()
    (other / "fedtune").write_text("#!/bin/sh\n")
    (other / "fedtune").chmod(0o755)
    path = f"{other}{os.pathsep}{os.environ['PATH']}"

    told = asked(scripts.parents[1], [str(scripts / "fedtune"), "run"], PATH=path)

    assert told[0] == ".venv/bin/fedtune run"


def test_a_module_is_named_as_one(tmp_path: Path) -> None:
    source = "import sys\nsys.argv = ['/somewhere/fedtune/__main__.py', 'run']\n" + ASK
    told = asked(tmp_path, [sys.executable, "-c", source])
    words = shlex.split(told[0])
    assert words[1:] == ["-m", "fedtune", "run"]
    assert Path(words[0]).name == Path(sys.executable).name


def test_what_wraps_fedtune_says_what_to_type(scripts: Path) -> None:
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"  # as `make` sets it, for its child alone

    told = asked(scripts.parents[1], ["fedtune", "run"], PATH=path, FEDTUNE_COMMAND="make demo")

    assert told == ["make demo", ".venv/bin/fedtune report", ".venv/bin/mlflow"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["/usr/bin/python3", ".venv/bin/mlflow", "run", "."], ".venv/bin/mlflow run ."),
        (["python", "-m", "mlflow", "run", "a b"], "python -m mlflow run 'a b'"),
        (["mlflow", "run", ".", "-P", "clients=8"], "mlflow run . -P clients=8"),
        (["/bin/bash", "-l"], None),
    ],
)
def test_mlflow_run_is_found_behind_its_shell(
    typed: list[str], expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    # Process 9 was started by a shell (8), that by what the user typed (7), that by a login (1).
    commands = {9: ["python", "-m", "fedtune"], 8: ["bash", "-c", "python -m fedtune"], 7: typed}
    for number, words in commands.items():
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "cmdline").write_text("".join(word + "\0" for word in words))
        (folder / "stat").write_text(
            f"{number} (a (strange) name) S {number - 1 if number > 7 else 1} 0"
        )

    assert invocation._mlflow_run(9, tmp_path) == expected
