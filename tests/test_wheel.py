"""The package as people install it: from a clone, an sdist, an archive without links, a wheel.

Each has to hold the same files. One of them is then used elsewhere, without a network.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import unpack

ROOT = Path(__file__).parent.parent
MINIATURES = ("mini-bert", "mini-albert", "mini-distilbert")
# A program without any network device, not even the loopback: Linux, where users may do that.
UNPLUGGED = ["unshare", "--map-root-user", "--net"]


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(source: Path, folder: Path) -> Path:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", str(source), "--no-deps", "--no-build-isolation", "-w", ".", cwd=folder)
    return next(folder.glob("fedtune-*.whl"))


def names(wheel: Path) -> set[str]:
    """The files of a wheel, without what pip adds about the wheel itself."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder), cwd=ROOT)
    return next(folder.glob("fedtune-*.tar.gz"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package and nothing else: its needs are this Python's."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)  # all that installing a wheel of plain Python does
    return folder


def packaged() -> set[str]:
    """The files of the package in this tree."""
    found = (ROOT / "fedtune").rglob("*")
    files = (path for path in found if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(ROOT)) for path in files}


def test_a_wheel_of_the_clone_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert names(wheel) == packaged()
    assert wheel.stat().st_size < 15e6


def test_the_package_has_no_links() -> None:
    """Two of the ways to install lose what is behind one, without an error."""
    assert not [path for path in (ROOT / "fedtune").rglob("*") if path.is_symlink()]


def test_a_wheel_of_the_sdist_holds_the_same(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    unpack(sdist, tmp_path)
    (source,) = tmp_path.iterdir()
    assert names(build_wheel(source, tmp_path)) == names(wheel)


def test_a_wheel_of_an_archive_without_links_holds_the_same(wheel: Path, tmp_path: Path) -> None:
    """As pip unpacks the zip of a forge: what is a link there becomes a small file."""
    source = tmp_path / "fedtune-main"
    shutil.copytree(
        ROOT,
        source,
        symlinks=True,
        ignore=shutil.ignore_patterns(
            ".*", "__pycache__", "trials", "mlflow.db", "mlruns", "bench*"
        ),
    )
    links = [path for path in source.iterdir() if path.is_symlink()]
    assert {path.name for path in links} == {"analysis", "experiments"}
    for path in links:
        target = str(path.readlink())
        path.unlink()
        path.write_text(target)
    assert names(build_wheel(source, tmp_path)) == names(wheel)


def test_the_wheel_holds_the_miniatures_as_their_cards_describe_them(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in MINIATURES:
            folder = f"fedtune/models/mini/{name}"
            card = archive.read(f"{folder}/README.md").decode()
            told = re.search(r"sha256 of model.safetensors: `([0-9a-f]{64})`", card)
            assert told is not None
            weights = archive.read(f"{folder}/model.safetensors")
            assert hashlib.sha256(weights).hexdigest() == told[1]
            for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
                assert archive.read(f"{folder}/{file}") == (ROOT / folder / file).read_bytes()


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare (Linux) is not there")
def test_an_installed_package_sweeps_and_reports_without_a_network(
    installed: Path, tmp_path: Path
) -> None:
    if subprocess.run([*UNPLUGGED, "true"], capture_output=True).returncode:
        pytest.skip("this user may not take the network from a program")
    elsewhere = {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "0"}

    def fedtune(*arguments: str) -> str:
        command = (*UNPLUGGED, sys.executable, "-m", "fedtune", *arguments)
        return run(*command, cwd=tmp_path, **elsewhere)

    where = run(
        sys.executable, "-c", "import fedtune; print(fedtune.__file__)", cwd=tmp_path, **elsewhere
    )
    assert Path(where.strip()).is_relative_to(installed)
    assert "mini-distilbert" in fedtune("list")
    short = ("--budget-rounds", "1", "--max-rounds", "1", "--clients", "2")
    few = ("--train-examples", "32", "--test-examples", "32")
    said = fedtune("sweep", "smoke", "--no-ray", *short, *few)
    assert "mini-bert" in said
    assert (tmp_path / "mlflow.db").is_file()
    assert [*(tmp_path / "trials").glob("*/rounds.jsonl")]
    assert "index.html" in fedtune("report")
    assert (tmp_path / "report" / "index.html").is_file()
