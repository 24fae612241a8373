"""What a launch does with what its runner tells, and the table and the sentence it ends with."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from support import FEW, LEARNS, Done, call, new_database, toy_run, trial_runs

from fedtune.machine import available_cores
from fedtune.plan.plan import Plan, make_plan
from fedtune.plan.plan_file import load_plan
from fedtune.plan.sweepfile import SweepSpec
from fedtune.run import closing, in_process
from fedtune.run.launch import Launch, LaunchResult
from fedtune.run.progress import Silent
from fedtune.run.sentences import sentences
from fedtune.trial.facts import data_facts
from fedtune.trial.identity import Trial
from fedtune.trial.locks import TrialInUse

Write = Callable[..., None]

#: Accuracies of a baseline that sets a target of 0.72, and of siblings that end in various ways.
LEARNED = [0.5, 0.7, 0.8]
REACHES, MISSES = [0.5, 0.65, 0.65, 0.75], [0.5, 0.65, 0.65, 0.65, 0.65]


def nothing(launch: Launch) -> None:
    """A runner that runs nothing."""


def launched(plan: Plan, store: Path) -> LaunchResult:
    return Launch(plan, store, Silent(), None).run(nothing)


def cells(plan: Plan, report: LaunchResult, clients: int) -> dict[str, str]:
    header, body = closing.rows(plan, report)
    (row,) = (row for row in body if row[header.index("K")] == str(clients))
    return dict(zip(header, row, strict=True))


def test_a_launch_asks_for_what_is_missing_only_and_keeps_its_plan(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    baseline, eight, two = plan.trials
    write_log(baseline, LEARNED)
    write_log(eight, REACHES)
    asked: list[int] = []

    def runner(launch: Launch) -> None:
        asked.extend(trial.config.clients for trial in launch.todo)

    Launch(plan, tmp_path, Silent(), None).run(runner)

    assert asked == [2]
    assert load_plan(tmp_path, "study") == plan
    assert two in plan.trials


def test_a_launch_with_nothing_missing_does_not_call_its_runner(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    for trial, accuracies in zip(plan.trials, (LEARNED, REACHES, MISSES), strict=True):
        write_log(trial, accuracies)

    def runner(launch: Launch) -> None:
        raise AssertionError("there is nothing to run")

    report = Launch(plan, tmp_path, Silent(), None).run(runner)

    assert report.exit_code == 0


def test_a_shorter_cap_is_met_by_a_longer_log(plan: Plan, write_log: Write, tmp_path: Path) -> None:
    for trial in plan.trials:
        write_log(trial, [*LEARNED, 0.9, 0.9, 0.9, 0.95])

    report = launched(plan, tmp_path)

    assert {r.records[-1]["round"] for r in report.results if r.trial.config.clients > 1} == {4}


def test_reached_and_not_reached_are_results_and_exit_code_0(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    baseline, eight, two = plan.trials
    write_log(baseline, LEARNED)
    write_log(eight, MISSES)
    write_log(two, REACHES)

    report = launched(plan, tmp_path)

    assert report.exit_code == 0
    assert cells(plan, report, 1)["outcome"] == "baseline"
    assert cells(plan, report, 1)["rounds to target"] == "2"
    reached = cells(plan, report, 2)
    assert (reached["outcome"], reached["rounds to target"]) == ("reached", "3")
    assert reached["steps to target"] == str(3 * data_facts(two)["steps/per_round"])
    assert (reached["accuracy at budget"], reached["of baseline"]) == ("0.650", "81 %")
    missed = cells(plan, report, 8)
    assert (missed["outcome"], missed["rounds to target"]) == ("not_reached", "> 4")
    assert missed["steps to target"] == f"> {4 * data_facts(eight)['steps/per_round']}"
    (said,) = sentences(plan, report)
    assert "Spread over 8 clients" in said
    assert "does not reach the target of 0.720 on toy within 4 rounds" in said
    assert "(it ends at 0.650)" in said
    assert "one client needs 2 rounds (128 sequential steps)" in said


def test_a_trial_that_stops_before_the_budget_shows_its_last_accuracy_and_round(
    bert: str, write_log: Write, tmp_path: Path
) -> None:
    axes = {"model": [bert], "dataset": ["toy"], "clients": [2]}
    rounds = {"budget_rounds": 2, "max_rounds": 4}
    plan = make_plan(SweepSpec("early", axes, {**LEARNS, **rounds}))
    write_log(plan.trials[0], LEARNED)
    write_log(plan.trials[1], [0.5, 0.84])

    report = launched(plan, tmp_path)

    row = cells(plan, report, 2)
    assert row["accuracy at budget"] == "0.840 (round 1)"
    assert row["of baseline"] == "105 % (round 1)"
    assert "| 2 | 0.840 (round 1) | 105 % (round 1) |" in closing.as_artifacts(plan, report)[0]
    assert cells(plan, report, 1)["accuracy at budget"] == "0.800"  # of the budget itself


def test_the_sentence_of_a_target_that_is_reached_gives_rounds_and_steps(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    for trial, accuracies in zip(plan.trials, (LEARNED, REACHES, REACHES), strict=True):
        write_log(trial, accuracies)

    (said,) = sentences(plan, launched(plan, tmp_path))

    steps = 3 * data_facts(plan.trials[1])["steps/per_round"]
    assert f"reaches the target of 0.720 on toy after 3 rounds ({steps} sequential steps)" in said


def test_siblings_of_a_baseline_at_chance_have_no_target_to_reach(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    for trial in plan.trials:
        write_log(trial, [0.5, 0.99 if trial.config.clients > 1 else 0.5, 0.52])

    report = launched(plan, tmp_path)

    assert report.exit_code == 0
    for clients in (2, 8):
        row = cells(plan, report, clients)
        assert (row["outcome"], row["rounds to target"]) == ("target_undefined", "")
    (said,) = sentences(plan, report)
    assert said.startswith("bert on toy learned nothing in one place: 0.520, which is chance (0.5")
    assert said.endswith("; raise learning_rate, budget_rounds or train_examples.")


def test_a_model_that_learned_nothing_is_said_to_have_learned_nothing(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    write_log(plan.trials[0], LEARNED)
    write_log(plan.trials[1], [0.5, 0.5, 0.51, 0.5, 0.5])

    (said,) = sentences(plan, launched(plan, tmp_path))

    assert said == (
        "Spread over 8 clients, bert learned nothing on toy: 0.510, which is chance "
        "(0.500 ± 0.133) (K = 1: 0.800)."
    )


def test_a_collapse_stands_beside_the_outcome(plan: Plan, write_log: Write, tmp_path: Path) -> None:
    write_log(plan.trials[0], LEARNED)
    write_log(plan.trials[1], [0.5] * 5)

    assert cells(plan, launched(plan, tmp_path), 8)["outcome"] == "not_reached, collapsed"


def test_a_federated_trial_that_diverged_is_a_result_and_named(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    baseline, eight, two = plan.trials
    write_log(baseline, LEARNED)
    write_log(two, REACHES)
    write_log(eight, [0.5, 0.65], diverged=True)

    report = launched(plan, tmp_path)

    assert report.exit_code == 0
    assert cells(plan, report, 8)["outcome"] == "diverged"
    (said,) = sentences(plan, report)
    assert "diverged on toy (round 2, client 3)" in said


@pytest.mark.parametrize(
    ("optimizer", "settings", "advice"),
    [
        ("none", {}, "lower learning_rate."),
        (
            "momentum",
            {"server_learning_rate": 1e30},
            "lower server_learning_rate or learning_rate.",
        ),
        (
            "adam",
            {"server_tau": 1e-300},
            "lower server_learning_rate or learning_rate, or raise server_tau.",
        ),
    ],
)
def test_where_the_servers_steps_may_have_been_too_large_its_settings_are_named(
    optimizer: str,
    settings: dict[str, Any],
    advice: str,
    bert: str,
    write_log: Write,
    tmp_path: Path,
) -> None:
    axes = {"model": [bert], "dataset": ["toy"], "clients": [8]}
    rounds = {"budget_rounds": 2, "max_rounds": 4, "server_optimizer": optimizer}
    plan = make_plan(SweepSpec("far", axes, {**LEARNS, **rounds, **settings}))
    write_log(plan.trials[0], LEARNED)
    write_log(plan.trials[1], [0.5], diverged=True)

    (said,) = sentences(plan, launched(plan, tmp_path))

    assert said.endswith(f"diverged on toy (round 1, client 3): {advice}")


def test_siblings_of_a_diverged_baseline_wait_and_the_launch_fails(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    write_log(plan.trials[0], [0.5], diverged=True)

    report = launched(plan, tmp_path)

    assert report.exit_code == 1
    assert [cells(plan, report, k)["outcome"] for k in (1, 2, 8)] == [
        "diverged",
        "waiting",
        "waiting",
    ]


def test_a_failed_baseline_leaves_its_siblings_waiting(plan: Plan, tmp_path: Path) -> None:
    def runner(launch: Launch) -> None:
        launch.fail(plan.trials[0].trial_id, "no luck")

    report = Launch(plan, tmp_path, Silent(), None).run(runner)

    assert report.exit_code == 1
    assert report.failed == {plan.trials[0].trial_id: "no luck"}
    why = "its baseline failed"
    assert report.waiting == {trial.trial_id: why for trial in plan.trials[1:]}
    assert cells(plan, report, 1)["outcome"] == "failed"
    assert cells(plan, report, 8)["outcome"] == "waiting"
    assert sentences(plan, report) == []


@pytest.fixture
def own_target(bert: str) -> Plan:
    """K = 1 and 2 with a target of the user's own, which is met before the budget."""
    axes = {"model": [bert], "dataset": ["toy"], "clients": [2]}
    rounds = {"budget_rounds": 2, "max_rounds": 4, "target_accuracy": 0.6}
    return make_plan(SweepSpec("own", axes, {**LEARNS, **rounds}))


def test_a_trial_that_has_its_outcome_keeps_it_where_the_baseline_fails(
    own_target: Plan, write_log: Write, tmp_path: Path
) -> None:
    baseline, two = own_target.trials

    def runner(launch: Launch) -> None:
        write_log(two, REACHES)
        launch.fail(baseline.trial_id, "no luck")

    report = Launch(own_target, tmp_path, Silent(), None).run(runner)

    assert (report.failed, report.waiting) == ({baseline.trial_id: "no luck"}, {})
    assert cells(own_target, report, 2)["outcome"] == "reached"


def test_a_target_of_ones_own_is_not_met_before_the_baseline_is_known(
    own_target: Plan, write_log: Write, tmp_path: Path
) -> None:
    baseline, two = own_target.trials
    write_log(two, [0.5, 0.65])
    launch = Launch(own_target, tmp_path, Silent(), None)
    assert launch.todo == [baseline, two]
    assert launch.release(two) is None

    write_log(baseline, LEARNED)
    assert Launch(own_target, tmp_path, Silent(), None).todo == []
    assert launch.release(two) == two
    write_log(baseline, [0.5, 0.5, 0.52])  # at chance: the budget is what is compared
    assert Launch(own_target, tmp_path, Silent(), None).todo == [two]


def test_a_failed_sibling_fails_the_launch_and_nothing_else(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    def runner(launch: Launch) -> None:
        write_log(plan.trials[0], LEARNED)
        launch.fail(plan.trials[1].trial_id, "no luck")
        write_log(plan.trials[2], REACHES)

    report = Launch(plan, tmp_path, Silent(), None).run(runner)

    assert report.exit_code == 1
    assert report.waiting == {}
    assert [cells(plan, report, k)["outcome"] for k in (1, 2, 8)] == [
        "baseline",
        "reached",
        "failed",
    ]


def test_a_second_launch_on_a_trial_in_use_names_process_and_host_and_leaves_no_plan(
    plan: Plan, tmp_path: Path
) -> None:
    trial_id = plan.trials[1].trial_id
    hold = (
        "import sys, pathlib\n"
        "from fedtune.trial.locks import launching\n"
        "with launching(pathlib.Path(sys.argv[1]), sys.argv[2:]):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path), "0123456789ab", trial_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert owner.stdout is not None
        owner.stdout.readline()

        with pytest.raises(TrialInUse, match=rf"{trial_id} .* process {owner.pid} on \S+"):
            launched(plan, tmp_path)
    finally:
        owner.communicate()
    assert not (tmp_path / "sweeps").exists()
    launched(plan, tmp_path)  # now it is free


def launch_of_many_threads(
    bert: str, write_log: Write, folder: Path, at_the_end: list[float]
) -> Done:
    """A launch over trials that were begun on a machine with more cores than this one has."""
    axes = {"model": [bert], "dataset": ["toy"], "clients": [2]}
    rounds = {"budget_rounds": 2, "max_rounds": 4}
    elsewhere = {**LEARNS, **rounds, "threads": available_cores() + 14}
    for trial in make_plan(SweepSpec("study", axes, elsewhere)).trials:
        write_log(trial, LEARNED if trial.config.clients == 1 else at_the_end)
    args = [*toy_run(bert, "2", **rounds), "--name", "study", "--store", ".", "--no-ray"]
    new_database(folder)
    return call(*args, folder=folder)


def test_trials_that_ended_on_a_larger_machine_need_its_cores_no_more(
    bert: str, write_log: Write, tmp_path: Path
) -> None:
    done = launch_of_many_threads(bert, write_log, tmp_path, REACHES)

    assert done.code == 0, done.everything
    assert "nothing to run" in done.out


def test_a_trial_that_was_begun_with_more_threads_than_there_are_names_the_way_out(
    bert: str, write_log: Write, tmp_path: Path
) -> None:
    done = launch_of_many_threads(bert, write_log, tmp_path, [0.5, 0.65])

    assert done.code == 2, done.everything
    (line,) = done.err.splitlines()
    assert f"threads={available_cores() + 14}: trial " in line
    assert f"was begun with so many, and this machine has {available_cores()} cores" in line
    assert "another --store" in line


def test_rows_are_sorted_by_numbers_as_numbers(bert: str, tmp_path: Path) -> None:
    axes = {"model": [bert], "dataset": ["toy"], "clients": [2], "seed": [10, 2, 0]}
    plan = make_plan(SweepSpec("seeds", axes, LEARNS))

    header, body = closing.rows(plan, LaunchResult.of_store(tmp_path, plan))

    assert [row[header.index("seed")] for row in body] == ["0", "0", "2", "2", "10", "10"]


def test_the_table_is_given_as_markdown_and_csv_too(
    plan: Plan, write_log: Write, tmp_path: Path
) -> None:
    for trial, accuracies in zip(plan.trials, (LEARNED, MISSES, [0.5, 0.84]), strict=True):
        write_log(trial, accuracies)
    report = launched(plan, tmp_path)

    markdown, text = closing.as_artifacts(plan, report)

    assert markdown.splitlines()[2].startswith("| 1 | 0.800 | 100 % |")
    one, two, eight = csv.DictReader(io.StringIO(text))
    assert [row["clients"] for row in (one, two, eight)] == ["1", "2", "8"]
    assert (float(two["accuracy"]), int(two["accuracy_round"])) == (0.84, 1)
    assert float(two["relative_accuracy"]) == pytest.approx(0.84 / 0.8)
    assert (two["rounds_to_target"], two["last_round"]) == ("1", "1")
    assert (eight["rounds_to_target"], eight["steps_to_target"]) == ("", "")
    assert (eight["accuracy_round"], eight["outcome"]) == ("2", "not_reached")
    assert (one["seconds"], one["collapsed"]) == ("1.5", "false")


def test_every_model_has_its_sentence_and_seeds_share_one(
    bert: str, tiny: Path, write_log: Write, tmp_path: Path
) -> None:
    axes = {
        "model": [bert, str(tiny / "albert")],
        "dataset": ["toy"],
        "clients": [2, 8],
        "seed": [0, 1, 2],
    }
    rounds = {"budget_rounds": 2, "max_rounds": 4}
    plan = make_plan(SweepSpec("seeds", axes, {**LEARNS, **rounds}))
    for trial in plan.trials:
        clients, seed = trial.config.clients, trial.config.seed
        if clients == 1:
            write_log(trial, LEARNED)
        elif clients == 8 and trial.config.model == bert:
            write_log(trial, ([0.5, 0.65, 0.75], REACHES, [0.5] * 5)[seed])
        else:
            write_log(trial, MISSES)

    of_bert, of_albert = sentences(plan, launched(plan, tmp_path))

    assert of_bert.startswith(
        "Spread over 8 clients, bert reaches its target on toy in 2 of 3 seeds after 3 rounds in "
        "the median ("
    )
    assert of_bert.endswith(" It learned nothing in 1 of 3 seeds.")
    assert "albert does not reach its target on toy within 4 rounds" in of_albert
    assert "(it ends at 0.650)" in of_albert


def test_more_comparisons_than_anybody_reads_are_left_to_the_table(
    bert: str, write_log: Write, tmp_path: Path
) -> None:
    rates = [0.01 * number for number in range(1, 10)]
    axes = {"model": [bert], "dataset": ["toy"], "clients": [2], "learning_rate": rates}
    rounds = {"budget_rounds": 2, "max_rounds": 4}
    plan = make_plan(SweepSpec("rates", axes, {**LEARNS, **rounds}))
    for trial in plan.trials:
        write_log(trial, LEARNED if trial.config.clients == 1 else MISSES)

    said = sentences(plan, launched(plan, tmp_path))

    assert len(said) == 7
    assert "bert with learning_rate 0.01 does not reach" in said[0]
    assert said[-1] == "Of 3 more comparisons see the table."


def test_without_ray_trials_run_in_the_order_of_the_plan(
    bert: str, write_log: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = {"model": [bert], "dataset": ["toy"], "clients": [2, 4], "seed": [0, 1]}
    plan = make_plan(SweepSpec("seeds", axes, {**LEARNS, "budget_rounds": 2, "max_rounds": 4}))
    ran: list[str] = []

    def simulated(trial: Trial, *_: object) -> Iterator[Mapping[str, Any]]:
        ran.append(trial.trial_id)
        write_log(trial, LEARNED if trial.config.clients == 1 else REACHES)
        return iter(())

    monkeypatch.setattr(in_process, "run_trial", simulated)

    report = Launch(plan, tmp_path, Silent(), None).run(in_process.run_here)

    assert ran == [trial.trial_id for trial in plan.trials]
    assert report.exit_code == 0


# To the end, with MLflow. test_ray.py has the same with Ray where that makes a difference.


def test_a_baseline_at_chance_defines_no_target(bert: str, tmp_path: Path) -> None:
    uri = new_database(tmp_path)

    done = call(*toy_run(bert, "4", **FEW | {"learning_rate": 1e-9}), "--no-ray", folder=tmp_path)

    assert done.code == 0, done.everything
    assert re.search(r"│ +4 │.*│ target_undefined, collapsed +│", done.out)
    assert "learned nothing" in done.out
    run = trial_runs(MlflowClient(uri), "bert-toy")[4]
    assert run.data.tags["fedtune.outcome"] == "target_undefined"
    assert "summary/target_accuracy" not in run.data.metrics
    assert "summary/rounds_to_target" not in run.data.metrics


def test_a_baseline_that_diverges_leaves_its_siblings_waiting(bert: str, tmp_path: Path) -> None:
    uri = new_database(tmp_path)

    done = call(*toy_run(bert, "4", **FEW | {"learning_rate": 1e30}), "--no-ray", folder=tmp_path)

    assert done.code == 1, done.everything
    runs = trial_runs(MlflowClient(uri), "bert-toy")
    assert {k: run.data.tags["fedtune.outcome"] for k, run in runs.items()} == {
        1: "diverged",
        4: "waiting",
    }
    assert runs[1].data.tags["fedtune.diverged"] == "round 1, client 0"
