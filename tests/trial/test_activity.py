"""What a trial tells of itself within a round, and the bar that is made of it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from quick import QUICK, quick, run, timeless

from fedtune import bars, simulate
from fedtune.trial import activity
from fedtune.trial.activity import Activity, ActivityFile
from fedtune.trial.folder import TrialFolder
from fedtune.trial.prepare import prepare
from fedtune.trial.simulation import run_trial
from fedtune.trial.stopping import Target

EXAMPLES, TESTED, STEPS = QUICK["train_examples"], QUICK["test_examples"], 3 + 3 + 2


def watched(model: str, folder: TrialFolder | None = None, **changes: Any) -> list[Activity]:
    seen: list[Activity] = []
    trial = prepare(quick(model, **changes))
    list(run_trial(trial, folder, lambda: Target(None), seen.append))
    return seen


def test_the_watch_follows_every_local_step_of_every_round(bert: str) -> None:
    seen = watched(bert)

    assert seen[0] == Activity(0, "loads model")
    assert {a.round_num for a in seen} == {0, 1, 2, 3}
    for round_num in (1, 2, 3):
        trained = [a for a in seen if (a.round_num, a.doing) == (round_num, "trains")]
        assert len(trained) == 1 + STEPS
        assert [a.done for a in trained] == sorted(a.done for a in trained)
        assert (trained[0].done, trained[-1].done, trained[-1].total) == (0, EXAMPLES, EXAMPLES)
        tested = [a for a in seen if (a.round_num, a.doing) == (round_num, "evaluates")]
        assert (tested[-1].done, tested[-1].total) == (TESTED, TESTED)


@pytest.mark.parametrize("changes", [{"drop_last": True}, {"local_epochs": 3}])
def test_a_round_ends_at_all_of_its_examples(bert: str, changes: dict[str, Any]) -> None:
    trained = [a for a in watched(bert, **changes) if a.doing == "trains"]
    for round_num in (1, 2, 3):
        last = [a for a in trained if a.round_num == round_num][-1]
        assert last.done == last.total > 0


def test_watching_changes_no_result(bert: str, capfd: pytest.CaptureFixture[str]) -> None:
    shown = [timeless(record) for record in simulate(quick(bert), progress=True)]
    assert shown == run(quick(bert))


def test_others_read_what_a_trial_does_and_nothing_once_it_has_ended(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "_PAUSE_S", 0.0)
    trial = prepare(quick(bert))
    folder = TrialFolder(tmp_path, trial.trial_id)
    reader = ActivityFile(folder)
    assert reader.read() is None
    seen: list[tuple[Activity, Activity | None]] = []

    # What was said before the last is in the file while the last is being said.
    list(run_trial(trial, folder, lambda: Target(None), lambda a: seen.append((a, reader.read()))))

    assert [told for _, told in seen[1:]] == [said for said, _ in seen[:-1]]
    assert reader.read() is None
    assert not [path for path in folder.path.iterdir() if "activity" in path.name]


def test_the_file_is_written_once_a_second_at_the_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TrialFolder(tmp_path, "abc")
    folder.path.mkdir()
    now = 100.0
    monkeypatch.setattr(activity.time, "monotonic", lambda: now)
    file = ActivityFile(folder)
    found = []
    for done in range(5):
        now += 0.4
        file(Activity(1, "trains", done, 4))
        read = file.read()
        assert read is not None
        found.append(read.done)
    assert found == [0, 0, 0, 3, 3]


@pytest.mark.parametrize("content", ["", "[1, 2", "5", "[1, 2, 3, 4, 5]"])
def test_a_file_that_says_nothing_is_nothing(content: str, tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path, "abc")
    folder.path.mkdir()
    (folder.path / "activity.json").write_text(content)
    assert ActivityFile(folder).read() is None


# The bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_simulation_shows_a_bar_and_a_line_per_round(
    bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    records = list(simulate(quick(bert), progress=True))

    shown = terminal.getvalue()
    assert "round 1/3 trains" in shown
    assert "round 0/3 evaluates" in shown
    lines = [line.rpartition("\r")[2] for line in shown.split("\n")]
    accuracy, loss = records[3]["test/accuracy"], records[3]["train/loss"]
    assert lines[0] == f"round 0/3, accuracy {records[0]['test/accuracy']:.3f}"
    assert lines[3] == f"round 3/3, accuracy {accuracy:.3f}, loss {loss:.3f}"
    assert lines[4].strip() == ""  # the bar is gone


def test_between_two_rounds_the_line_is_the_callers(
    bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for _ in simulate(quick(bert), progress=True):
        before_mine = terminal.getvalue()
        assert before_mine.endswith("\r")
        assert before_mine.rstrip("\r").rpartition("\r")[2].strip() == ""


def test_a_log_gets_lines_and_no_bar(bert: str, capfd: pytest.CaptureFixture[str]) -> None:
    list(simulate(quick(bert), progress=True))
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.partition(",")[0] for line in err.splitlines()] == [
        f"round {number}/3" for number in range(4)
    ]


def test_a_notebook_is_shown_progress_where_it_does_not_look_like_an_error(
    bert: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    kernel = ModuleType("ipykernel.zmqshell")
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", kernel)
    assert bars.in_notebook()

    list(simulate(quick(bert), progress=True))

    out, err = capfd.readouterr()
    assert err == ""
    assert "round 3/3, accuracy" in out
    assert "round 3/3 trains" in out
