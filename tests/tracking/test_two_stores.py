"""Two stores that track the same trials of one sweep on one server: each round once."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, ViewType
from support import (
    FEW,
    Done,
    assert_whole,
    call,
    new_database,
    points,
    sweep_run,
    toy_run,
    trial_configs,
    trial_runs,
)

from fedtune.plan.plan import Plan
from fedtune.plan.plan_file import save_plan
from fedtune.tracking import claims, names
from fedtune.tracking.claims import Claim
from fedtune.tracking.points import PEAK_MEMORY
from fedtune.tracking.projection import Projection
from fedtune.trial.folder import TrialFolder
from fedtune.trial.locks import TrialInUse, launching
from fedtune.trial.results import read_result

Write = Callable[..., None]

#: Accuracies of the trials of ``plan``: K = 1, 8 and 2.
ENDED = ([0.5, 0.7, 0.8], [0.5, 0.6, 0.6, 0.6, 0.6], [0.5, 0.65, 0.65, 0.75])


@pytest.fixture
def stores(plan: Plan, write_log: Write, tmp_path: Path) -> tuple[Path, Path]:
    """Two stores with the same trials, begun at two times."""
    for trial, accuracies in zip(plan.trials, ENDED, strict=True):
        write_log(trial, accuracies)
    save_plan(plan, tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    for number, store in enumerate((first, second)):
        shutil.copytree(tmp_path, store, ignore=shutil.ignore_patterns("first", "second"))
        for path in store.glob("*/config.yaml"):
            lines = path.read_text().splitlines()
            begun = 1_700_000_000_000 + 1000 * number
            told = [f"begun_ms: {begun}" if "begun_ms" in line else line for line in lines]
            path.write_text("\n".join(told) + "\n")
    return first, second


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return new_database(tmp_path)


def opened(uri: str, store: Path) -> Projection:
    projection = Projection(uri, "study", store=store, inherit=False)
    projection.open_sweep()
    return projection


def sync(uri: str, store: Path) -> Done:
    done = call("sync", "--tracking-uri", uri, "--store", str(store), folder=store)
    assert done.code == 0, done.everything
    return done


def steps(client: MlflowClient) -> dict[int, list[int]]:
    """The rounds that MLflow has of each trial, with what is there twice."""
    runs = trial_runs(client, "study")
    return {k: [step for step, _ in points(client, run)["test/loss"]] for k, run in runs.items()}


ROUNDS = {1: [0, 1, 2], 8: [0, 1, 2, 3, 4], 2: [0, 1, 2, 3]}


def test_a_trial_that_another_store_is_at_work_on_is_left_to_it(
    plan: Plan, stores: tuple[Path, Path], uri: str
) -> None:
    first, second = stores
    trial = plan.trials[0]
    one, other = opened(uri, first), opened(uri, second)
    with launching(first, [trial.trial_id]):
        result = read_result(first, trial)
        one.project(replace(result, records=result.records[:2]))
        owner = f"process {os.getpid()} on .*, which tracks it from the store {first}"
        with pytest.raises(TrialInUse, match=owner):
            other.project(read_result(second, trial))
        with pytest.raises(TrialInUse, match=owner):
            other.check_free({trial.trial_id: 0})
        other.check_free({plan.trials[1].trial_id: 0})
        assert "1 trial left to whoever is at work there" in sync(uri, second).out
        one.project(result)
    other.check_free({trial.trial_id: 0})
    assert other.project(read_result(second, trial), "FINISHED") == 0

    client = MlflowClient(uri)
    assert steps(client) == ROUNDS
    tags = trial_runs(client, "study")[1].data.tags
    assert json.loads(tags[names.WRITER])["store"] == str(second)


@pytest.mark.parametrize("theirs", [583.1, 571.0, None])
def test_the_memory_that_a_trial_took_is_told_once_though_every_store_has_its_own(
    theirs: float | None, plan: Plan, stores: tuple[Path, Path], uri: str
) -> None:
    trial = plan.trials[0]
    for store, peak in zip(stores, (577.9, theirs), strict=True):
        if peak:
            TrialFolder(store, trial.trial_id).write_peak_memory(peak)
    client = MlflowClient(uri)
    sync(uri, stores[0])
    run = trial_runs(client, "study")[1].info.run_id
    for store in (stores[1], stores[0], stores[1]):
        sync(uri, store)
        again = trial_runs(client, "study")[1]
        assert points(client, again)[PEAK_MEMORY] == [(2, 577.9)]
        assert again.info.run_id == run


def test_sync_mends_a_run_with_two_peaks(plan: Plan, stores: tuple[Path, Path], uri: str) -> None:
    """As versions have left it that told each store's own."""
    store, client = stores[0], MlflowClient(uri)
    TrialFolder(store, plan.trials[0].trial_id).write_peak_memory(577.9)
    sync(uri, store)
    run_id = trial_runs(client, "study")[1].info.run_id
    client.log_metric(run_id, PEAK_MEMORY, 583.1, step=2)
    assert "1 trial made anew that stood there twice" in sync(uri, store).out
    assert points(client, trial_runs(client, "study")[1])[PEAK_MEMORY] == [(2, 577.9)]


def test_who_is_overtaken_stops_and_goes_on_when_the_other_has_ended(
    plan: Plan, stores: tuple[Path, Path], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a machine was silent for so long that it was taken for dead."""
    first, second = stores
    trial = plan.trials[1]
    one, other = opened(uri, first), opened(uri, second)
    result = read_result(first, trial)
    one.project(replace(result, records=result.records[:2]))
    with launching(second, [trial.trial_id]):
        other.project(replace(read_result(second, trial), records=result.records[:3]))
        with pytest.raises(TrialInUse, match=f"from the store {second}"):
            one.project(result)
    assert one.project(result, "FINISHED") == 2

    client = MlflowClient(uri)
    assert steps(client) == {8: ROUNDS[8]}
    history = client.get_metric_history(trial_runs(client, "study")[8].info.run_id, "test/loss")
    times = [point.timestamp for point in sorted(history, key=lambda point: point.step)]
    assert times == [1_700_000_000_000 + 500 * (n + 1) for n in range(5)], "of one trial"


def test_of_two_that_make_a_run_in_the_same_moment_one_does(
    plan: Plan, stores: tuple[Path, Path], uri: str
) -> None:
    trial = plan.trials[0]
    client = MlflowClient(uri)
    sides = [(opened(uri, store), read_result(store, trial)) for store in stores]
    held = [launching(store, [trial.trial_id]) for store in stores]
    both = threading.Barrier(2)
    refused: list[str] = []

    def write(projection: Projection, result: Any) -> None:
        make = projection.client.create_run

        def together(*args: Any, **kwargs: Any) -> Any:
            made = make(*args, **kwargs)
            with suppress(threading.BrokenBarrierError):
                both.wait(20)
            return made

        projection.client.__dict__["create_run"] = together
        try:
            projection.project(result)
        except TrialInUse as error:
            refused.append(str(error))

    for lock in held:
        lock.__enter__()
    threads = [threading.Thread(target=write, args=side) for side in sides]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for lock in held:
        lock.__exit__(None, None, None)

    assert len(refused) == 1
    assert steps(client) == {1: ROUNDS[1]}


@pytest.mark.parametrize("silent_s", [10, 1000])
def test_a_writer_of_another_machine_lives_as_long_as_it_gives_signs(
    plan: Plan, stores: tuple[Path, Path], uri: str, silent_s: float
) -> None:
    first, second = stores
    trial = plan.trials[0]
    result = read_result(first, trial)
    opened(uri, first).project(replace(result, records=result.records[:1]))
    client = MlflowClient(uri)
    run_id = trial_runs(client, "study")[1].info.run_id
    now = round(1000 * (time.time() - silent_s))
    for store in (str(first), str(second)):  # a folder of that name may be another one there
        claim = Claim(1, "elsewhere", store, 5, now)
        client.set_tag(run_id, names.WRITER, claim.text())
        if silent_s < claims.DEAD_S:
            with pytest.raises(TrialInUse, match="process 1 on elsewhere"):
                opened(uri, second).project(read_result(second, trial))
        else:
            opened(uri, second).project(read_result(second, trial))
    begun = int(read_result(second, trial).origin["begun_ms"])
    shared = Claim(1, "elsewhere", str(second), begun, round(1000 * time.time()))
    client.set_tag(run_id, names.WRITER, shared.text())
    opened(uri, second).project(read_result(second, trial), "FINISHED")
    assert steps(client) == {1: ROUNDS[1]}


def test_signs_of_life_are_given_while_a_round_lasts(
    plan: Plan, stores: tuple[Path, Path], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = plan.trials[0]
    projection = opened(uri, stores[0])
    projection.project(read_result(stores[0], trial))
    client = MlflowClient(uri)

    def told() -> int:
        return int(json.loads(trial_runs(client, "study")[1].data.tags[names.WRITER])["at_ms"])

    before = told()
    projection.keep_alive()
    assert told() == before, "not yet"
    monkeypatch.setattr(claims, "RENEW_S", 0.0)
    projection.keep_alive()
    assert told() > before
    projection.project(read_result(stores[0], trial), "FINISHED")
    ended = told()
    projection.keep_alive()
    assert told() == ended


def test_sync_mends_what_is_there_twice(plan: Plan, stores: tuple[Path, Path], uri: str) -> None:
    """Points, ends and whole runs, as two launches of earlier versions left them."""
    first, _ = stores
    client = MlflowClient(uri)
    sync(uri, first)
    runs, parent = trial_runs(client, "study"), sweep_run(client, "study").info

    def again(key: str, clients: int) -> None:
        run_id = runs[clients].info.run_id
        point = client.get_metric_history(run_id, key)[-1]
        late = Metric(key, point.value, point.timestamp + 7, point.step)
        client.log_batch(run_id, metrics=[late])

    again("steps/sequential", 8)
    again("test/loss", 8)
    again("summary/final_accuracy", 1)
    tags = {k: v for k, v in runs[2].data.tags.items() if k.startswith("fedtune.")}
    twin = client.create_run(parent.experiment_id, tags=tags)
    sweep_tags = dict(sweep_run(client, "study").data.tags)
    client.create_run(parent.experiment_id, tags=sweep_tags)
    key = "by_clients/final_accuracy_best"
    (point, *_) = client.get_metric_history(parent.run_id, key)
    client.log_metric(parent.run_id, key, point.value, point.timestamp + 7, point.step)

    assert ", 3 trials made anew that stood there twice" in sync(uri, first).out

    assert steps(client) == ROUNDS
    assert_whole(client, "study", first)
    run = sweep_run(client, "study")
    assert [step for step, _ in points(client, run)[key]] == [1, 2, 8]
    parents = {r.data.tags[names.PARENT] for r in trial_runs(client, "study").values()}
    assert parents == {run.info.run_id}
    assert client.get_run(twin.info.run_id).info.lifecycle_stage in ("active", "deleted")
    assert "0 rounds added\n" in sync(uri, first).out


def test_a_launch_of_trials_that_another_store_tracks_is_refused(bert: str, tmp_path: Path) -> None:
    uri, first = new_database(tmp_path), tmp_path / "first"

    def launch(name: str, store: str) -> Done:
        args = toy_run(bert, "4", name=name, **FEW)
        where = ["--no-ray", "--tracking-uri", uri, "--store", store]
        return call(*args, *where, folder=tmp_path)

    assert launch("study", "first").code == 0
    client = MlflowClient(uri)
    run, trial_id = trial_runs(client, "study")[4], trial_configs(first)[4]["trial_id"]
    client.update_run(run.info.run_id, status="RUNNING")
    with TrialFolder(first, trial_id).lock():  # as while it is at work on a later round
        done = launch("study", "second")
        assert done.code == 2, done.everything
        (line,) = done.err.splitlines()
        assert line.startswith(f"fedtune: trial {trial_id} is in use by process {os.getpid()} on ")
        assert line.endswith(f"which tracks it from the store {first}")
        assert not (tmp_path / "second").exists()
        assert launch("other", "third").code == 0, "another sweep has runs of its own"

    assert launch("study", "second").code == 0
    assert_whole(client, "study", first)
    assert len(client.search_runs([run.info.experiment_id], run_view_type=ViewType.ALL)) == 6
