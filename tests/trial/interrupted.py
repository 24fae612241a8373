"""Kill trials with SIGKILL at chosen places: `python interrupted.py MODEL FOLDER`.

One process that has imported everything forks a child for every trial. It prints, as JSON lines,
what it did; then it holds the trial in ``FOLDER/held`` until its standard input is closed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from quick import folder_of, quick

from fedtune import TrialConfig, simulate
from fedtune.trial import durable, simulation
from fedtune.trial import folder as folder_module


def tell(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def in_child(work: Callable[[], None]) -> int:
    """Fork, do ``work`` in the child, and give its process id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def wait(child: int) -> tuple[int, int]:
    """The signal that ended a child, and its peak memory in KiB."""
    _, status, usage = os.wait4(child, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        sys.exit("a child failed")
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), usage.ru_maxrss


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after_records(config: TrialConfig, store: Path, count: int) -> None:
    """From outside, as soon as ``count`` rounds were shown: wherever the next one is by then."""
    reader, writer = os.pipe()

    def work() -> None:
        for _ in simulate(config, store):
            os.write(writer, b"r")

    child = in_child(work)
    os.close(writer)
    for _ in range(count):
        assert os.read(reader, 1) == b"r"
    os.kill(child, signal.SIGKILL)
    os.close(reader)
    wait(child)


def kill_in_commit(config: TrialConfig, store: Path, step: int) -> bool:
    """Before the ``step``-th thing that any commit does to the disk; False if there are fewer."""

    def work() -> None:
        steps, committing, saved = [0], [False], [False]

        def guard(home: Any, name: str) -> None:
            real = getattr(home, name)

            def guarded(*arguments: Any, **options: Any) -> Any:
                caller = sys._getframe(1).f_globals
                ours = any(caller is vars(module) for module in (folder_module, durable))
                saved[0] |= name == "write_text"  # of the syncs before, one is like another
                if committing[0] and ours and (saved[0] or name != "fsync"):
                    steps[0] += 1
                    if steps[0] == step:
                        if name == "write_text":  # half of it arrives
                            real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                        die()
                return real(*arguments, **options)

            setattr(home, name, guarded)

        for home, name in (
            (Path, "mkdir"),
            (Path, "rename"),
            (Path, "replace"),
            (Path, "write_text"),
            (os, "fsync"),
            (shutil, "rmtree"),
        ):
            guard(home, name)
        commit = folder_module.TrialFolder.commit

        def watched(self: Any, *arguments: Any) -> None:
            committing[0], saved[0] = True, False
            commit(self, *arguments)
            committing[0] = False

        folder_module.TrialFolder.commit = watched  # type: ignore[method-assign]
        for _ in simulate(config, store):
            pass

    signum, _ = wait(in_child(work))
    return signum == signal.SIGKILL


def peak_memory(config: TrialConfig) -> int:
    """KiB at the peak of a whole trial in a process of its own."""

    def work() -> None:
        rounds = [record["round"] for record in simulate(config)]
        assert rounds == [0, 1]

    return wait(in_child(work))[1]


def main(model: str, large_model: str, folder: Path) -> None:
    torch.set_num_threads(1)
    simulation.checkpoint_pause = lambda took_s: 0.0
    config = quick(model, max_rounds=2)
    list(simulate(config))  # imports and caches, which every child then has

    for count in range(4):
        kill_after_records(config, folder / f"records {count}", count)
    tell(killed_after_records=4)

    step = 1
    while kill_in_commit(config, folder / f"commit {step}", step):
        step += 1
    tell(killed_in_commits=step - 1)

    one_round = {"batch_size": 1, "budget_rounds": 1, "max_rounds": 1, "test_examples": 2}
    every = {"train_examples": "all", **one_round}
    tell(
        peak_of_a_small_model=peak_memory(quick(model, clients=2, **one_round)),
        peak_with_2=peak_memory(quick(large_model, clients=2, **every)),
        peak_with_256=peak_memory(quick(large_model, clients=256, **every)),
    )

    held = folder_of(config, folder / "held")
    with held.lock():
        tell(holding=os.getpid())
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
