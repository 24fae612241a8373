"""`fedtune init`: the sweep file that it writes can be run as it is, and says what it does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from support import call

from fedtune.plan.sweepfile import read_sweep_file


def written(*args: str, folder: Path) -> Path:
    before = set(folder.rglob("*"))
    done = call("init", *args, folder=folder)
    assert done.code == 0, done.everything
    (path,) = set(folder.rglob("*")) - before
    assert done.out.startswith(f"{path.relative_to(folder)} has ")
    return path


def test_the_file_is_a_grid_of_clients_and_seeds_and_tells_what_auto_is(tmp_path: Path) -> None:
    path = written("--model", "mini-bert", "--dataset", "bbc-news", folder=tmp_path)

    assert path.name == "bbc-news-clients.yaml"
    spec = read_sweep_file(path)
    assert spec.name == "bbc-news-clients"
    assert (spec.axes["model"], spec.axes["dataset"]) == (["mini-bert"], ["bbc-news"])
    assert {1, 8, 32} < set(spec.axes["clients"])
    assert len(spec.axes["seed"]) > 1
    lines = path.read_text().splitlines()
    for setting, told in (
        ("learning_rate", "0.05"),  # on mini-bert's card
        ("budget_rounds", "5"),
        ("max_rounds", "10"),
    ):
        (line,) = [line for line in lines if f"# {setting}: auto" in line]
        assert line.endswith(f": {told}")
    assert "fedtune sweep bbc-news-clients.yaml --dry-run" in path.read_text()


def test_what_is_commented_out_can_be_uncommented(tmp_path: Path) -> None:
    path = written("--model", "mini-bert", "--dataset", "toy", folder=tmp_path)
    path.write_text(re.sub(r"(?m)^( *)# ( *(?:- )?[a-z_]+:( |$))", r"\1\2", path.read_text()))

    spec = read_sweep_file(path)

    assert {"learning_rate", "budget_rounds", "max_rounds", "max_length"} < set(spec.set)
    (override,) = spec.overrides
    assert (override.when, override.set) == ({"clients": 32}, {"max_rounds": 12})
    assert spec.unused_overrides() == []
    assert len(spec.configs()) == 12


def test_a_dry_run_of_the_file_plans_it(tmp_path: Path) -> None:
    written("mine", "--model", "mini-bert", "--dataset", "toy", folder=tmp_path)

    done = call("sweep", "mine.yaml", "--seed", "0", "--dry-run", folder=tmp_path)

    assert done.code == 0, done.everything
    assert "Sweep mine: 1 baseline (K = 1) and 3 federated trials" in done.out
    assert "Nothing was started" in done.out


def test_several_models_and_data_sets_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    given = ["--model", "mini-bert,bert", "--dataset", "toy,imdb"]
    path = written(*given, folder=tmp_path)

    spec = read_sweep_file(path)
    assert path.name == "2datasets-clients.yaml"
    assert spec.axes["model"] == ["mini-bert", "bert"]
    assert spec.axes["dataset"] == ["toy", "imdb"]
    text = path.read_text()
    assert "0.05 for mini-bert, 2e-05 (unless its card, which is not here yet" in text
    assert "3 for toy, 100 for imdb" in text
    assert "6 for toy, 200 for imdb" in text


@pytest.mark.parametrize("name", ["my news", "1e5", "true", "~", "é, x", "a: b", "'", "#1", "null"])
def test_a_folder_of_any_name_is_read_back_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    path = written("own.yaml", "--model", "mini-bert", "--dataset", f"./{name}", folder=tmp_path)
    assert read_sweep_file(path).axes["dataset"] == [f"./{name}"]
    written("own2.yaml", "--model", "mini-bert", "--dataset", name, folder=tmp_path)
    assert yaml.safe_load((tmp_path / "own2.yaml").read_text())["axes"]["dataset"] == [name]


def test_a_file_that_is_there_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    given = ["init", "own.yaml", "--model", "mini-bert", "--dataset", "toy"]
    (tmp_path / "own.yaml").write_text("mine")

    done = call(*given, folder=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "file='own.yaml': is there already; --force" in done.err
    assert (tmp_path / "own.yaml").read_text() == "mine"

    assert call(*given, "--force", folder=tmp_path).code == 0
    assert read_sweep_file(tmp_path / "own.yaml").axes["dataset"] == ["toy"]


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        (
            ["--model", "mini-bret,mini-bert,./no", "--dataset", "bbc-nws"],
            ["model='mini-bret'", "model='./no'", "dataset='bbc-nws'"],
        ),
        (["--model", "mini-bert,", "--dataset", "toy"], ["model=''"]),
        (["a b.yaml", "--model", "mini-bert", "--dataset", "toy"], ["file='a b'"]),
        (["no/x.yaml", "--model", "mini-bert", "--dataset", "toy"], ["file='no/x.yaml'"]),
    ],
)
def test_nothing_is_written_for_what_cannot_be_run(
    args: list[str], lines: list[str], tmp_path: Path
) -> None:
    done = call("init", *args, folder=tmp_path)

    assert (done.code, done.out) == (2, ""), done.everything
    assert [line.split(":")[1].strip() for line in done.err.splitlines()] == lines
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["init"], "fedtune: model: missing; see `fedtune init --help`"),
        (["sweep"], "fedtune: FILE: missing; see `fedtune sweep --help`"),
        (["init", "--model", "mini-bert"], "fedtune: dataset: missing; see `fedtune init --help`"),
        (["tokens", "--dataset", "toy", "--model", "mini-bert"], "fedtune: out: missing"),
    ],
)
def test_what_is_missing_is_told_like_every_other_fault(
    words: list[str], missing: str, tmp_path: Path
) -> None:
    done = call(*words, folder=tmp_path)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith(missing)
