"""Processes that take turns: round by round, so that one computes at a time.

What else the machine does meets all of them alike, and each has a peak memory of its own. The other
side of the talk is `benchmarks.rounds.common.Turns`.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environments import LeftOut, reason_in


@dataclass(frozen=True)
class Player:
    """A process to start: its name, its command and what it has in its environment."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


@dataclass
class Running:
    """A started player, and what is known of it so far; ``seconds`` are of all rounds."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    patience_s: float
    started_s: float = 0.0
    version: str = ""
    peak_mb: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def ask(self, question: str, answer: str) -> float:
        """Say ``question``; gives the number after the word ``answer`` in the reply."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has gone; `expect` says why
            print(question, file=self.process.stdin, flush=True)
        return float(self.expect(answer))

    def expect(self, word: str) -> str:
        """What comes after ``word`` in the next line; LeftOut where there is none.

        It never says two lines in a row, so nothing waits in a buffer that `select` cannot see.
        """
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], self.patience_s)[0]:
            raise LeftOut(f"silent for {self.patience_s:.0f} s")
        first, _, rest = self.process.stdout.readline().strip().partition(" ")
        if first != word:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            raise LeftOut(f"it failed: {reason_in(self.log.read_text(errors='replace'))}")
        return rest

    def one_round(self) -> None:
        """Let it compute one round."""
        self.seconds.append(self.ask("go", "done"))

    def end(self) -> None:
        """All rounds are done: let it end, and tell the most memory it had."""
        self.peak_mb = self.ask("end", "peak")


@contextmanager
def started(player: Player, log: Path, patience_s: float) -> Iterator[Running]:
    """Start a player and wait until it is ready; it is gone afterwards.

    What it says besides goes to ``log``. Raises LeftOut where it fails.
    """
    begin = time.perf_counter()
    with log.open("w") as errors:
        process = subprocess.Popen(
            player.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **player.environment},
            start_new_session=True,
        )
    try:
        running = Running(player.name, process, log, patience_s)
        running.version = running.expect("ready")
        running.started_s = time.perf_counter() - begin
        yield running
    finally:
        stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """Close the talk; a peer that is done ends by itself, any other is made to."""
    for end in (process.stdin, process.stdout):
        if end is not None:
            with suppress(BrokenPipeError):
                end.close()
    for way_out in (None, signal.SIGTERM, signal.SIGKILL):
        with suppress(subprocess.TimeoutExpired, ProcessLookupError):
            if way_out is not None:
                os.killpg(process.pid, way_out)
            process.wait(30)
            return


def take_turns(
    players: Sequence[Player], rounds: int, logs: Path, patience_s: float = 3600
) -> tuple[list[Running], dict[str, str]]:
    """All rounds of all players; gives those that finished, and why the others did not."""
    playing: list[Running] = []
    left_out: dict[str, str] = {}

    def attempt(name: str, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except LeftOut as reason:
            left_out[name] = str(reason)
            return None

    with ExitStack() as processes:
        for player in players:
            process = started(player, logs / f"{player.name}.log", patience_s)
            running = attempt(player.name, lambda p=process: processes.enter_context(p))
            playing += [running] if running else []
        for turn in range(rounds):
            first = turn % max(len(playing), 1)  # nobody is always the one after the slowest
            for running in playing[first:] + playing[:first]:
                if running.name not in left_out:
                    attempt(running.name, running.one_round)
        for running in playing:
            if running.name not in left_out:
                attempt(running.name, running.end)
    return [running for running in playing if running.name not in left_out], left_out
