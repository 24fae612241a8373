"""What a launch shows while it runs, on screens of every size."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support import LEARNS

from fedtune.cost.launch_cost import LaunchCost
from fedtune.cost.trial_cost import Cost
from fedtune.machine import Machine
from fedtune.plan.plan import Plan, make_plan
from fedtune.plan.sweepfile import SweepSpec
from fedtune.run.screen import Screen
from fedtune.trial.activity import Activity, ActivityFile
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial

SIZES = [(160, 40), (120, 30), (80, 24), (60, 24), (40, 24), (40, 10), (24, 24)]


@pytest.fixture(scope="module")
def rates(bert: str) -> Plan:
    """48 trials whose names differ in K, in the seed and in the learning rate."""
    axes = {
        "model": [bert],
        "dataset": ["toy"],
        "clients": [2, 8, 32],
        "seed": [0, 1, 2, 3],
        "learning_rate": [0.05, 0.025, 0.0125],
    }
    return make_plan(SweepSpec("rates", axes, {**LEARNS, "budget_rounds": 12, "max_rounds": 24}))


def record(round_num: int, accuracy: float) -> dict[str, Any]:
    return {"round": round_num, "test/accuracy": accuracy, "time/round_s": 12.0}


def run_some(screen: Screen, trials: Iterable[Trial]) -> None:
    """Let the ``trials`` run: each has had its second round."""
    for trial in trials:
        screen.started(trial)
        for round_num, accuracy in enumerate((0.218, 0.527, 0.803)):
            screen.round_done(trial.trial_id, record(round_num, accuracy))


def drawn(screen: Screen, width: int, height: int) -> list[str]:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    console.print(screen, end="")
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_no_number_is_cut_and_the_table_is_no_higher_than_the_terminal(
    width: int, height: int, rates: Plan, tmp_path: Path
) -> None:
    screen = Screen(rates, tmp_path, Console())
    costs = {trial.trial_id: Cost(24, 1, 0, 24 * 12.0, 12.0) for trial in rates.trials}
    screen.expect(LaunchCost(rates, rates.trials, Machine(2, 64e9), True, {}, costs))
    running = rates.trials[3:5]
    run_some(screen, running)

    lines = drawn(screen, width, height)

    assert len(lines) < height
    text = re.sub(r"\s+", " ", " ".join(lines))
    assert "…" not in text
    assert re.search(r"^\d+ s so far, ≤ 1 h 40 min left", text) or "left" not in text
    for row in (screen.rows[trial.trial_id] for trial in running):
        assert row.name in text or row.short_name in text
    assert text.count("0.803") == 2
    assert text.count("2/24") == 2
    if "time left" in text:
        assert text.count("≤ 4 min 24 s") == 2
    shown = text.count("waits")
    left_out = re.search(r"and (\d+) more: (\d+) waiting", text)
    assert left_out is not None
    assert shown + int(left_out[2]) == len(rates.trials) - 2


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24)])
def test_a_small_launch_fits_an_ordinary_screen_with_all_that_matters(
    width: int, height: int, plan: Plan, tmp_path: Path
) -> None:
    screen = Screen(plan, tmp_path, Console())
    run_some(screen, plan.trials[:1])

    text = "\n".join(drawn(screen, width, height))

    for piece in ("K001", "K002", "K008", "2/2", "0.803", "waits", "so far", "state"):
        assert piece in text
    assert "more" not in text


def test_trials_that_run_come_first_then_those_that_ended_last(rates: Plan, tmp_path: Path) -> None:
    screen = Screen(rates, tmp_path, Console())
    *failed, early, late = rates.trials[:4]
    for trial in failed:
        screen.failed(trial.trial_id, "no luck")
    for trial in (early, late):
        screen.started(trial)
        screen.rows[trial.trial_id].state = "done"
        screen.rows[trial.trial_id].changed = float(trial is late)
    run_some(screen, rates.trials[-1:])

    names = [screen.rows[t.trial_id].short_name for t in (rates.trials[-1], *failed, late, early)]
    lines = drawn(screen, 80, 24)
    places = [next(i for i, line in enumerate(lines) if name in line) for name in names]
    assert places == sorted(places)


def test_what_a_trial_does_within_a_round_is_seen(plan: Plan, tmp_path: Path) -> None:
    screen = Screen(plan, tmp_path, Console())
    trial = plan.trials[0]
    folder = TrialFolder(tmp_path, trial.trial_id)
    folder.path.mkdir()
    ActivityFile(folder)(Activity(7, "trains", 1, 2))  # of a process that was killed

    screen.started(trial)
    assert "starts" in "\n".join(drawn(screen, 80, 24))
    ActivityFile(folder)(Activity(0, "loads model"))
    assert "loads model" in "\n".join(drawn(screen, 120, 24))
    ActivityFile(folder)(Activity(1, "trains", 50, 100))
    lines = drawn(screen, 80, 24)
    (row,) = (line for line in lines if "trains" in line)
    assert re.search(r"│ ━━━━━ +│", row)  # half of the round
    screen.round_done(trial.trial_id, record(1, 0.5))
    assert "trains" not in "\n".join(drawn(screen, 80, 24))  # not any more


def test_a_launch_that_is_ended_says_so_once_the_live_table_is_gone(
    plan: Plan, tmp_path: Path
) -> None:
    told: list[bool] = []
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    screen = Screen(plan, tmp_path, console, lambda: told.append(screen._live.is_started))
    for error, count in ((KeyboardInterrupt, 1), (SystemExit, 2), (RuntimeError, 2)):
        with pytest.raises(error), screen:
            raise error
        assert told == [False] * count
