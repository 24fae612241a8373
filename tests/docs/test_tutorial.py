"""The tutorial, executed as a reader executes it, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from mlflow import MlflowClient
from nbclient import NotebookClient
from pages import ROOT
from support import logs

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def executed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The notebook with what its cells gave. ``!fedtune`` is the command of these sources."""
    command = tmp_path_factory.mktemp("bin") / "fedtune"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fedtune "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(ROOT))
        where = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=500, kernel_name="python3", resources=where).execute()
        yield notebook


def outputs(notebook: Any, kind: str) -> list[str]:
    """Everything of a kind (``text/plain``, ``image/png`` …, ``stream``) that the cells gave."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    if kind == "stream":
        return [output.text for output in found if output.output_type == "stream"]
    return [output.data[kind] for output in found if kind in output.get("data", {})]


def test_the_tutorial_runs_from_a_table_to_the_report(executed: Any, folder: Path) -> None:
    printed = "".join(outputs(executed, "stream"))
    assert "clients=0: allowed is an integer of at least 1" in printed
    assert "Spread over 32 clients, mini-bert" in printed
    assert len(outputs(executed, "image/png")) == 2, "two plots"
    assert len(outputs(executed, "image/svg+xml")) == 1, "a figure of the report"
    assert len(outputs(executed, "text/html")) == 4, "tables"
    assert (folder / "report" / "index.html").is_file()
    runs = MlflowClient(f"sqlite:///{folder}/mlflow.db").search_runs(
        ["1"], "tags.`fedtune.sweep` = 'tickets' and tags.`fedtune.kind` != 'sweep'"
    )
    assert len(runs) == 4
    learned = [run.data.metrics["summary/final_accuracy"] for run in runs]
    assert min(learned) > 0.6, "each is far above chance, which is a third"


def test_the_trials_of_the_cells_are_those_of_the_command(executed: Any, folder: Path) -> None:
    assert len(logs(folder / "trials")) == 4, "three trials were there already"


def test_what_a_cell_prints_is_plain_and_names_no_folder(executed: Any, folder: Path) -> None:
    shown = "".join(outputs(executed, "stream") + outputs(executed, "text/plain"))
    assert "\x1b[" not in shown, "`!fedtune` in a cell writes lines, no live table"
    assert str(folder) not in shown
    assert "Warning" not in shown


def test_the_notebook_is_kept_without_outputs() -> None:
    kept = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in kept["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    links = re.findall(r"\]\(([\w/-]+\.md)\)", NOTEBOOK.read_text(encoding="utf-8"))
    assert links
    assert all((NOTEBOOK.parent / link).is_file() for link in links)
