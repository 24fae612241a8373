"""Records as a table and as curves, as a notebook shows them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pandas
import pytest
from matplotlib.axes import Axes

import fedtune

RECORDS: list[dict[str, Any]] = [
    {"round": 0, "steps/sequential": 0, "test/accuracy": 0.2, "params_digest": "a"},
    {"round": 1, "steps/sequential": 4, "train/loss": 0.7, "params_digest": "b"},
    {"round": 2, "steps/sequential": 8, "train/loss": 0.3, "test/accuracy": 0.9},
]
SHORT: list[dict[str, Any]] = [{"round": 0, "steps/sequential": 0, "test/accuracy": 0.3}]


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import matplotlib.pyplot as pyplot

    with matplotlib.rc_context({"backend": "agg"}):
        yield
        pyplot.close("all")


def curves(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """What is drawn: label to (rounds, values)."""
    lines = axes.get_lines()
    return {str(n.get_label()): (list(n.get_xdata()), list(n.get_ydata())) for n in lines}


# The table


@pytest.mark.parametrize("records", [RECORDS, iter(RECORDS)], ids=["list", "iterator"])
def test_a_trial_is_a_table_of_what_is_tracked_by_round(records: Any) -> None:
    table = fedtune.frame(records)
    assert table.index.name == "round"
    assert list(table.index) == [0, 1, 2]
    assert list(table.columns) == ["steps/sequential", "test/accuracy", "train/loss"]
    assert table["steps/sequential"].dtype == "int64"
    assert table.loc[2, "test/accuracy"] == 0.9
    assert math.isnan(table.loc[1, "test/accuracy"]), "the round was not evaluated"


def test_several_trials_are_one_table_with_a_column_that_tells_them_apart() -> None:
    table = fedtune.frame({8: iter(RECORDS), 32: SHORT})
    assert next(iter(table.columns)) == "trial"
    assert list(table["trial"]) == [8, 8, 8, 32]
    wide = table.pivot(columns="trial", values="test/accuracy")
    assert list(wide.columns) == [8, 32]
    assert list(wide.loc[0]) == [0.2, 0.3]


def test_a_table_stays_as_it_is_and_the_round_log_is_one(tmp_path: Path) -> None:
    table = fedtune.frame(RECORDS)
    assert fedtune.frame(table) is table
    log = tmp_path / "rounds.jsonl"
    log.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    read = pandas.read_json(log, lines=True).set_index("round")
    assert curves(fedtune.plot(read)) == curves(fedtune.plot(table))


def test_what_simulate_gives_can_be_shown(bert: str) -> None:
    config = fedtune.TrialConfig(
        model=bert, dataset="toy", clients=2, train_examples=16, test_examples=16, max_length=16,
        budget_rounds=1, max_rounds=2, threads=1,
    )  # fmt: skip
    records = list(fedtune.simulate(config))
    table = fedtune.frame(records)
    assert list(table.index) == [0, 1, 2]
    assert set(table.columns) == {name for record in records for name in record if "/" in name}
    (drawn,) = curves(fedtune.plot(records, "clients/agreement")).values()
    assert drawn[0] == [1, 2], "round 0 has none"


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "records: there are none; an iterator can be read only once"),
        ({"K = 2": []}, "records of 'K = 2': there are none"),
        ({}, "records: there is no trial in it"),
        (RECORDS[0], "records: this is one record; allowed are the records of a trial"),
        ("rounds.jsonl", r"such as list\(fedtune.simulate.*; this is of type str"),
        (7, "this is of type int"),
        ([RECORDS], "or a dict of several trials by name; what is in it is of type list"),
        ({"K = 2": [1]}, "records of 'K = 2': allowed are"),
        (pandas.DataFrame(RECORDS), "the index of a table has to be the round"),
    ],
)
def test_what_holds_no_rounds_is_said_to_hold_none(records: Any, said: str) -> None:
    for function in (fedtune.frame, fedtune.plot):
        with pytest.raises(fedtune.BadInput, match=said):
            function(records)


# The curves


def test_a_curve_for_each_trial_over_the_rounds_that_have_the_metric() -> None:
    axes = fedtune.plot({"K = 8": RECORDS, "K = 32": SHORT})
    assert curves(axes) == {"K = 8": ([0, 2], [0.2, 0.9]), "K = 32": ([0], [0.3])}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("round", "test/accuracy")
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["K = 8", "K = 32"]


def test_any_metric_can_be_drawn_and_one_trial_needs_no_legend() -> None:
    axes = fedtune.plot(iter(RECORDS), metric="train/loss")
    assert list(curves(axes).values()) == [([1, 2], [0.7, 0.3])]
    assert axes.get_legend() is None
    trials = {"a": RECORDS, "b": SHORT}
    assert set(curves(fedtune.plot(trials, "train/loss"))) == {"a"}, "b has no such metric"


def test_target_and_chance_are_lines_and_the_axes_may_be_given() -> None:
    import matplotlib.pyplot as pyplot

    _, own = pyplot.subplots()
    axes = fedtune.plot(RECORDS, target=0.8, chance=0.25, axes=own)
    assert axes is own
    drawn = curves(axes)
    assert drawn["target"][1] == [0.8, 0.8]
    assert drawn["chance"][1] == [0.25, 0.25]


def test_a_metric_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(fedtune.BadInput) as caught:
        fedtune.plot(RECORDS, metric="accuracy")
    assert str(caught.value) == (
        "metric='accuracy': allowed is one of steps/sequential, test/accuracy, train/loss "
        "(did you mean 'test/accuracy'?)"
    )
    with pytest.raises(fedtune.BadInput, match=r"target=0.8: is an accuracy, which train/loss is"):
        fedtune.plot(RECORDS, metric="train/loss", target=0.8)


# The package


def test_the_package_is_imported_at_once_and_runs_without_ray_and_mlflow(bert: str) -> None:
    program = f"""
import sys
for name in ("ray", "mlflow"):
    sys.modules[name] = None
import fedtune
heavy = {{"torch", "numpy", "pandas", "matplotlib", "pydantic"}} & set(sys.modules)
assert not heavy, heavy
assert {{"frame", "plot", "simulate"}} <= set(dir(fedtune))
config = fedtune.TrialConfig(model={bert!r}, dataset="toy", clients=2, train_examples=16,
    test_examples=16, max_length=16, budget_rounds=1, max_rounds=1, threads=1)
records = list(fedtune.simulate(config))
import matplotlib
matplotlib.use("agg")
fedtune.plot(fedtune.frame(records))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
