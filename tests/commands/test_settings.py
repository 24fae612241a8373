"""How settings are given, and the name of the sweep that they make."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import FEW, call, new_database, options

from fedtune.config import FIELDS, UNHASHED, TrialConfig, choices, comma_is_value
from fedtune.config.kinds import Needs
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
        ["--learning-rate", "0.5", "--no_ray", "--tracking_uri", "sqlite:///x.db"],
        ["--learning-rate", "0.5", "--set", "learning_rate=0.5"],
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


@pytest.mark.parametrize("how", ["options", "--set", "both", "a sweep file"])
def test_every_setting_takes_a_comma_list(planned, tmp_path: Path, how: str) -> None:  # type: ignore[no-untyped-def]
    base = ["run", "--model", "m", "--dataset", "toy", "--clients", "2"]
    rates, epochs = ["--learning-rate", "0.01,0.05"], ["--local-epochs", "1,2"]
    given = {
        "options": [*base, *rates, *epochs],
        "--set": [*base, "--set", "learning-rate=0.01,0.05", "--set", "local_epochs=1, 2"],
        "both": [*base, *rates, "--set", "local_epochs=1,2,1"],
        "a sweep file": ["sweep", "grid.yaml", *rates, *epochs],
    }[how]
    (tmp_path / "grid.yaml").write_text(
        "axes: {model: [m], dataset: [toy], clients: [2], learning_rate: [0.5, 0.7]}\n"
        "set: {local_epochs: 7}\n"
        "overrides: [{when: {clients: 2}, set: {local_epochs: 9}}]\n"
    )
    found = [(c["learning_rate"], c["local_epochs"]) for c in planned(*given)]
    assert sorted(found) == [(0.01, 1), (0.01, 2), (0.05, 1), (0.05, 2)]


#: Two values of every field that may differ between two trials of one comparison.
TWO: dict[str, tuple[str, str]] = {
    field: words[:2] if len(words := choices(field)) > 1 else ("7", "9") for field in FIELDS
} | {
    **dict.fromkeys(("balance_classes", "drop_last", "attention_mask"), ("true", "false")),
    **dict.fromkeys(("learning_rate", "momentum", "weight_decay", "test_fraction"), ("0.1", "0.2")),
    **dict.fromkeys(("partition_alpha", "participation", "prox_mu"), ("0.7", "0.8")),
    **dict.fromkeys(("afl_step_size", "server_learning_rate", "server_tau"), ("0.1", "0.2")),
    **dict.fromkeys(("server_momentum", "server_beta2"), ("0.1", "0.2")),
    "distill_learning_rate": ("0.1", "0.2"),
    "client_column": ("author", "site"),
}
#: What a field needs beside what its marks say.
ALSO = {
    "natural": {"client_column": "author"},
    "fixed-per-client": {"examples_per_client": "7"},
    **{name: {"distill_examples": "7"} for name in ("feddf", "one-shot")},
}


def matters(field: str) -> dict[str, str]:
    """Settings with which a field does something."""
    needs = (m for m in TrialConfig.model_fields[field].metadata if isinstance(m, Needs))
    found = {mark.field: mark.values[-1] for mark in needs}
    also = [ALSO.get(value, {}) for value in found.values() if field != "distill_dataset"]
    return {name: value for each in [*also, found] for name, value in each.items()}


@pytest.mark.parametrize("field", [f for f in FIELDS if f not in UNHASHED and len(choices(f)) != 1])
def test_a_comma_list_of_any_setting_is_an_axis(planned, field: str) -> None:  # type: ignore[no-untyped-def]
    base = {"model": "m", "dataset": "toy", "clients": 2} | matters(field)
    base |= {field: ",".join(TWO[field])}
    found = [str(config[field]).lower() for config in planned("run", *options(**base))]
    whole = comma_is_value(field)
    assert found == ([base[field]] if whole else list(TWO[field]))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("budget_rounds", "2,4"),
        ("max_rounds", "20,30"),
        ("target_fraction", "0.8,0.9"),
        ("stop", "target,budget-then-target"),
        ("eval_every", "1,2"),
        ("device", "auto,cpu"),
        ("threads", "auto,1"),
    ],
)
@pytest.mark.parametrize("command", ["run", "sweep"])
def test_what_makes_no_other_trial_is_no_axis(
    command: str, field: str, values: str, tmp_path: Path
) -> None:
    (tmp_path / "grid.yaml").write_text("axes: {model: [m], dataset: [d], clients: [2, 4]}\n")
    what = options(model="m", dataset="d", clients="2,4") if command == "run" else ["grid.yaml"]

    done = call(command, *what, *options(**{field: values}), folder=tmp_path)

    assert (done.code, done.out) == (2, ""), done.everything
    (line,) = done.err.splitlines()
    assert line.startswith(f"fedtune: {field}=[")
    assert "one and the same trial" in line
    assert "of its own" in line


def test_a_path_with_commas_is_one_value_where_it_exists(planned, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("a,b", "news, old", "c"):
        (tmp_path / name).mkdir()
    base = ["run", "--model", "m", "--clients", "2", "--strategy", "feddf"]
    own = {
        "dataset": ["--distill-examples", "7"],
        "distill_dataset": ["--dataset", "toy"],
    }
    for given, meant in (
        ("a,b", ["a,b"]),
        ("a,c", ["a", "c"]),
        ("c,a,b,news, old,d", ["c", "a,b", "news, old", "d"]),
        (f"{tmp_path}/a,b,c", [f"{tmp_path}/a,b", "c"]),
        ("a" * 300 + ",b", ["a" * 300, "b"]),
    ):
        for field, rest in own.items():
            option = f"--{field.replace('_', '-')}"
            for how in ([option, given], ["--set", f"{field}={given}"]):
                assert [config[field] for config in planned(*base, *rest, *how)] == meant


def test_a_field_in_whose_values_commas_may_stand_takes_them_as_they_are(planned) -> None:  # type: ignore[no-untyped-def]
    base = ["run", "--model", "m", "--dataset", "toy", "--clients", "2"]
    (config,) = planned(*base, "--text-column", "premise,hypothesis")
    assert config["text_column"] == "premise,hypothesis"


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
    assert named("m", clients="2,4", seed="0,1", budget_rounds=3, threads=1) == "m-toy"
    assert named("m", learning_rate=0.05, momentum=0.9) == "m-toy-learning_rate-0.05-momentum-0.9"
    assert named("m", learning_rate="auto", local_epochs=2) == "m-toy", "these are the defaults"


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"model": "mini-bert,mini-albert"}, "toy-2models-"),
        ({"model": "m", "dataset": "toy,imdb"}, "m-2datasets-"),
        ({"model": "a,b,c", "dataset": "toy,imdb"}, "3models-2datasets-"),
        ({"model": "m", "learning_rate": "0.05,0.1"}, "m-toy-learning_rate-"),
        (
            {"model": "mini-bert", "dataset": "bbc-news", "learning_rate": "0.05,0.1"},
            "mini-bert-bbc-news-learning_rate-",
        ),
        (
            {"model": "mini-bert", "dataset": "bbc-news", "learning_rate": 0.05, "momentum": 0.9},
            "mini-bert-bbc-news-2settings-",
        ),
        ({"model": "a" * 60}, "a" * 33 + "-"),
        ({"model": "google-bert/bert-base-cased"}, "bert-base-cased-toy-"),
    ],
)
def test_what_a_name_does_not_show_is_told_by_its_digits(
    named: Callable[..., str], settings: dict[str, Any], start: str
) -> None:
    name = named(**settings)
    assert re.fullmatch(re.escape(start) + "[0-9a-f]{6}", name)
    assert len(name) <= 40
    assert named(**settings, clients="2,16", seed="3,4", max_rounds=50) == name


def test_sweeps_that_differ_have_names_that_differ(named: Callable[..., str]) -> None:
    models = "mini-bert,mini-albert,mini-distilbert,bert,albert,distilbert"
    given: list[dict[str, Any]] = [
        *({"model": models, "dataset": "imdb,yelp", "learning_rate": r} for r in (0.05, 0.025)),
        *({"model": "m", "learning_rate": r} for r in ("0.1,0.2", "0.1,0.3", "0.1", "0.1,0.2,0.3")),
        *({"model": models, setting: "1,3"} for setting in ("local_epochs", "batch_size")),
        *({"model": m, "dataset": d} for m, d in (("a,b", "toy"), ("a,c", "toy"), ("a,b", "imdb"))),
        *({"model": "a" * 60 + end} for end in "xy"),
    ]
    names = [named(**settings) for settings in given]
    assert len(set(names)) == len(given)
    assert max(map(len, names)) <= 40


def test_the_order_of_values_and_options_makes_no_other_name(named: Callable[..., str]) -> None:
    assert named("a,b") == named("b, a,b")
    rates = {named("m", learning_rate=rates) for rates in ("0.05,0.1", "1e-1,0.050", ".1,.05,.1")}
    assert len(rates) == 1
    assert named("m", local_epochs=1, set="momentum=0.5") == named(
        "m", momentum=0.5, local_epochs=1
    )


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
    assert {first[:-6], second[:-6]} == {"m-texts-"}
    for same in ("./one/texts", "two/../one/texts/", tmp_path / "one" / "texts", "~/one/texts"):
        assert named("m", same) == first
    hub_ids = {named("google-bert/bert-base-cased"), named("someone/bert-base-cased")}
    assert len(hub_ids) == 2


def test_texts_to_distil_on_are_told_by_place(
    named: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parent in ("one", "two"):
        (tmp_path / parent).mkdir()
        (tmp_path / parent / "t.jsonl").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))

    first, second = (named("m", distill_dataset=f"{p}/t.jsonl") for p in ("one", "two"))
    assert first != second
    assert {first[:-6], second[:-6]} == {"m-toy-distill_dataset-t.jsonl-"}
    for same in ("./one/t.jsonl", tmp_path / "one" / "t.jsonl", "~/one/t.jsonl"):
        assert named("m", distill_dataset=same) == first
    assert named("m", distill_dataset="sotu") == "m-toy-distill_dataset-sotu"


def test_a_name_of_ones_own_is_taken_by_run_and_by_sweep(
    launch_of: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "grid.yaml").write_text("axes: {model: [m], dataset: [toy], clients: [2]}\n")
    for args in (["run", *options(model="m", dataset="toy", clients=2)], ["sweep", "grid.yaml"]):
        assert launch_of(*args, "--name", "mine")[0].name == "mine"
    assert launch_of("sweep", "grid.yaml")[0].name == "grid"


def test_rates_are_compared_in_one_sweep_that_grows(bert: str, tmp_path: Path) -> None:
    new_database(tmp_path)
    rates = {**FEW, "learning_rate": "0.05,0.025"}
    for clients in (1, 2):
        given = {"model": bert, "dataset": "toy", "clients": clients, **rates}
        done = call("run", *options(**given), "--no-ray", folder=tmp_path)
        assert done.code == 0, done.everything

    (plan,) = (tmp_path / "trials" / "sweeps").iterdir()
    assert re.fullmatch(r"bert-toy-[\w.-]*[0-9a-f]{6}", plan.stem)
    trials = yaml.safe_load(plan.read_text())["trials"]
    asked = {(clients, rate) for clients in (1, 2) for rate in (0.05, 0.025)}
    assert {(t["clients"], t["learning_rate"]) for t in trials} == asked
    assert len(trials) == 4
    assert "4 of 4 trials are complete" in call("status", folder=tmp_path).out


def test_a_dry_run_says_which_options_it_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fedtune.run.session as session

    monkeypatch.setattr(session, "dry_run", lambda *_: None)
    what = ["run", *options(model="m", dataset="toy", clients=2), "--dry-run"]
    done = call(*what, "--log-model", folder=tmp_path)
    assert (done.code, done.out) == (0, "")
    assert done.err == "warning: log_model has no effect: a dry run trains no model\n"
    assert call(*what, folder=tmp_path).err == ""
    wrong = call(*what, "--tracking-uri", "foo://bar", folder=tmp_path)
    assert (wrong.code, wrong.out) == (2, ""), "where it would be tracked is looked at"
