"""What the report reads from MLflow, against the round logs and against what was written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import call, new_database, toy_run
from synthetic import (
    in_memory,
    make_trial,
    paper_like,
    result_of,
    run_all,
    whole_grid,
    write,
)

from fedtune.analysis.grid import Grid, Series
from fedtune.analysis.history import load_sweep
from fedtune.analysis.report import build
from fedtune.analysis.tracked import Reach
from fedtune.config import BadInput


@pytest.fixture(scope="module")
def real(bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real sweep on toy that ends in every usual way."""
    folder = tmp_path_factory.mktemp("real")
    new_database(folder)
    settings = {"max_rounds": 4, "seed": "0,1", "stop": "budget-then-target", "local_epochs": 1}
    done = call(*toy_run(bert, "1,2,16", **settings), "--no-ray", folder=folder)
    assert done.code == 0, done.everything
    return folder


def plain_answers(store: Path) -> dict[str, dict[str, Any]]:
    """Outcome, rounds to target and so on of each trial, from its files and in plain words.

    Written without a look at the code under test: only the round logs and the settings are used.
    """
    configs = {p.parent.name: yaml.safe_load(p.read_text()) for p in store.glob("*/config.yaml")}
    logs = {
        name: [
            json.loads(line) for line in (store / name / "rounds.jsonl").read_text().splitlines()
        ]
        for name in configs
    }
    answers = {}
    for name, config in configs.items():
        baseline = next(
            other
            for other, c in configs.items()
            if c["clients"] == 1 and c["seed"] == config["seed"]
        )
        accuracy = {r["round"]: r["test/accuracy"] for r in logs[name]}
        base = {r["round"]: r["test/accuracy"] for r in logs[baseline]}[config["budget_rounds"]]
        reaching = [r for r, a in accuracy.items() if r >= 1 and a >= 0.9 * base - 1e-9]
        first = min(reaching) if reaching else None
        chance = config["summary/chance"]
        answers[name] = {
            "outcome": "baseline"
            if config["clients"] == 1
            else ("not_reached" if first is None else "reached"),
            "rounds": first,
            "accuracy": accuracy[config["budget_rounds"]],
            "retention": (accuracy[config["budget_rounds"]] - chance) / (base - chance),
        }
    return answers


def test_rounds_to_target_outcome_and_censoring_are_those_of_the_round_logs(real: Path) -> None:
    expected = plain_answers(real / "trials")
    sweep = load_sweep(f"sqlite:///{real}/mlflow.db", None)

    assert {trial.trial_id for trial in sweep.trials} == set(expected)
    assert len(expected) == 6
    for trial in sweep.trials:
        told = expected[trial.trial_id]
        cap = 3 if trial.clients == 1 else 4
        assert trial.state == told["outcome"], trial.name
        assert trial.reach == Reach(told["rounds"], cap), trial.name
        assert trial.accuracy == told["accuracy"]
        assert trial.retention == pytest.approx(told["retention"])
    outcomes = {told["outcome"] for told in expected.values()}
    assert outcomes == {"baseline", "reached", "not_reached"}, "the sweep has to show them all"


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
        diverged={"round": 4, "client_id": 0},
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
    projection.set_outcome(lost, "failed")
    projection.set_outcome(late, "waiting")

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
    missing = grid.missing()
    assert "K008 mini-bert imdb s0: at round 2" in missing
    assert "K002 mini-bert imdb s1: waiting, since its baseline has failed" in missing
    assert "K004 mini-bert imdb s1: no run" in missing
    assert len(missing) == 5
    build(sweep, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "K002 mini-bert imdb s1: waiting, since its baseline has failed" in page
    assert "Diverged, and counted as not having reached the target: K004 mini-bert imdb s0" in page


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
