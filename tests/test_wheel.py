"""The package as a user installs it: built as a wheel, put elsewhere, run without a network."""

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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-w", ".", cwd=folder)
    return next(folder.glob("fedtune-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package and nothing else: its needs are this Python's."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)  # all that installing a wheel of plain Python does
    return folder


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


def test_the_wheel_holds_experiments_and_analysis_under_one_name_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "fedtune/experiments/smoke.yaml" in names
    assert {f"fedtune/analysis/{file}" for file in ("report.py", "page.html.j2", "page.css")} <= {
        *names
    }
    assert {name.split("/")[0].split("-")[0] for name in names} == {"fedtune"}
    assert wheel.stat().st_size < 15e6


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare (Linux) is not there")
def test_it_runs_elsewhere_without_a_network(installed: Path, tmp_path: Path) -> None:
    if subprocess.run([*UNPLUGGED, "true"], capture_output=True).returncode:
        pytest.skip("this user may not take the network from a program")
    python = (*UNPLUGGED, sys.executable)
    where = run(
        *python, "-c", "import fedtune; print(fedtune.__file__)",
        cwd=tmp_path, PYTHONPATH=str(installed),
    )  # fmt: skip
    assert Path(where.strip()).is_relative_to(installed)
    asked = ["--model", "mini-distilbert", "--dataset", "toy", "--clients", "8", "--no-ray"]
    asked += ["--budget-rounds", "1", "--max-rounds", "1"]
    said = run(
        *python, "-m", "fedtune", "run", *asked,
        cwd=tmp_path, PYTHONPATH=str(installed), HF_HUB_OFFLINE="0",
    )  # fmt: skip
    assert "mini-distilbert" in said
    assert (tmp_path / "mlflow.db").is_file()
    assert len([*(tmp_path / "trials").glob("*/rounds.jsonl")]) == 2
