"""What a launch is said to cost before it starts: only what the store still lacks."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support import call, toy_run

from fedtune.cost import launch_cost, speed
from fedtune.cost.launch_cost import LaunchCost, wall_time
from fedtune.cost.memory import need
from fedtune.cost.resources import Machine
from fedtune.cost.speed import Rates, calibrate, kind_of, rates_in_store
from fedtune.cost.trial_cost import cost, work
from fedtune.errors import BadInput
from fedtune.models.weights import num_parameters
from fedtune.plan.plan import Plan
from fedtune.run.launch import Launch
from fedtune.run.progress import Silent
from fedtune.trial.identity import Trial
from fedtune.units import size

Write = Callable[..., None]

#: Two cores, room for three trials of this size.
LAPTOP = Machine(2, 3.2e9)


def with_settings(trial: Trial, **settings: object) -> Trial:
    return replace(trial, config=trial.config.replace(**settings))


def rates_of(plan: Plan) -> dict[speed.Kind, Rates]:
    """A machine that trains 64 texts and evaluates 128 a second."""
    return {kind_of(trial): Rates(64.0, 128.0, 1000) for trial in plan.trials}


@pytest.fixture
def told(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[LaunchCost, str]]:
    """The cost for a machine that is not this one, and all that is printed of it."""
    monkeypatch.setattr(launch_cost, "calibrate", lambda trials, known: rates_of(plan))

    def tell(machine: Machine | None = LAPTOP, *, parallel: bool = True) -> tuple[LaunchCost, str]:
        launch = Launch(plan, tmp_path, Silent(), None)
        made = LaunchCost.of(plan, launch.todo, tmp_path, machine, parallel=parallel)
        console = Console(width=160, file=io.StringIO())
        console.print(made.table())
        for line in made.lines():
            console.print(line, soft_wrap=True)
        assert isinstance(console.file, io.StringIO)
        return made, console.file.getvalue()

    return tell


def test_the_estimate_of_time_comes_from_a_calibration(plan: Plan) -> None:
    rates = calibrate(plan.trials)

    (rate,) = rates.values()  # one model, one data set
    assert 0 < rate.train < 1e6
    assert 0 < rate.evaluate < 1e6
    assert 0 <= rate.num_parameters - num_parameters(plan.trials[0].model_dir) <= 2 * 33


def test_trials_that_have_run_here_tell_the_speed(
    plan: Plan, write_log: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline, eight, _ = plan.trials
    assert rates_in_store(tmp_path, plan.trials) == {}
    write_log(baseline, [0.5])
    assert rates_in_store(tmp_path, plan.trials) == {}, "round 0 trains nothing"
    write_log(eight, [0.5, 0.7])

    known = rates_in_store(tmp_path, plan.trials)

    assert known == {kind_of(eight): Rates(1024.0, 128 / 0.25, 1000)}
    monkeypatch.setattr(speed, "_measure", lambda trial: pytest.fail("it is known"))
    assert calibrate(plan.trials, known) == known
    monkeypatch.setattr(speed, "hardware", lambda device: "another machine")
    assert rates_in_store(tmp_path, plan.trials) == {}


def test_a_trial_costs_its_rounds_up_to_the_last(plan: Plan) -> None:
    baseline, eight, _ = (cost(trial, rates_of(plan)) for trial in plan.trials)

    assert (baseline.rounds, eight.rounds) == (2, 4)
    assert (baseline.steps, eight.steps) == (2 * 64, 4 * 8)
    assert (baseline.traffic_bytes, eight.traffic_bytes) == (0, 4 * 2 * 8 * 4 * 1000)
    assert baseline.seconds == 2 * (2 * 256 / 64) + 3 * 128 / 128  # round 0 is evaluated too
    assert eight.seconds == 4 * (2 * 256 / 64) + 5 * 128 / 128


def test_a_trial_that_goes_on_costs_only_what_is_missing(plan: Plan) -> None:
    eight = cost(plan.trials[1], rates_of(plan), after=3)

    assert (eight.rounds, eight.steps, eight.traffic_bytes) == (1, 8, 2 * 8 * 4 * 1000)
    assert eight.seconds == 2 * 256 / 64 + 128 / 128


def test_a_launch_lasts_as_long_as_its_work_or_its_longest_chain(plan: Plan) -> None:
    each = [10, 20, 5]

    assert wall_time(plan.trials, each, 1) == 35
    assert wall_time(plan.trials, each, 2) == 30  # 20 s that have to wait for the baseline's 10
    assert wall_time(plan.trials[1:], each[1:], 2) == 20
    assert wall_time([], [], 2) == 0


def test_work_grows_with_rounds_texts_and_the_model(plan: Plan, tmp_path: Path) -> None:
    trial = plan.trials[1]
    config = json.loads(Path(trial.model_dir, "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 6}))

    assert work(plan.trials[0]) < work(trial) == work(plan.trials[2])
    assert work(with_settings(trial, train_examples=64)) < work(trial)
    assert work(replace(trial, model_dir=str(tmp_path))) == 3 * work(trial)


def test_memory_is_that_of_parameters_activations_and_a_process(plan: Plan) -> None:
    trial = with_settings(plan.trials[0], precision="fp32")
    here = need(trial).memory

    assert need(trial).gpu_memory == 0
    assert 3e8 < here < 1e9
    vector = 4 * num_parameters(trial.model_dir)
    adamw = need(with_settings(trial, client_optimizer="adamw")).memory
    assert adamw - here == pytest.approx(1.25 * 2 * vector)
    assert need(with_settings(trial, clients=200)).memory == here
    on_gpu = need(with_settings(trial, device="cuda"))
    assert on_gpu.gpu_memory > 0
    assert on_gpu.memory > 0


def test_a_larger_batch_of_a_deep_model_takes_more_memory(plan: Plan, tmp_path: Path) -> None:
    config = json.loads(Path(plan.trials[0].model_dir, "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 500}))
    deep = replace(plan.trials[0], model_dir=str(tmp_path))

    def activations(batch_size: int) -> float:
        held = need(with_settings(deep, batch_size=batch_size)).memory
        return held - need(with_settings(plan.trials[0], batch_size=1)).memory

    assert 1.5 < activations(64) / activations(32) < 2


def test_clients_with_few_texts_have_a_speed_of_their_own(plan: Plan) -> None:
    few = with_settings(plan.trials[0], clients=64)  # of 256 texts, and a batch is 8
    rates = calibrate([plan.trials[0], few])

    assert len(rates) == 2
    assert len({kind_of(with_settings(few, clients=k)) for k in (1, 8, 32)}) == 1


def test_trials_that_take_minutes_get_workers_of_their_own(
    told: Callable[..., tuple[LaunchCost, str]], plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = told()
    assert not made.trials_are_long  # 19 to 37 s
    slow = {kind_of(trial): Rates(16.0, 32.0, 1000) for trial in plan.trials}
    monkeypatch.setattr(launch_cost, "calibrate", lambda trials, known: slow)
    made, _ = told()
    assert made.trials_are_long


def test_trials_are_told_apart_by_what_the_store_has(
    told: Callable[..., tuple[LaunchCost, str]], plan: Plan, write_log: Write
) -> None:
    baseline, eight, _ = plan.trials
    write_log(baseline, [0.5, 0.7, 0.8])
    write_log(eight, [0.5, 0.6])

    made, text = told()

    states = {line.split()[1]: line for line in text.splitlines() if line.startswith("│ K")}
    assert "│ done " in states["K001"]
    assert "│ from round 2 " in states["K008"]
    assert "│ new " in states["K002"]
    assert "In all 3 trials (1 done, 1 going on, 1 new): at most 7 rounds" in text
    assert set(made.costs) == {trial.trial_id for trial in plan.trials[1:]}


def test_a_plan_that_is_complete_costs_nothing(
    told: Callable[..., tuple[LaunchCost, str]], plan: Plan, write_log: Write
) -> None:
    for trial in plan.trials:
        write_log(trial, [0.5, 0.7, 0.8])

    made, text = told()

    assert "In all 3 trials (3 done): nothing to run." in text
    assert made.seconds == 0


def test_the_totals_are_of_rounds_traffic_memory_and_time(
    told: Callable[..., tuple[LaunchCost, str]], plan: Plan
) -> None:
    made, text = told()

    assert made.slots == 2
    assert "In all 3 trials (3 new): at most 10 rounds, 320 kB of traffic, " in text
    assert f"{size(2 * need(plan.trials[0]).memory)} of memory and 29 s to 56 s here." in text
    assert "Up to 2 trials run at a time: there is room for 2 on 2 cores (1 thread each), " in text
    assert "in 3.2 GB of free memory (" in text


def test_without_ray_and_on_a_cluster_other_things_are_said(
    told: Callable[..., tuple[LaunchCost, str]],
) -> None:
    here, one_by_one = told(parallel=False)
    there, on_cluster = told(None)

    assert here.slots == there.slots == 1
    assert "They run one after another, in this process." in one_by_one
    assert "39 s to 1 min 33 s here" in one_by_one
    assert "how many run at a time is up to it" in on_cluster
    assert "1 CPU, 0 GPU" in on_cluster


def test_what_a_cluster_with_gpus_would_run_is_told_where_there_is_none(
    bert: str, tmp_path: Path
) -> None:
    there = ["--device", "cuda", "--address", "ray://head:10001", "--dry-run"]
    done = call(*toy_run(bert, "1,4"), *there, folder=tmp_path)
    assert done.code == 0, done.everything
    assert "precision bf16, device cuda" in done.out
    assert "at this machine's speed, one after another" in done.out


def test_a_model_whose_step_fails_is_named_before_anything_starts(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr(speed, "measure", fails)
    told = r"a step of its training fails \(ZeroDivisionError: float division by zero\)"
    with pytest.raises(BadInput, match=told):
        calibrate(plan.trials[:1])
