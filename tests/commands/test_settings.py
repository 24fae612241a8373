"""How settings are given, and the name of the sweep that they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import call, options

from fedtune.plan.sweepfile import check_name


@pytest.fixture
def launch_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Give the sweep and the options that a command line means, instead of running them."""
    import fedtune.run.session as session

    seen: list[Any] = []
    monkeypatch.setattr(session, "run_sweep", lambda *launch: seen.append(launch[:2]) or 0)

    def of(*args: str) -> Any:
        done = call(*args, folder=tmp_path)
        assert done.code == 0, done.everything
        return seen.pop()

    return of


@pytest.fixture
def planned(launch_of: Callable[..., Any]) -> object:
    """Give the configurations that a command line means, instead of running them."""
    return lambda *args: [config.model_dump() for config in launch_of(*args)[0].configs()]


@pytest.mark.parametrize(
    "given",
    [
        ["--learning-rate", "0.5"],
        ["--learning_rate", "0.5"],
        ["--learning_rate=0.5"],
        ["--set", "learning_rate=0.5"],
        ["--set", "learning-rate = 0.5"],
        ["--set", "", "--set", "learning_rate=5e-1"],
    ],
)
def test_a_setting_can_be_given_in_every_spelling(planned, given: list[str]) -> None:  # type: ignore[no-untyped-def]
    base = ["run", "--model", "m", "--dataset", "toy", "--clients", "2"]
    (config,) = planned(*base, *given)
    assert config["learning_rate"] == 0.5


def test_comma_lists_make_a_grid(planned) -> None:  # type: ignore[no-untyped-def]
    configs = planned(
        "run", "--model", "a,b", "--dataset", "toy", "--clients", "1, 8,8", "--seed", "0,3"
    )
    places = {(c["model"], c["clients"], c["seed"]) for c in configs}
    assert places == {(m, k, s) for m in "ab" for k in (1, 8) for s in (0, 3)}
    assert len(configs) == 8


def test_words_and_truth_values_are_read_as_such(planned) -> None:  # type: ignore[no-untyped-def]
    base = ["run", "--model", "m", "--dataset", "toy", "--clients", "2"]
    (config,) = planned(*base, "--drop-last", "true", "--train-examples", "all", "--stop", "target")
    assert (config["drop_last"], config["train_examples"]) == (True, "all")


def test_the_command_line_beats_a_sweep_file(planned, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "grid.yaml").write_text(
        "axes: {model: [m], dataset: [toy], clients: [2, 4]}\nset: {momentum: 0.5, seed: 7}\n"
    )
    configs = planned("sweep", "grid.yaml", "--set", "momentum=0.25", "--clients", "8")
    assert [(c["clients"], c["momentum"], c["seed"]) for c in configs] == [(8, 0.25, 7)]


@pytest.fixture
def named(launch_of: Callable[..., Any]) -> Callable[..., str]:
    """Give the name of the sweep that a `fedtune run` with these settings makes."""

    def of(model: object, dataset: object = "toy", **settings: object) -> str:
        given = {"model": model, "dataset": dataset, "clients": 2, **settings}
        name = str(launch_of("run", *options(**given))[0].name)
        assert check_name(name) == name
        return name

    return of


def test_a_name_says_what_is_compared(named: Callable[..., str]) -> None:
    assert named("mini-bert", "bbc-news") == "mini-bert-bbc-news"
    assert named("mini-bert,mini-albert") == "mini-bert+mini-albert-toy"
    assert named("m", clients="2,4", seed="0,1", budget_rounds=3, threads=1) == "m-toy"
    assert named("m", learning_rate=0.05, momentum=0.9) == "m-toy-learning_rate-0.05-momentum-0.9"


def test_sweeps_that_differ_have_names_that_differ_however_long(
    named: Callable[..., str],
) -> None:
    models = "mini-bert,mini-albert,mini-distilbert,bert,albert,distilbert"
    names = {named(models, "imdb,yelp", learning_rate=rate) for rate in (0.05, 0.025)}
    assert len(names) == 2
    assert {len(name) for name in names} == {80}
    (start,) = {name[:-8] for name in names}
    assert f"{models.replace(',', '+')}-imdb+yelp-learning_rate-".startswith(start[:-1])
    assert names == {named(models, "imdb,yelp", learning_rate=r) for r in ("0.050", "2.5e-2")}


def test_a_name_begins_with_a_letter_or_a_digit(named: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "_m").mkdir()
    names = {named("_m"), named("m"), named("./_m"), named("-+_.")}
    assert len(names) == 4, "what is left out is told by the digits"


def test_two_folders_of_one_name_are_two_sweeps(
    named: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parent in ("one", "two"):
        (tmp_path / parent / "texts").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))

    first, second = named("m", "one/texts"), named("m", "two/texts")
    assert first != second
    assert {first[:-8], second[:-8]} == {"m-texts-"}
    for same in ("./one/texts", "two/../one/texts/", tmp_path / "one" / "texts", "~/one/texts"):
        assert named("m", same) == first
    hub_ids = {named("google-bert/bert-base-cased"), named("someone/bert-base-cased")}
    assert len(hub_ids) == 2
    assert {name[:-8] for name in hub_ids} == {"bert-base-cased-toy-"}
