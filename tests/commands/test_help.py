"""What `--help` shows, at every width, and what is said of words that are nowhere expected."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from support import call

from fedtune.config import FIELDS, GROUPS, TrialConfig
from fedtune.plan.sweepfile import SweepSpec


def help_of(command: str) -> str:
    done = call(*command.split(), "--help", folder=Path())
    assert done.code == 0, done.everything
    return done.out


def test_every_field_is_in_one_group() -> None:
    assert sorted(field for fields in GROUPS.values() for field in fields) == sorted(FIELDS)


def test_what_auto_means_is_said_of_every_field_that_has_it() -> None:
    for field, info in TrialConfig.model_fields.items():
        assert info.default != "auto" or "auto:" in str(info.description), field


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_every_field_is_an_option_in_its_group_and_shows_its_default(command: str) -> None:
    pages = help_of(command).split("\n\n")
    titles = [page.partition(":\n")[0] for page in pages]
    for group, fields in GROUPS.items():
        page = pages[titles.index(group)]
        for field in fields:
            assert f"  --{field.replace('_', '-')} " in page
            assert "_" not in field or f"--{field}" not in page, "one spelling is shown"
    for field, info in TrialConfig.model_fields.items():
        default = "" if info.is_required() else f"[default: {str(info.default).lower()}]"
        assert default in help_of(command), field
    shown = [title for title in titles if title in GROUPS]
    assert shown == list(GROUPS)
    for group, option in (
        *(("Machine", name) for name in ("address", "no-ray")),
        *(("Tracking", name) for name in ("name", "store", "tracking-uri", "log-model")),
        *(("More options", name) for name in ("set", "dry-run", "help")),
    ):
        assert f"--{option}" in pages[titles.index(group)]


def test_help_names_what_an_option_takes() -> None:
    text = help_of("run")
    for option, takes in (
        ("drop-last", "true|false"),
        ("text-column", "TEXT"),
        ("shuffle", "every_epoch|once"),
        ("device", "auto|cpu|cuda|cuda:N"),
        ("learning-rate", "NUMBER"),
        ("budget-rounds", "NUMBER"),
    ):
        assert f"--{option} {takes}" in text


@pytest.mark.parametrize("columns", [36, 40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("command", ["", "run", "sweep", "init", "report", "completion"])
def test_no_line_is_longer_than_the_terminal(
    command: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = help_of(command).splitlines()[1:]  # the first one has what was typed to start it
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("command", ["", "run", "sweep"])
def test_each_of_three_examples_can_be_copied_and_means_something(
    command: str, columns: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import fedtune.analysis.report as report
    import fedtune.run.session as session

    monkeypatch.setenv("COLUMNS", str(columns))
    (tmp_path / "grid.yaml").write_text("axes: {model: [m], dataset: [d], clients: [2]}\n")
    seen: list[SweepSpec] = []
    for name in ("run_sweep", "dry_run"):
        monkeypatch.setattr(session, name, lambda spec, *_: seen.append(spec) or 0)
    monkeypatch.setattr(report, "print_report", lambda *_: 0)
    page = help_of(command).split("Examples:\n")[1]
    lines = page.replace("\\\n", "").splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines]
    commands = [words for words in commands if words]

    assert len(commands) == 3
    for words in commands:
        done = call(*words, folder=tmp_path)
        assert done.code == 0, done.everything
    assert len(seen) == (3 if command else 2)
    assert all(spec.configs() for spec in seen)


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        ("rnu", "No such command 'rnu'. Did you mean 'run'?"),
        ("run mini-bert", "did you mean --model mini-bert?"),
        ("run bbc-news --clients 8", "did you mean --dataset bbc-news?"),
        ("run 8,32", "did you mean --clients 8,32?"),
        ("run --clients 8, 32", "a comma list has no spaces: 8,32"),
        ("run --clients 8 ,32", "a comma list has no spaces: 8,32"),
        ("run seed=1", "did you mean --set seed=1?"),
        ("run local_epochs 1", "did you mean --local-epochs?"),
        ("run grid.yaml", "did you mean fedtune sweep grid.yaml?"),
        ("run ./my", "did you mean --model ./my or --dataset ./my?"),
        ("run --dry-run true", "--dry-run takes no value"),
        ("run what", "'what' belongs to no option; settings are given as --NAME VALUE"),
        ("sweep smoke bbc-news", "did you mean --dataset bbc-news?"),
        ("run --learning_rat 1", "'--learning-rate'"),
    ],
)
def test_a_word_that_belongs_nowhere_is_answered_with_what_may_be_meant(
    args: str, answer: str, tmp_path: Path
) -> None:
    (tmp_path / "my").mkdir()
    done = call(*args.split(), folder=tmp_path)
    assert (done.code, done.out) == (2, ""), done.everything
    (line,) = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert answer in line


def test_without_arguments_fedtune_says_what_it_can_do(tmp_path: Path) -> None:
    done = call(folder=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "\nCommands:\n  run " in done.err
    assert "fedtune run --model mini-bert --dataset bbc-news --clients 8,32" in done.err


def test_what_a_run_lacks_is_said_with_an_example_that_works(tmp_path: Path) -> None:
    done = call("run", "--seed", "x", folder=tmp_path)
    assert done.code == 2
    wrong, *missing = done.err.splitlines()
    assert wrong.startswith("fedtune: seed='x'")
    examples = " ".join(line.partition("for example ")[2] for line in missing)
    assert [line.split(": ")[1] for line in missing] == ["model", "dataset", "clients"]
    assert examples == "--model mini-bert --dataset bbc-news --clients 8,32"
