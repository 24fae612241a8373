"""Sweep files: what beats what, and how YAML is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtune.errors import BadInput
from fedtune.plan.sweepfile import (
    Override,
    SweepSpec,
    check_name,
    experiments,
    find_sweep_file,
    name_of,
    read_sweep_file,
)

FILE = """\
# Does the order of precedence hold?
axes: {model: [mini-bert], dataset: [imdb, toy], clients: [1, 2, 4]}
set: {learning_rate: 2e-5, budget_rounds: 5}
overrides:
  - {when: {dataset: toy}, set: {budget_rounds: 7, max_rounds: 9}}
  - {when: {dataset: toy, clients: 4}, set: {seed: 3}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> SweepSpec:
    path = tmp_path / "order.yaml"
    path.write_text(FILE)
    return read_sweep_file(path)


def settings(spec: SweepSpec, field: str) -> dict[tuple[str, int], object]:
    return {(c.dataset, c.clients): getattr(c, field) for c in spec.configs()}


def test_the_grid_has_every_combination_once_in_the_order_of_its_axes(spec: SweepSpec) -> None:
    assert [(c.dataset, c.clients) for c in spec.configs()] == [
        ("imdb", 1), ("imdb", 2), ("imdb", 4), ("toy", 1), ("toy", 2), ("toy", 4),
    ]  # fmt: skip


def test_a_name_is_by_default_the_files_stem(spec: SweepSpec) -> None:
    assert spec.name == "order"


def test_a_rate_in_scientific_notation_without_a_point_is_a_number(spec: SweepSpec) -> None:
    assert {c.learning_rate for c in spec.configs()} == {2e-5}


@pytest.mark.parametrize("text", ["2e-5", "2E-5", "+2e-5", "2.0e-5", ".00002", "0.00002"])
def test_every_way_to_write_a_number_is_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text(f"set: {{learning_rate: {text}}}\n")

    assert read_sweep_file(path).set["learning_rate"] == 2e-5


def test_defaults_are_beaten_by_set_and_that_by_overrides(spec: SweepSpec) -> None:
    assert {c.target_fraction for c in spec.configs()} == {0.9}
    budgets = settings(spec, "budget_rounds")
    assert {budgets["imdb", k] for k in (1, 2, 4)} == {5}
    assert {budgets["toy", k] for k in (1, 2, 4)} == {7}


def test_an_override_holds_where_all_its_values_match(spec: SweepSpec) -> None:
    seeds = settings(spec, "seed")
    assert [place for place, seed in seeds.items() if seed == 3] == [("toy", 4)]


def test_the_command_line_beats_set_overrides_and_axes(spec: SweepSpec) -> None:
    changed = spec.with_command_line({"budget_rounds": [8], "clients": [2], "seed": [5, 6]})

    assert set(settings(changed, "budget_rounds").values()) == {8}
    assert {c.clients for c in changed.configs()} == {2}
    assert {c.seed for c in changed.configs()} == {5, 6}


def test_a_single_value_on_the_command_line_replaces_an_axis(tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text("axes: {model: [m], dataset: [d], clients: [2], batch_size: [8, 16]}\n")

    changed = read_sweep_file(path).with_command_line({"batch_size": [4]})

    assert [c.batch_size for c in changed.configs()] == [4]


def test_an_override_that_matches_nothing_is_told(spec: SweepSpec) -> None:
    assert spec.unused_overrides() == []
    only_imdb = spec.with_command_line({"dataset": ["imdb"]})

    told = only_imdb.unused_overrides()

    assert len(told) == 2
    assert "{'dataset': 'toy'} matches no trial" in told[0]


def overridden(*overrides: Override) -> SweepSpec:
    return SweepSpec("s", {"model": ["m"], "dataset": ["d"], "clients": [2]}, {}, overrides)


def test_an_override_sees_what_another_override_before_it_has_set() -> None:
    first = Override(when={"clients": 2}, set={"seed": 9})
    second = Override(when={"seed": 9}, set={"budget_rounds": 7})

    spec = overridden(first, second)
    assert [(c.seed, c.budget_rounds) for c in spec.configs()] == [(9, 7)]
    assert spec.unused_overrides() == []

    turned = overridden(second, first)
    assert [(c.seed, c.budget_rounds) for c in turned.configs()] == [(9, "auto")]
    (told,) = turned.unused_overrides()
    assert "{'seed': 9} matches no trial" in told


def test_an_override_sees_the_command_line_rather_than_what_that_beats() -> None:
    first = Override(when={"clients": 2}, set={"seed": 9})
    second = Override(when={"seed": 9}, set={"budget_rounds": 7})
    third = Override(when={"seed": 4}, set={"max_rounds": 30})
    spec = overridden(first, second, third)

    changed = spec.with_command_line({"seed": [4]})

    (config,) = changed.configs()
    assert (config.seed, config.budget_rounds, config.max_rounds) == (4, "auto", 30)
    (told,) = changed.unused_overrides()
    assert "{'seed': 9} matches no trial" in told


def test_a_comma_list_beats_what_the_file_sets_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text(
        "axes: {model: [m], dataset: [d], clients: [2, 4]}\n"
        "set: {learning_rate: 0.5}\n"
        "overrides: [{when: {clients: 4}, set: {learning_rate: 0.7}}]\n"
    )

    changed = read_sweep_file(path).with_command_line({"learning_rate": [0.1, 0.2]})

    rates = [(c.clients, c.learning_rate) for c in changed.configs()]
    assert rates == [(2, 0.1), (2, 0.2), (4, 0.1), (4, 0.2)]
    assert changed.source == {"sweep_file": "rates.yaml with learning_rate=0.1,0.2"}


def test_lengths_that_differ_by_an_override_of_another_setting_are_two_trials() -> None:
    longer = Override(when={"max_rounds": 40}, set={"batch_size": 8})
    axes = {"model": ["m"], "dataset": ["d"], "clients": [2], "max_rounds": [20, 40]}
    configs = SweepSpec("s", axes, {"budget_rounds": 5}, [longer]).configs()
    assert [(c.max_rounds, c.batch_size) for c in configs] == [(20, 32), (40, 8)]

    with pytest.raises(BadInput, match=r"^max_rounds=\[20, 40\]: .* one and the same trial"):
        SweepSpec("s", axes, {"budget_rounds": 5}).configs()


def test_faults_of_many_trials_are_told_once(spec: SweepSpec) -> None:
    with pytest.raises(BadInput) as bad:
        spec.with_command_line({"max_rounds": [1]}).configs()

    assert len(bad.value.faults) == len(set(map(str, bad.value.faults))) == 2  # budgets 5 and 7


def test_a_sweep_is_asked_for_by_name_or_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grid.yaml").write_text("name: study\n")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert name_of(str(tmp_path / "grid.yaml")) == name_of("~/grid.yaml") == "study"
    assert name_of("study") == "study"
    assert name_of("gone.yaml") == "gone.yaml"


@pytest.mark.parametrize("asked", ["smoke", "experiments/smoke.yaml", "./experiments/smoke.yaml"])
def test_a_shipped_sweep_file_is_found_by_its_path_in_a_clone_from_anywhere(
    asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_sweep_file(asked) == experiments()["smoke"]
    assert name_of(asked) == "smoke"

    (tmp_path / "experiments").mkdir()
    own = tmp_path / "experiments" / "smoke.yaml"
    own.write_text("name: mine\n")
    assert name_of("experiments/smoke.yaml") == "mine", "what is there comes first"
    assert find_sweep_file("experiments/smoke.yaml").samefile(own)


@pytest.mark.parametrize("asked", ["starve/phase", "experiments/starve/phase.yaml"])
def test_the_sweep_files_of_a_study_are_in_a_folder_of_its_own(asked: str) -> None:
    assert find_sweep_file(asked).samefile(experiments()["starve/phase"])
    assert name_of(asked) == "starve-phase"


def test_a_name_comes_before_those_that_begin_with_it() -> None:
    assert list(experiments()) == sorted(experiments())


@pytest.mark.parametrize(
    "asked", ["phase", "other/smoke.yaml", "/experiments/smoke.yaml", "x" * 300]
)
def test_another_path_that_is_not_there_is_not_taken_for_a_shipped_file(asked: str) -> None:
    with pytest.raises(BadInput, match="no such file"):
        find_sweep_file(asked)


@pytest.mark.parametrize("name", ["", "a b", "../up", ".hidden", "a/b", "x" * 101, "it's", 7, None])
def test_a_name_that_cannot_be_a_file_or_stand_in_a_search_is_refused(name: object) -> None:
    with pytest.raises(BadInput, match="letters, digits"):
        check_name(name)


@pytest.mark.parametrize("name", ["demo", "k-32_b+c.2", "2026"])
def test_a_plain_name_is_kept(name: str) -> None:
    assert check_name(name) == name
