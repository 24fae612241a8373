"""Launches that run at once in one store: plans that grow, trials in use, and few open files."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedtune.plan import plan_file
from fedtune.plan.plan import Plan
from fedtune.plan.plan_file import load_plan, plan_path
from fedtune.run.launch import Launch, LaunchResult
from fedtune.run.progress import Silent
from fedtune.trial.locks import TrialInUse, launched, launching


def test_plans_of_one_growing_sweep_that_are_saved_at_once_are_joined(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody has read before anybody writes, unless they wait for each other."""
    parts = [replace(plan, trials=(trial,), grows=True) for trial in plan.trials]
    both = threading.Barrier(len(parts))
    write = plan_file.write_atomically

    def late(path: Path, text: str) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        write(path, text)

    monkeypatch.setattr(plan_file, "write_atomically", late)
    threads = [
        threading.Thread(target=plan_file.save_plan, args=(part, tmp_path)) for part in parts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(load_plan(tmp_path, "study").by_id()) == set(plan.by_id())


@pytest.fixture
def few_files() -> Iterator[None]:
    """200 more open files than this process has from other tests (macOS allows 256 in all)."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 200, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def many(plan: Plan) -> Plan:
    """A plan of 400 trials, all but in name those of ``plan``."""
    trial = plan.trials[0]
    seeds = (replace(trial, config=trial.config.replace(seed=seed)) for seed in range(400))
    return replace(plan, trials=tuple(seeds))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells how many files are open")
def test_a_launch_of_hundreds_of_trials_opens_few_files(
    many: Plan, few_files: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fedtune.run.launch.save_plan", lambda plan, store: None
    )  # a minute of YAML
    before, during = open_files(), []

    def runner(launch: Launch) -> None:
        during.append(open_files())
        assert launched(tmp_path).keys() == many.by_id().keys()
        with pytest.raises(TrialInUse, match=f"process {os.getpid()} on"):
            Launch(replace(many, trials=many.trials[-1:]), tmp_path, Silent(), None).run(runner)

    report = Launch(many, tmp_path, Silent(), None).run(runner)

    assert len(report.failed) == 400, "nothing was run"
    assert during[0] - before < 5
    assert launched(tmp_path) == {}
    assert [path.name for path in (tmp_path / "launches").iterdir()] == ["lock"]


def test_launches_of_other_trials_do_not_wait(tmp_path: Path) -> None:
    with launching(tmp_path, ["a", "b"]), launching(tmp_path, ["c"]):
        assert launched(tmp_path).keys() == {"a", "b", "c"}
        with (
            pytest.raises(TrialInUse, match=rf"trial b is in use by process {os.getpid()} on"),
            launching(tmp_path, ["d", "b"]),
        ):
            pass
        assert launched(tmp_path).keys() == {"a", "b", "c"}, "nothing of it stays"


def test_what_a_killed_launch_held_is_free(tmp_path: Path) -> None:
    hold = (
        "import os, pathlib, sys\n"
        "from fedtune.trial.locks import launching\n"
        "with launching(pathlib.Path(sys.argv[1]), ['a']):\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", hold, str(tmp_path)]).returncode == 9
    assert len(list((tmp_path / "launches").glob("*.lock"))) == 1
    assert launched(tmp_path) == {}
    with launching(tmp_path, ["a"]):
        assert len(list((tmp_path / "launches").glob("*.lock"))) == 1, "the other was removed"


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_launch_whose_store_is_removed_says_so_and_starts_nothing_more(
    comes_back: bool, plan: Plan, tmp_path: Path
) -> None:
    store, released = tmp_path / "store", []

    def runner(launch: Launch) -> None:
        shutil.rmtree(store)
        if comes_back:
            with launching(store, ["0123456789ab"]):
                pass
        released.extend(launch.release(trial) for trial in launch.todo)

    store.mkdir()
    report = launch(plan, store, runner)

    assert released == [None, None, None]
    assert report.exit_code == 1
    reason = f"the store {store} was removed or replaced while the launch ran"
    assert report.waiting == dict.fromkeys(plan.by_id(), reason)
    assert store.exists() == comes_back
    assert not plan_path(store, plan.name).exists()


def launch(plan: Plan, store: Path, runner: object) -> LaunchResult:
    return Launch(plan, store, Silent(), None).run(runner)
