"""What the report reads from MLflow, against the round logs and against what was written."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from as_tracked import in_memory, write
from grids import whole_grid
from recount import by_clients, recount
from support import call, new_database, toy_run
from synthetic import BEGUN_MS, make_trial, result_of, run_all
from worlds import paper_like

from fedtune.analysis.cell import Series
from fedtune.analysis.grid import Grid
from fedtune.analysis.history import load_sweep
from fedtune.analysis.missing import missing
from fedtune.analysis.report import build
from fedtune.analysis.tracked import Reach
from fedtune.errors import BadInput
from fedtune.tracking import names
from fedtune.trial.identity import Trial
from fedtune.trial.results import Result


@pytest.fixture(scope="module")
def real(bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real sweep on toy that ends in every usual way."""
    folder = tmp_path_factory.mktemp("real")
    new_database(folder)
    settings = {"max_rounds": 4, "seed": "0,1", "stop": "budget-then-target", "local_epochs": 1}
    done = call(*toy_run(bert, "1,2,16", **settings), "--no-ray", folder=folder)
    assert done.code == 0, done.everything
    return folder


def recounted(store: Path) -> dict[str, Any]:
    """Settings and round logs of every trial of a store, from its files."""
    return {
        path.parent.name: (
            yaml.safe_load(path.read_text()),
            [json.loads(line) for line in (path.parent / "rounds.jsonl").read_text().splitlines()],
        )
        for path in store.glob("*/config.yaml")
    }


def assert_tables_agree(tables: Path, expected: dict[str, dict[str, Any]]) -> None:
    """The report's tables against what was counted from the round logs."""
    trials = {row["trial"]: row for row in read_csv(tables / "trials.csv")}
    assert set(trials) == set(expected)
    for trial_id, told in expected.items():
        row = trials[trial_id]
        assert row["outcome"] == told["outcome"], row
        assert row["rounds to target"] == told["rounds"], row
        assert row["steps to target"] == told["steps"], row
        assert row["bytes to target"] == told["bytes"], row
        assert float(row["accuracy at budget"]) == pytest.approx(told["accuracy"], rel=1e-5)
        if told["retention"] is None:
            assert row["retention"] == ""
        else:
            assert float(row["retention"]) == pytest.approx(told["retention"], rel=1e-4, abs=1e-6)
    cells = by_clients(expected.values())
    rows = {(r["model"], r["data set"], r["K"]): r for r in read_csv(tables / "by-clients.csv")}
    short = {(Path(model).name, *rest): cell for (model, *rest), cell in cells.items()}
    assert set(rows) == set(short)
    for place, cell in short.items():
        row = rows[place]
        assert (row["median rounds to target"], row["reached"]) == (cell["median"], cell["reached"])
        assert float(row["accuracy at budget"]) == pytest.approx(cell["accuracy"], rel=1e-5)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_tables_of_real_trials_are_what_their_round_logs_say(real: Path) -> None:
    expected = recount(recounted(real / "trials"))

    done = call("report", "bert-toy", "--out", "report", folder=real)

    assert done.code == 0, done.everything
    assert len(expected) == 6
    assert_tables_agree(real / "report" / "tables", expected)
    assert len({told["outcome"] for told in expected.values()}) > 1, "a test of little otherwise"


def at_chance_on_yelp(trial: Any, step: int) -> float:
    """As the paper tells it, but that nobody learns anything on Yelp."""
    return 0.2 if trial.config.dataset == "yelp" else paper_like(trial, step)


def test_the_tables_of_censored_and_collapsed_trials_are_what_their_rounds_say(
    tmp_path: Path,
) -> None:
    trials = whole_grid(("mini-bert", "mini-distilbert"), ("imdb", "yelp"), (1, 2, 32), range(3))
    results = run_all(trials, at_chance_on_yelp)
    uri = new_database(tmp_path)
    write(uri, results)
    logs = {
        result.trial.trial_id: (result.trial.to_dict() | result.facts, list(result.records))
        for result in results
    }

    build(load_sweep(uri, None), tmp_path / "report")

    expected = recount(logs)
    assert_tables_agree(tmp_path / "report" / "tables", expected)
    assert {told["outcome"] for told in expected.values()} == {
        "baseline",
        "baseline, collapsed",
        "reached",
        "not_reached, collapsed",
        "target_undefined, collapsed",
    }


def test_a_sweep_is_found_by_name_and_the_latest_without_one(real: Path, tmp_path: Path) -> None:
    shutil.copy(real / "mlflow.db", tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    trials = whole_grid(("mini-bert",), ("imdb",), (1, 2))
    write(uri, run_all(trials, paper_like), "newer")

    assert load_sweep(uri, None).name == "newer"
    assert load_sweep(uri, "bert-toy").name == "bert-toy"
    with pytest.raises(BadInput, match="did you mean 'newer'"):
        load_sweep(uri, "newe")


def test_without_a_database_or_a_sweep_it_says_so_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no such database"):
        load_sweep(f"sqlite:///{tmp_path}/none.db", None)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(BadInput, match="has no sweep"):
        load_sweep(new_database(tmp_path), None)


def test_mlflow_gives_back_what_was_written(tmp_path: Path) -> None:
    results = run_all(whole_grid(clients=(1, 32), datasets=("imdb",)), paper_like)
    uri = new_database(tmp_path)
    write(uri, results, axes=("model",))

    found, expected = Grid(load_sweep(uri, None).trials), in_memory(results)

    assert [series.model for series in found.series] == [
        "mini-bert",
        "mini-albert",
        "mini-distilbert",
    ]
    for series in expected.series:
        for clients in (1, 32):
            one, other = (grid.cell(series, clients).trials[0] for grid in (found, expected))
            assert list(one.records) == list(other.records)
            assert (one.reach, one.state, one.retention) == (
                other.reach,
                other.state,
                other.retention,
            )
            assert one.params == other.params


def test_trials_that_failed_wait_diverged_or_run_are_what_they_are(tmp_path: Path) -> None:
    uri = new_database(tmp_path)
    base, two, four, eight, lost, late = (
        make_trial("mini-bert", "imdb", k, s)
        for k, s in [(1, 0), (2, 0), (4, 0), (8, 0), (1, 1), (2, 1)]
    )
    baseline = result_of(base, paper_like)
    wrecked = replace(
        result_of(four, paper_like, baseline, last=3),
        diverged="round 4, client 0",
        ended=True,
    )
    projection = write(
        uri,
        [
            baseline,
            result_of(two, paper_like, baseline),
            wrecked,
            result_of(eight, paper_like, baseline, last=2),
        ],
    )
    for trial, outcome in ((lost, "failed"), (late, "waiting")):
        unbegun = Result(trial, [], {}, None, None, False, {}, None, None)
        projection.set_outcome(unbegun, outcome)

    sweep = load_sweep(uri, None)

    grid = Grid(sweep.trials)
    states = {(t.clients, t.seed): t.state for t in sweep.trials}
    assert states == {
        (1, 0): "baseline",
        (2, 0): "reached",
        (4, 0): "diverged",
        (8, 0): "at round 2",
        (1, 1): "failed",
        (2, 1): "waiting",
    }
    series = Series("mini-bert", "imdb")
    assert grid.cell(series, 4).reaches == {0: Reach(None, 20)}, "it ended, and it was not reached"
    assert grid.cell(series, 8).reaches == {}, "it may still come"
    assert grid.cell(series, 2).reached_text() == "1 of 1", "the one that waits is not counted"
    told = missing(grid)
    assert "K008 mini-bert imdb s0: at round 2" in told
    assert "K002 mini-bert imdb s1: waiting, since its baseline has failed" in told
    assert "K004 mini-bert imdb s1: not begun" in told
    assert len(told) == 5
    build(sweep, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "K002 mini-bert imdb s1: waiting, since its baseline has failed" in page
    assert "Diverged, counted as not having reached the target" in page


def test_a_median_never_averages_what_did_not_reach() -> None:
    results = run_all(whole_grid(("mini-bert",), ("yelp",), (1, 32), range(3)), paper_like)
    cell = in_memory(results).cell(Series("mini-bert", "yelp"), 32)

    assert [str(reach) for reach in cell.reaches.values()] == ["> 20"] * 3
    assert (cell.median_text(), cell.reached_text()) == ("> 20", "0 of 3")
    one = replace(cell, trials={**cell.trials, 0: _quicker(cell.trials[0])})
    assert (one.median_text(), one.reached_text()) == ("> 20", "1 of 3")
    two = replace(one, trials={**one.trials, 1: _quicker(cell.trials[1])})
    assert (two.median_text(), two.reached_text()) == ("7", "2 of 3")


def _quicker(trial: Any) -> Any:
    """The same trial, had it met its target after 7 rounds."""
    return replace(trial, summary=replace(trial.summary, rounds_to_target=7))


def test_trials_of_an_earlier_engine_are_left_out_and_counted(tmp_path: Path) -> None:
    uri = new_database(tmp_path)
    earlier = run_all(whole_grid(("mini-bert",), ("imdb",), (1, 2, 4)), paper_like)
    renewed = [
        replace(t, model_hash="0" * 64) for t in whole_grid(("mini-bert",), ("imdb",), (1, 2))
    ]
    later = [replace(r, origin={"begun_ms": BEGUN_MS + 1000}) for r in run_all(renewed, paper_like)]
    write(uri, [*earlier, *later])

    sweep = load_sweep(uri, None)

    assert {trial.trial_id for trial in sweep.trials} == {r.trial.trial_id for r in later}
    assert sweep.left_out == 3


def test_a_setting_that_came_later_has_its_default_in_runs_from_before(tmp_path: Path) -> None:
    uri = new_database(tmp_path)
    trials = [
        trial
        for balanced in (False, True)
        for trial in whole_grid(("mini-bert",), ("imdb",), (1, 2), balance_classes=balanced)
    ]
    now = names.params

    def earlier(trial: Trial) -> dict[str, str]:
        return {key: value for key, value in now(trial).items() if key != "balance_classes"}

    with mock.patch.object(names, "params", earlier):
        write(uri, run_all(trials[:2], paper_like))
    write(uri, run_all(trials[2:], paper_like))

    sweep = load_sweep(uri, None)

    assert {trial.variant for trial in sweep.trials} == {
        "balance_classes=False",
        "balance_classes=True",
    }
    assert len(sweep.trials) == 4


def test_the_latest_sweep_is_the_one_that_was_launched_last_whatever_ended_when(
    tmp_path: Path,
) -> None:
    uri = new_database(tmp_path)
    results = run_all(whole_grid(("mini-bert",), ("imdb",), (1, 2)), paper_like)
    write(uri, results, "newer", sweep_tags={names.LAUNCHED: "2000"})
    older = write(uri, results, "older", sweep_tags={names.LAUNCHED: "1000"})
    assert load_sweep(uri, None).name == "newer", "to sync a sweep is not to launch it"

    older.client.update_run(older.parent_id, status="RUNNING")  # as one that was killed is left

    assert load_sweep(uri, None).name == "newer"


def test_trials_that_the_plan_has_no_more_are_left_out_and_counted(tmp_path: Path) -> None:
    uri = new_database(tmp_path)
    first = run_all(whole_grid(("mini-bert",), ("imdb",), (1, 2, 4)), paper_like)
    edited = run_all(whole_grid(("mini-bert",), ("imdb",), (1, 2), learning_rate=0.5), paper_like)
    write(uri, first)
    ids = [result.trial.trial_id for result in edited]
    write(uri, edited, sweep_tags={names.TRIALS: names.listed(ids)})

    sweep = load_sweep(uri, None)

    assert {trial.trial_id for trial in sweep.trials} == set(ids)
    assert sweep.left_out == 3
