"""What each client has and how well it is served, as a report shows it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from as_tracked import shares_of, with_answers, with_partitions, write
from grids import study
from mlflow import MlflowClient
from strategy_grids import DIRICHLET, PLAIN, SOME, grid_of
from support import SHORT, call, new_database, toy_run
from synthetic import run_all
from worlds import skewed

from fedtune.analysis import by_client, report, style
from fedtune.analysis.grid import Grid
from fedtune.analysis.history import load_sweep
from fedtune.analysis.strategies import worst_client
from fedtune.federated.client_accuracy import client_accuracies
from fedtune.tracking.partition_figure import partition_figure


def test_what_clients_have_and_how_they_are_served_is_drawn(tmp_path: Path) -> None:
    results = run_all(study((4, 8), strategies=SOME[:2]), skewed)
    results = with_partitions(with_answers(results, tmp_path), tmp_path)
    uri = new_database(tmp_path)
    write(uri, results)

    sweep = load_sweep(uri, None)
    report.build(sweep, tmp_path / "report")

    for trial in sweep.trials:
        if trial.spread == "iid":
            assert trial.shares is None
            continue
        (mine,) = [r.trial for r in results if r.trial.trial_id == trial.trial_id]
        assert trial.shares is not None
        assert (trial.shares == shares_of(mine)).all()
        assert trial.shares.sum() == 2048
        assert trial.class_names == [f"class {c}" for c in range(trial.shares.shape[1])]
        artifacts = {file.path for file in MlflowClient(uri).list_artifacts(trial.run_id)}
        assert {"partition.json", "partition.png"} <= artifacts
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Figure 7. What each client has" in page
    assert "Figure 8. Accuracy by client" in page
    assert "There is no Figure" not in page


def test_squares_stand_for_the_examples_of_the_largest_k() -> None:
    grid = grid_of(study((4, 8), strategies=PLAIN), answered=True)

    with style.settings():
        drawn = by_client.classes_of_clients(grid)

    assert drawn is not None
    titles = [axes.get_title() for axes in drawn.figure.axes]
    assert [title.split(" (")[0] for title in titles] == [
        "ag-news, dirichlet 0.1, K = 8",
        "ag-news, dirichlet 1, K = 8",
    ]
    trials = sorted(
        (t for t in grid.trials if t.shares is not None and t.clients == 8), key=lambda t: t.spread
    )
    for axes, trial in zip(drawn.figure.axes, trials, strict=True):
        assert trial.shares is not None
        (squares,) = axes.collections
        colours = squares.get_facecolor()
        assert len(colours) == (trial.shares > 0).sum()
        opacity = np.asarray(colours)[:, 3]
        expected = trial.shares[trial.shares > 0] / trial.shares.max()
        assert opacity == pytest.approx(0.08 + 0.92 * expected)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (["World", "Sports, and whatever else is"], ["World", "Sports, and wha…"]),
        ([f"c{number}" for number in range(13)], None),
    ],
)
def test_the_picture_of_a_partition_names_the_classes_where_there_is_room(
    classes: list[str], told: list[str] | None
) -> None:
    labels = np.eye(len(classes), dtype=int)
    content = {"label_names": classes, "clients": [{"labels": row.tolist()} for row in labels]}
    (axes,) = partition_figure(content, f"{len(classes)} clients").axes
    found = [label.get_text() for label in axes.get_yticklabels()]
    assert found == told if told else axes.get_ylabel() == "class"
    assert len(axes.collections[0].get_facecolor()) == len(classes)


def test_accuracy_by_client_is_that_of_the_classes_it_has() -> None:
    grid = grid_of(study((8,), (0, 1), strategies=SOME[:2]), answered=True)

    with style.settings():
        drawn = by_client.accuracy_by_client(grid)

    assert drawn is not None
    for axes, spread in zip(drawn.figure.axes, ("dirichlet 0.1", "dirichlet 1"), strict=True):
        assert [len(line.get_ydata()) for line in axes.lines] == [8, 8]
        trials = [
            t for t in grid.trials if t.spread == spread and t.params["strategy"] == "scaffold"
        ]
        each = []
        for trial in trials:
            assert trial.tested is not None
            assert trial.shares is not None
            by_class = [
                trial.tested.correct[trial.tested.labels == c].mean()
                for c in range(trial.shares.shape[1])
            ]
            each.append(sorted(row @ by_class / row.sum() for row in trial.shares))
            told = client_accuracies(trial.shares, trial.tested.labels, trial.tested.correct)
            assert sorted(told) == pytest.approx(each[-1])
        assert axes.lines[1].get_ydata() == pytest.approx(np.mean(each, axis=0))


@pytest.mark.parametrize(("held_out", "drawn"), [((3, 5), False), ((3, 0), True)])
def test_clients_with_test_examples_of_their_own_are_not_drawn_by_class(
    tmp_path: Path, held_out: tuple[int, int], drawn: bool
) -> None:
    """As they are judged: by class only where one of them has no test examples."""
    natural = {"partition": "natural", "client_column": "author"}
    trials = study((2,), spreads=[natural, DIRICHLET], strategies=PLAIN)
    results = with_answers(run_all(trials, skewed), tmp_path)
    for result in results:
        if not result.trial.is_baseline:
            shares = ([100, 200, 100, 112], [412, 312, 412, 400])
            clients: list[dict[str, Any]] = [{"labels": row} for row in shares]
            if result.trial.config.partition == "natural":
                for client, number in zip(clients, held_out, strict=True):
                    client["num_test_examples"] = number
            content = {"label_names": list("abcd"), "clients": clients}
            path = tmp_path / result.trial.trial_id / "partition.json"
            path.write_text(json.dumps(content))
    uri = new_database(tmp_path)
    placed = [(r, tmp_path / r.trial.trial_id / "partition.json") for r in results]
    write(uri, [replace(r, partition=path) if path.is_file() else r for r, path in placed])
    sweep = load_sweep(uri, None)
    grid = Grid(sweep.trials, sweep.expected)

    with style.settings():
        figure = by_client.accuracy_by_client(grid)

    assert figure is not None
    titles = [axes.get_title().rpartition(", K")[0] for axes in figure.figure.axes]
    assert titles == ["ag-news, dirichlet 0.1", *["ag-news, natural"] * drawn]
    assert by_client.classes_of_clients(grid) is not None


def test_a_partition_is_an_artifact_once_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    results = run_all(study((4,), spreads=[DIRICHLET], strategies=PLAIN), skewed)
    results = with_partitions(results, tmp_path)
    uri = new_database(tmp_path)
    write(uri, results)
    write(uri, results)
    client = MlflowClient(uri)
    (trial,) = [t for t in load_sweep(uri, None).trials if not t.is_baseline]
    kept = [a.path for a in client.list_artifacts(trial.run_id)]
    assert kept == ["partition.json", "partition.png"]
    assert trial.shares is not None

    for content in ("[", "[]", '{"clients": [{"labels": [1, 2]}]}', '{"clients": 3}'):
        wrong = tmp_path / "partition.json"
        wrong.write_text(content)
        client.log_artifact(trial.run_id, str(wrong))
        (read,) = [t for t in load_sweep(uri, None).trials if not t.is_baseline]
        assert read.shares is None


def test_iid_sweeps_have_no_figures_client_by_client() -> None:
    grid = grid_of(study(spreads=PLAIN), answered=True)

    assert by_client.classes_of_clients(grid) is None
    assert by_client.accuracy_by_client(grid) is None


def test_real_trials_with_a_partition_are_reported(bert: str, tmp_path: Path) -> None:
    new_database(tmp_path)
    settings = {"partition": "dirichlet", "strategy": "scaffold", "stop": "budget-then-target"}
    asked = toy_run(bert, "2,4", **SHORT, **settings)
    done = call(*asked, "--no-ray", folder=tmp_path)
    assert done.code == 0, done.everything

    with mock.patch.object(report, "FIGURES", {7: report.FIGURES[7]}):
        told = call("report", folder=tmp_path)

    assert told.code == 0, told.everything
    assert "missing" not in told.out
    assert "(scaffold" not in told.out, "it is the only strategy"
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Figure 7. What each client has" in page
    with (tmp_path / "report" / "tables" / "by-clients.csv").open() as file:
        assert [row["K"] for row in csv.DictReader(file)] == ["1", "2", "4"]
    for path in (tmp_path / "trials").glob("*/partition.json"):
        config = (path.parent / "config.yaml").read_text()
        (trial,) = [
            t
            for t in load_sweep(f"sqlite:///{tmp_path}/mlflow.db", None).trials
            if t.trial_id == path.parent.name
        ]
        told_labels = [each["labels"] for each in json.loads(path.read_text())["clients"]]
        if "partition: dirichlet" in config:
            assert trial.shares is not None
            assert trial.shares.tolist() == told_labels
            worst = min(by_client._accuracies(trial))
            assert worst_client(trial) == pytest.approx(worst)
        else:
            assert trial.shares is None
