"""What a report says of where its trials come from, and of what was planned."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from as_tracked import write
from grids import whole_grid
from support import new_database
from synthetic import run_all
from worlds import paper_like

from fedtune.analysis import report
from fedtune.analysis.history import load_sweep


def reported(folder: Path, sweep_tags: dict[str, str], **origin: str) -> str:
    """The page of a small sweep with these tags, without figures."""
    trials = whole_grid(("mini-bert",), ("imdb",), (1, 2), (0, 1))
    results = [
        replace(result, origin=result.origin | origin, peak_memory_mb=512.4)
        for result in run_all(trials, paper_like)
    ]
    uri = new_database(folder)
    write(uri, results, sweep_tags=sweep_tags)
    with mock.patch.object(report, "FIGURES", {}):
        report.build(load_sweep(uri, None), folder / "report")
    return (folder / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("committed", "said"),
    [
        (
            "2023-11-14T23:00:00+01:00",
            "older than the first federated trial: study.yaml was last changed in a commit of "
            "2023-11-14 22:00 UTC; the first federated trial began 2023-11-14 22:13 UTC.",
        ),
        (
            "2023-11-15T00:00:00+00:00",
            "newer than the first federated trial: study.yaml was last changed in a commit of "
            "2023-11-15 00:00 UTC; the first federated trial began 2023-11-14 22:13 UTC.",
        ),
        (
            "",
            "not known, as study.yaml was not committed when it was launched; the first federated",
        ),
        ("some day", "not known, as study.yaml was not committed when it was launched"),
    ],
    ids=("older", "newer", "uncommitted", "unreadable"),
)
def test_the_page_says_whether_the_settings_are_older_than_the_first_federated_trial(
    tmp_path: Path, committed: str, said: str
) -> None:
    told = {"fedtune.sweep_file": "study.yaml", "fedtune.sweep_file_sha256": "12ab"}
    if committed:
        told["fedtune.sweep_file_committed"] = committed

    page = reported(tmp_path, told)

    assert f"<dt>settings fixed</dt><dd>{said[0].upper()}{said[1:]}" in page
    assert "<dd>12ab</dd>" in page


def test_the_page_names_hardware_libraries_and_memory_or_that_they_are_not_tracked(
    tmp_path: Path,
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "old").mkdir()

    page = reported(tmp_path / "new", {}, hardware="a fast one, 2 cores", libraries="torch 2.13.0")
    bare = reported(tmp_path / "old", {})

    assert "<dt>hardware</dt><dd>a fast one, 2 cores</dd>" in page
    assert "<dt>libraries</dt><dd>torch 2.13.0</dd>" in page
    assert "<dt>hardware</dt><dd>not tracked</dd>" in bare
    assert "<dd>Not known, as it was not launched from a sweep file" in bare
    cells = (tmp_path / "new" / "report" / "tables" / "by-clients.csv").open()
    with cells:
        assert {row["peak memory (MB)"] for row in csv.DictReader(cells)} == {"512"}


def test_the_page_does_not_tell_on_which_machine_the_store_is(tmp_path: Path) -> None:
    """Who writes a run is for other launches to know; a page is shown to others."""
    page = reported(tmp_path, {}, writer='{"host": "graces-laptop", "store": "/home/grace"}')
    assert "grace" not in page
    assert "writer" not in page


def test_planned_trials_that_have_not_begun_are_listed(tmp_path: Path) -> None:
    grid = {"model": ["mini-bert", "mini-albert"], "dataset": ["imdb", "yelp"]}
    planned = json.dumps(grid | {"clients": [1, 2, 4], "seed": [0, 1]})

    page = reported(tmp_path, {"fedtune.planned": planned})

    assert "4 of 4 trials in MLflow are complete; the whole grid has 24" in page
    for line in (
        "K004 mini-bert imdb s0: not begun",
        "K004 mini-bert imdb s1: not begun",
        "mini-bert on yelp: none of 6 trials has begun",
        "mini-albert on imdb: none of 6 trials has begun",
        "mini-albert on yelp: none of 6 trials has begun",
    ):
        assert f"<li>{line}</li>" in page
    assert "<b>Missing: 5</b>" in page


def test_a_plan_that_is_no_plan_is_none(tmp_path: Path) -> None:
    page = reported(tmp_path, {"fedtune.planned": "[1"})

    assert "4 of 4 trials in MLflow are complete." in page
