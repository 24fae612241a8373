"""The tables and lines of a launch on screens of every width: no number is ever cut."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from support import LEARNS

from fedtune.commands.doctor import examine
from fedtune.commands.listing import first_sentence, print_catalogue
from fedtune.commands.status import print_status
from fedtune.cost import launch_cost
from fedtune.cost.launch_cost import LaunchCost
from fedtune.cost.resources import Machine
from fedtune.cost.speed import Rates, kind_of
from fedtune.plan.plan import Plan, make_plan
from fedtune.plan.plan_file import save_plan
from fedtune.plan.sweepfile import SweepSpec, experiments
from fedtune.run import closing
from fedtune.run.announcing import print_plan
from fedtune.run.launch import LaunchResult

Write = Callable[..., None]

WIDTHS = (120, 80, 60, 40)


def shown(prints: Callable[[Console], object], width: int = 1000) -> str:
    """What is printed on a terminal so wide."""
    console = Console(
        file=io.StringIO(), width=width, height=60, force_terminal=True, color_system=None
    )
    prints(console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    # A path is printed whole, to be copied; the terminal breaks it.
    assert max(len(line) for line in text.splitlines() if not line.startswith("/")) <= width
    return text


def numbers(text: str) -> set[str]:
    """Every word with a digit in it, without what a sentence puts around it."""
    words = (word.strip("()[]│┃:;,.") for word in text.split())
    return {word for word in words if re.search(r"\d", word)}


@pytest.fixture
def spec(bert: str, tiny: Path) -> SweepSpec:
    """Two models, K, and a rate, of which some trials ended early, some late, some not at all."""
    axes = {
        "model": [bert, str(tiny / "distilbert")],
        "dataset": ["toy"],
        "clients": [2, 8],
        "learning_rate": [0.05, 0.0125],
    }
    return SweepSpec("widths", axes, {**LEARNS, "budget_rounds": 2, "max_rounds": 4})


@pytest.fixture
def grid(spec: SweepSpec, write_log: Write, tmp_path: Path) -> Plan:
    plan = make_plan(spec)
    logs = ([0.5, 0.7, 0.8], [0.5, 0.84], [0.5, 0.65, 0.65, 0.75], [0.5, 0.5, 0.5, 0.5, 0.5])
    for number, trial in enumerate(plan.trials[:-1]):
        write_log(trial, logs[0] if trial.config.clients == 1 else logs[number % 4])
    save_plan(plan, tmp_path)
    return plan


@pytest.mark.parametrize("width", WIDTHS)
def test_the_closing_table_cuts_no_number(width: int, grid: Plan, tmp_path: Path) -> None:
    table = closing.table(grid, LaunchResult.of_store(tmp_path, grid))
    whole = shown(lambda console: console.print(table))

    text = shown(lambda console: console.print(table), width)

    assert numbers(text) <= numbers(whole)
    assert "…" not in text
    assert text.count("0.840") == whole.count("0.840") > 0
    assert "(round 1)" in re.sub(r"\s+", " ", text)
    for trial in grid.trials:
        assert f"{trial.config.learning_rate:g}" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_status_cuts_no_number(width: int, grid: Plan, tmp_path: Path) -> None:
    whole = shown(lambda console: print_status(tmp_path, None, console))
    text = shown(lambda console: print_status(tmp_path, None, console), width)
    assert numbers(text) <= numbers(whole)
    assert "of 12 trials are complete" in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_dry_run_cuts_no_number(
    width: int, grid: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {kind_of(trial): Rates(64.0, 128.0, 1000) for trial in grid.trials}
    monkeypatch.setattr(launch_cost, "calibrate", lambda trials, known: rates)
    store = tmp_path / "empty"
    cost = LaunchCost.of(grid, grid.trials, store, Machine(2, 3.2e9), parallel=True)
    whole = shown(lambda console: console.print(cost.table()))

    text = shown(lambda console: console.print(cost.table()), width)

    # At 40 columns a trial is a paragraph: a name has its number within.
    assert numbers(text) <= numbers(whole)
    assert len(re.findall(r"\bK00\d", text)) == len(grid.trials)
    assert "≤" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_the_plan_is_wrapped_between_words(
    width: int, spec: SweepSpec, grid: Plan, tmp_path: Path
) -> None:
    whole = shown(lambda console: print_plan(grid, spec, tmp_path, console))
    text = shown(lambda console: print_plan(grid, spec, tmp_path, console), width)

    path = re.compile(r"/\S+")  # longer than the line it may be
    words = {word for word in whole.split() if not path.match(word)}
    assert words <= set(text.split())
    longest = max(len(word) for word in words)
    assert longest < 40
    begins = [line for line in text.splitlines() if not line.startswith("    ")]
    assert len(begins) <= len(whole.splitlines()) + text.count("\n  ")
    for line in text.splitlines():
        if "toy:" in line:
            assert line.startswith("  toy:")


@pytest.mark.parametrize("width", WIDTHS)
def test_list_and_doctor_say_every_word_at_every_width(width: int) -> None:
    for prints in (print_catalogue, examine):
        whole, text = shown(prints), shown(prints, width)
        whole = re.sub(r"/\S+", "", whole)  # a path, which may be longer than the line
        words = {w for w in re.findall(r"[\w.-]+", whole) if len(w) <= 24}
        assert words - set(re.findall(r"[\w.-]+", text)) <= {"data", "set", "model", "budget"} | {
            "what",
            "it",
            "is",
            "here",
            "experiment",
            "asks",
        }  # headers, where each row is a paragraph


def test_list_says_whole_sentences() -> None:
    said = [first_sentence(path) for path in experiments().values()]
    assert all(sentence[-1] in ".?!" for sentence in said)
    assert any(sentence.endswith("K = 1 to 32.") for sentence in said)
