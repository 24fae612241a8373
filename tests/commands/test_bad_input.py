"""Bad input: exit code 2, a line per fault with field, value and what is allowed, nothing begun."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from cases import Case
from cases_of_clients import CLIENTS
from cases_of_commands import COMMANDS
from cases_of_inputs import INPUTS
from cases_of_settings import SETTINGS
from cases_of_sweep_files import SWEEP_FILES
from support import Done, call, in_process_of_its_own, toy_run

CASES = [*COMMANDS, *CLIENTS, *SETTINGS, *INPUTS, *SWEEP_FILES]


def nothing_but(done: Done) -> None:
    assert done.code == 2, done.everything
    assert "Traceback" not in done.everything
    assert done.out == ""


def assert_answered(done: Done, lines: Sequence[Sequence[str]]) -> None:
    nothing_but(done)
    given = [line for line in done.err.splitlines() if line.startswith(("fedtune: ", "Error: "))]
    assert len(given) == len(lines), done.everything
    for pieces in lines:
        found = [line for line in given if all(piece in line for piece in pieces)]
        assert len(found) == 1, f"{pieces} in {done.everything}"
        given.remove(found[0])


def contents(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_answered_with_a_line_per_fault_and_nothing_is_written(
    case: Case, bert: str, tmp_path: Path
) -> None:
    if case.arrange:
        case.arrange(tmp_path, Path(bert))
    before = contents(tmp_path)
    args = [arg.replace("{bert}", bert).replace("{here}", str(tmp_path)) for arg in case.args]

    done = call(*args, folder=tmp_path)

    assert_answered(done, case.lines)
    assert contents(tmp_path) == before


def test_case_names_are_unique_and_there_are_enough_of_them() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 30


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--clients", "0"], ["clients='0'", "integer of at least 1"]),
        (["--max-rounds", "1"], ["max_rounds=1", "which is 3 for toy"]),
    ],
)
def test_the_same_holds_for_the_command_itself(
    args: list[str], line: list[str], bert: str, tmp_path: Path
) -> None:
    done = in_process_of_its_own(*toy_run(bert), *args, folder=tmp_path)

    assert_answered(done, [line])
    assert not contents(tmp_path)


def test_a_hub_that_does_not_answer_is_noticed_before_the_libraries_retry(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the port of `discard`: closed
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))

    done = in_process_of_its_own(*toy_run(bert), "--dataset", "some/data", folder=tmp_path)

    assert_answered(done, [["dataset='some/data'", "cannot be reached", "$FEDTUNE_DATA"]])


def test_an_unknown_sweep_is_answered_with_those_there_are(tmp_path: Path) -> None:
    store = tmp_path / "trials"
    (store / "sweeps").mkdir(parents=True)
    (store / "sweeps" / "monday.yaml").write_text("name: monday\naxes: []\ntrials: []\n")

    for name in ("status", "sync"):
        done = call(name, "mnoday", folder=tmp_path)

        assert_answered(done, [["sweep='mnoday'", "did you mean 'monday'"]])
    assert not (tmp_path / "mlflow.db").exists()
