"""A plan: baselines are added once, the order is right, and it survives being saved."""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import LEARNS, unpack

from fedtune.errors import BadInput
from fedtune.machine import available_cores
from fedtune.plan import forewarnings, plan_file
from fedtune.plan.forewarnings import warnings_of
from fedtune.plan.plan import Plan, make_plan
from fedtune.plan.plan_file import load_plan, plan_path, read_plan, save_plan
from fedtune.plan.sweepfile import Override, SweepSpec
from fedtune.tracking import names
from fedtune.trial import identity
from fedtune.trial.facts import data_facts
from fedtune.trial.folder import TrialFolder
from fedtune.trial.stopping import clearly_above_chance
from fedtune.units import counted

#: The trials of the published study, as the project ships them.
PUBLISHED = Path(__file__).parents[2] / "docs/results/mini-study/rounds.tar.gz"


def spec_of(bert: str, axes: dict[str, list[Any]], **settings: Any) -> SweepSpec:
    axes = {"model": [bert], "dataset": ["toy"], **axes}
    kept = {name: value for name, value in LEARNS.items() if name not in axes}
    return SweepSpec("study", axes, {**kept, **settings})


def places(plan: Plan) -> list[tuple[int, int]]:
    return [(t.config.clients, t.config.seed) for t in plan.trials]


def test_a_baseline_is_added_for_every_other_axis(bert: str) -> None:
    plan = make_plan(spec_of(bert, {"clients": [2], "batch_size": [8, 16]}))

    asked = sorted((t.config.clients, t.config.batch_size) for t in plan.trials)
    assert asked == [(1, 8), (1, 16), (2, 8), (2, 16)]


def test_a_seed_comes_whole_before_the_next_its_baselines_first(bert: str) -> None:
    plan = make_plan(spec_of(bert, {"clients": [2, 8], "seed": [1, 0]}))

    assert places(plan) == [(1, 0), (8, 0), (2, 0), (1, 1), (8, 1), (2, 1)]


def test_trials_with_more_work_start_first_among_baselines_and_among_the_others(bert: str) -> None:
    plan = make_plan(spec_of(bert, {"train_examples": [64, 128], "clients": [2, 8]}))

    asked = [(t.config.clients, t.config.train_examples) for t in plan.trials]
    assert asked == [(1, 128), (1, 64), (8, 128), (2, 128), (8, 64), (2, 64)]


def test_a_baseline_that_was_asked_for_is_not_added_again(bert: str) -> None:
    plan = make_plan(spec_of(bert, {"clients": [4, 1]}))

    assert places(plan) == [(1, 0), (4, 0)]


def test_every_trial_knows_the_baseline_that_is_equal_in_all_else(bert: str) -> None:
    plan = make_plan(spec_of(bert, {"clients": [2, 4], "batch_size": [8, 16]}))

    for trial in plan.trials:
        baseline = plan.baseline_of(trial)
        assert baseline.config == trial.config.replace(clients=1)
    assert len({trial.baseline_id for trial in plan.trials}) == 2


def test_the_longest_trials_start_first_among_the_federated(bert: str) -> None:
    longer = Override(when={"clients": 2}, set={"max_rounds": 50})
    spec = replace(spec_of(bert, {"clients": [2, 4, 8]}), overrides=[longer])

    assert [clients for clients, _ in places(make_plan(spec))] == [1, 2, 8, 4]


def test_an_axis_that_makes_no_other_trial_is_refused(bert: str) -> None:
    with pytest.raises(
        BadInput, match=r"^target_fraction=\[0\.8, 0\.9\]: .* one and the same trial"
    ):
        make_plan(spec_of(bert, {"clients": [2], "target_fraction": [0.8, 0.9]}))
    with pytest.raises(BadInput, match=r"^threads=\['auto', 1\]: .*, with a --store of its own"):
        make_plan(spec_of(bert, {"clients": [2], "threads": ["auto", 1]}))


def test_one_model_under_two_names_is_one_trial(bert: str, tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(bert)
    both = [bert, str(tmp_path / "again")]
    assert len(make_plan(spec_of(bert, {"clients": [2], "model": both})).trials) == 2

    longer = Override({"model": both[1]}, {"max_rounds": 9})
    spec = replace(spec_of(bert, {"clients": [2], "model": both}), overrides=[longer])
    with pytest.raises(BadInput, match=r"^max_rounds=\[6, 9\]: .* one and the same trial"):
        make_plan(spec)


def test_caps_may_differ_by_clients_but_not_the_length_of_a_shared_baseline(bert: str) -> None:
    axes = {"clients": [2, 4]}
    cap = Override({"clients": 4}, {"max_rounds": 9})
    plan = make_plan(replace(spec_of(bert, axes), overrides=[cap]))
    assert {t.config.clients: t.config.max_rounds for t in plan.trials}[4] == 9

    budget = Override({"clients": 4}, {"budget_rounds": 1})
    with pytest.raises(BadInput, match=r"^budget_rounds=\[3, 1\]"):
        make_plan(replace(spec_of(bert, axes), overrides=[budget]))


@pytest.mark.parametrize(("federated", "shared_by"), [(1, 1), (2, 2), (5, 5)])
def test_threads_share_the_cores_among_federated_trials(
    bert: str, federated: int, shared_by: int
) -> None:
    spec = spec_of(bert, {"clients": list(range(2, 2 + federated))}, threads="auto")
    cores = available_cores()

    threads = {trial.config.threads for trial in make_plan(spec).trials}

    assert threads == {cores // min(cores, shared_by)}


def test_a_saved_plan_is_the_same_plan(bert: str, tmp_path: Path) -> None:
    plan = make_plan(spec_of(bert, {"clients": [2, 4], "seed": [0, 1]}))

    save_plan(plan, tmp_path)

    assert read_plan(plan_path(tmp_path, "study")) == plan
    assert plan.axes == ("clients", "seed")


def test_plans_are_found_by_name_by_file_and_as_the_latest(bert: str, tmp_path: Path) -> None:
    plan = make_plan(spec_of(bert, {"clients": [2]}))
    for age, name in enumerate(["newest", "older", "oldest"]):
        save_plan(replace(plan, name=name), tmp_path)
        path = plan_path(tmp_path, name)
        os.utime(path, (1e9 - age, 1e9 - age))
    file = tmp_path / "x.yaml"
    file.write_text("name: older\naxes: {clients: [2]}\n")

    assert load_plan(tmp_path, None).name == "newest"
    assert load_plan(tmp_path, "oldest").name == "oldest"
    assert load_plan(tmp_path, str(file)).name == "older"


def test_an_unknown_plan_is_an_error_that_names_those_there_are(bert: str, tmp_path: Path) -> None:
    save_plan(make_plan(spec_of(bert, {"clients": [2]})), tmp_path)

    with pytest.raises(BadInput, match="did you mean 'study'"):
        load_plan(tmp_path, "stduy")


def test_a_hopeless_rate_is_warned_of_and_a_good_one_is_not(bert: str, tmp_path: Path) -> None:
    hopeless = spec_of(bert, {"clients": [64]}, learning_rate=2e-5, batch_size=32)
    good = spec_of(bert, {"clients": [4]})

    warned, alone = sorted(warnings_of(make_plan(hopeless), hopeless, tmp_path), reverse=True)

    assert "clients=64 with fedavg on toy may learn nothing" in warned
    assert warned.endswith("raise learning_rate or max_rounds")
    assert "clients=1 on toy may learn nothing" in alone
    assert alone.endswith("raise learning_rate or budget_rounds"), "a baseline runs its budget"
    assert warnings_of(make_plan(good), good, tmp_path) == []


def test_one_shot_is_warned_of_by_its_own_name_and_settings(bert: str, tmp_path: Path) -> None:
    def warned(**settings: Any) -> list[str]:
        settings = {"strategy": "one-shot", "distill_examples": 20} | settings
        spec = spec_of(bert, {"clients": [8]}, **settings)
        lines = warnings_of(make_plan(spec), spec, tmp_path)
        return [line for line in lines if "clients=8" in line]

    assert warned() == []
    (server,) = warned(distill_steps=1, distill_learning_rate=0.01)
    assert "with one-shot on toy may learn nothing: distill_learning_rate 0.01 x 1 step" in server
    assert server.endswith("raise distill_learning_rate or distill_steps")
    (clients,) = warned(learning_rate=1e-4, distill_learning_rate=0.05)
    assert clients.endswith("raise learning_rate or one_shot_epochs")
    feddf = {"strategy": "feddf", "distill_steps": 1, "distill_learning_rate": 0.01}
    assert warned(**feddf) == [], "its student starts from the clients' mean"


def test_a_setting_that_does_nothing_in_one_shot_is_told(bert: str, tmp_path: Path) -> None:
    def warned(epochs: list[int], **settings: Any) -> list[str]:
        settings = {"strategy": "one-shot", "distill_examples": 20} | settings
        spec = spec_of(bert, {"clients": [2, 4], "local_epochs": epochs}, **settings)
        return warnings_of(make_plan(spec), spec, tmp_path)

    assert warned([1, 2]) == [], "auto makes other lengths of them"
    assert warned([2], one_shot_epochs=3) == []
    (line,) = warned([1, 2], one_shot_epochs=3, distill_steps=30)
    assert line.startswith("one-shot at K = 2, 4 is computed 2 times for local_epochs 1, 2")
    (line,) = warned([2], eval_every=2)
    assert line == "eval_every=2 has no effect on one-shot: its only round is evaluated"


def test_evaluations_at_steps_that_there_are_none_of_are_told(bert: str, tmp_path: Path) -> None:
    def warned(eval_steps: object) -> list[str]:
        spec = spec_of(bert, {"clients": [2]}, eval_steps=eval_steps)
        return warnings_of(make_plan(spec), spec, tmp_path)

    (trial,) = (t for t in make_plan(spec_of(bert, {"clients": [2]})).trials if t.is_baseline)
    last = trial.stop_rule.last * data_facts(trial)["steps/per_round"]
    assert warned("none") == warned("geometric") == warned(last) == []
    assert warned(last + 1) == [
        f"eval_steps={last + 1} has no effect: the baseline has {counted(last, 'step')}"
    ]


def test_a_miniature_is_warned_of_only_where_a_published_trial_stayed_at_chance() -> None:
    at_chance, longest = [], 0.0
    with tarfile.open(PUBLISHED) as archive:
        for member in (each for each in archive if each.name.endswith("rounds.jsonl")):
            folder = member.name.rpartition("/")[0]
            config = yaml.safe_load(read(archive, f"{folder}/config.yaml"))
            chance, number = config["summary/chance"], config["data/test_examples"]
            for line in read(archive, member.name).splitlines():
                record = json.loads(line)
                path = config["learning_rate"] * record["steps/sequential"]
                longest = max(longest, path)
                accuracy = record.get("test/accuracy")
                if path and accuracy and not clearly_above_chance(accuracy, chance, number):
                    at_chance.append(path)

    assert max(at_chance) == pytest.approx(forewarnings._SEEN_AT_CHANCE[True])
    assert longest > 10


def read(archive: tarfile.TarFile, name: str) -> str:
    file = archive.extractfile(name)
    assert file is not None
    return file.read().decode()


def test_settings_without_effect_are_warned_of_once(bert: str, tmp_path: Path) -> None:
    spec = spec_of(bert, {"clients": [2, 4]}, client_optimizer="adamw", momentum=0.9)

    (warning,) = warnings_of(make_plan(spec), spec, tmp_path)

    assert warning.startswith("momentum=0.9 has no effect")


def test_siblings_of_an_earlier_launch_with_another_budget_are_warned_of(
    bert: str, tmp_path: Path
) -> None:
    first = replace(spec_of(bert, {"clients": [2, 4]}, budget_rounds=2), grows=True)
    save_plan(make_plan(first), tmp_path)
    longer = replace(spec_of(bert, {"clients": [8]}, budget_rounds=3), grows=True)
    whole = replace(spec_of(bert, {"clients": [2, 4, 8]}, budget_rounds=3), grows=True)

    lines = warnings_of(make_plan(longer), longer, tmp_path)

    assert any("has K = 2, 4 with budget_rounds 2 from an earlier launch" in li for li in lines)
    assert warnings_of(make_plan(whole), whole, tmp_path) == []


def test_one_shot_of_an_earlier_budget_is_told_of_and_told_apart(bert: str, tmp_path: Path) -> None:
    def spec(budget: int, **axes: list[Any]) -> SweepSpec:
        settings = {"distill_examples": 20, "budget_rounds": budget}
        asked = spec_of(bert, {"clients": [2], **axes}, strategy="one-shot", **settings)
        return replace(asked, grows=True)

    save_plan(make_plan(spec(2)), tmp_path)
    assert warnings_of(make_plan(spec(2, seed=[1])), spec(2, seed=[1]), tmp_path) == []
    assert warnings_of(make_plan(spec(3, seed=[1])), spec(3, seed=[1]), tmp_path) == []

    (line,) = warnings_of(make_plan(spec(3)), spec(3), tmp_path)
    save_plan(make_plan(spec(3)), tmp_path)

    earlier = make_plan(spec(2)).trials[-1].config
    assert f"keeps one-shot with one_shot_epochs {earlier.one_shot_epochs} and distill" in line
    whole = load_plan(tmp_path, "study")
    assert whole.axes == ("one_shot_epochs",)
    rows = [names.run_name(trial, whole.axes) for trial in whole.trials]
    assert len(set(rows)) == len(rows) == 3, "the baseline is one"


def test_seeds_of_several_launches_are_told_apart_in_the_table(bert: str, tmp_path: Path) -> None:
    for seed, clients in ((0, 2), (1, 2), (1, 4)):
        spec = spec_of(bert, {"clients": [clients]}, seed=seed)
        save_plan(make_plan(replace(spec, grows=True)), tmp_path)
        axes = load_plan(tmp_path, "study").axes
        assert axes == (("seed",) if seed else ()), "K has a column in any case"


def test_launches_of_one_name_with_one_value_each_are_told_apart(bert: str, tmp_path: Path) -> None:
    for rate, strategy in ((0.05, "fedavg"), (0.1, "fedavg"), (0.1, "fedadam")):
        axes = {"clients": [2], "learning_rate": [rate]}
        spec = spec_of(bert, axes, strategy=strategy)
        save_plan(make_plan(replace(spec, grows=True)), tmp_path)

    whole = load_plan(tmp_path, "study")

    assert whole.axes == ("learning_rate", "strategy")
    rows = {names.run_name(trial, whole.axes) for trial in whole.trials}
    assert len(rows) == len(whole.trials) == 5


def test_a_plan_tells_its_trials_in_as_many_digits_as_a_tag_has_room_for(bert: str) -> None:
    plan = make_plan(spec_of(bert, {"clients": [2, 4]}))
    assert set(plan.tags()[names.TRIALS].split()) == set(plan.by_id())

    many = [f"{number:012x}" for number in range(0, 2**48, 2**48 // 1000)]
    value = names.listed(many)

    assert len(value) <= names.LONGEST_TAG
    assert all(names.is_listed(trial_id, value) for trial_id in many)
    assert not names.is_listed(f"{12345:012x}", names.listed(many[1:]))
    assert names.is_listed("0123456789ab", ""), "where none is told, every one is meant"


def test_a_plan_of_an_earlier_engine_is_refused_by_name(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(spec_of(bert, {"clients": [2]}), grows=True)
    save_plan(make_plan(spec), tmp_path)
    now = identity.ENGINE + 1
    monkeypatch.setattr(identity, "ENGINE", now)
    monkeypatch.setattr(plan_file, "ENGINE", now)

    with pytest.raises(BadInput, match=rf"^sweep='study': .* engine {now}: use the version"):
        load_plan(tmp_path, "study")

    anew = make_plan(spec)
    assert warnings_of(anew, spec, tmp_path) == []
    save_plan(anew, tmp_path)
    assert load_plan(tmp_path, "study").by_id() == anew.by_id(), "what cannot go on is not kept"


def test_the_published_study_is_found_in_a_store(tmp_path: Path) -> None:
    """Two of its trials have names that look like numbers."""
    unpack(PUBLISHED, tmp_path)
    plan = load_plan(tmp_path, "mini-study")
    assert len(plan.trials) == 162
    assert {"43e623921709", "2101173e5522"} <= set(plan.by_id())
    for trial_id in plan.by_id():
        assert TrialFolder(tmp_path, trial_id).read_config()["trial_id"] == trial_id


def test_an_adaptive_server_with_the_rate_of_a_plain_one_is_warned_of(
    bert: str, tmp_path: Path
) -> None:
    def warned(**settings: Any) -> list[str]:
        spec = spec_of(bert, {"clients": [2]}, **settings)
        lines = warnings_of(make_plan(spec), spec, tmp_path)
        return [line for line in lines if "rate of its own" in line]

    assert len(warned(strategy="fedadam")) == 1
    assert warned(strategy="fedyogi", server_learning_rate=0.01) == []
    assert warned(strategy="fedavgm") == warned(strategy="fedavg") == []


def test_a_setting_without_effect_is_told_where_no_trial_of_the_sweep_has_a_use_for_it(
    bert: str, tmp_path: Path
) -> None:
    def warned(axes: dict[str, list[Any]], **settings: Any) -> list[str]:
        spec = spec_of(bert, axes, **settings)
        lines = warnings_of(make_plan(spec), spec, tmp_path)
        return [line for line in lines if "has no effect" in line]

    (line,) = warned({"clients": [2]}, prox_mu=0.5)
    assert line == "prox_mu=0.5 has no effect: it needs strategy fedprox"
    assert warned({"clients": [2], "strategy": ["fedavg", "fedprox"]}, prox_mu=0.5) == []
    assert warned({"clients": [1, 2]}, partition="quantity") == []
    (line,) = warned({"clients": [1]}, participation=0.5)
    assert line == "participation=0.5 has no effect: there is one client"


def test_a_grid_of_strategies_and_partitions_has_one_baseline_and_no_trial_twice(
    bert: str,
) -> None:
    axes = {
        "clients": [1, 2],
        "strategy": ["fedavg", "fedprox", "scaffold"],
        "prox_mu": [0.1, 1.0],
        "partition": ["iid", "dirichlet"],
        "partition_alpha": [0.1, 1.0],
    }
    plan = make_plan(spec_of(bert, axes))
    baselines = [trial for trial in plan.trials if trial.is_baseline]
    assert len(baselines) == 1
    assert {trial.baseline_id for trial in plan.trials} == {baselines[0].trial_id}
    alone = [t for t in plan.trials if t.config.clients == 1 and not t.is_baseline]
    assert sorted(t.config.prox_mu for t in alone) == [0.1, 1.0]  # FedProx acts on one client too
    # With two clients: fedavg, scaffold, and FedProx twice, each with iid and with two alphas.
    assert len(plan.trials) == 1 + 2 + 4 * 3
    names_of = [names.run_name(trial, plan.axes) for trial in plan.trials]
    assert len(set(names_of)) == len(names_of)
    assert names.run_name(baselines[0], plan.axes).endswith(" s0")
    assert any(name.endswith("strategy=scaffold partition=iid") for name in names_of)


@pytest.mark.parametrize("strategy", ["fedavgm", "fedadagrad", "fedadam", "fedyogi"])
def test_strategies_are_called_what_people_call_them(bert: str, strategy: str) -> None:
    plan = make_plan(spec_of(bert, {"clients": [2], "strategy": ["fedavg", strategy]}))
    told = {names.run_name(trial, plan.axes).rpartition("=")[2] for trial in plan.trials[1:]}
    assert told == {"fedavg", strategy}
    assert plan.params()["strategy"] == ",".join(sorted(["fedavg", strategy]))
    joined = make_plan(
        spec_of(bert, {"clients": [2], "strategy": ["fedavg", "scaffold"]}, server_optimizer="adam")
    )
    assert "scaffold+adam" in joined.params()["strategy"]
