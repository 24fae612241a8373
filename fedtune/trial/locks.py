"""Who is at work in a store.

Every lock belongs to the operating system (``filelock``), so it is gone with the process that held
it, however that ended. Three are held: ``<store>/<trial id>/lock`` by whoever simulates the trial;
``<store>/launches/NAME.lock`` by a launch, one for all its trials, which it lists;
``<store>/launches/lock`` for the moment in which a launch looks for others, or a plan is changed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from fedtune.errors import BadInput, Refusal
from fedtune.paths import link_fault

#: How long one waits for another that reads and changes a plan. Plans of thousands take seconds.
_PATIENCE_S = 120.0


class TrialInUse(Refusal):
    """Another process holds the trial; the message names it."""

    def __init__(self, trial_id: str, owner: str):
        self.trial_id, self.owner = trial_id, owner
        super().__init__(f"trial {trial_id} is in use by {owner}")

    def __reduce__(self) -> tuple[type[TrialInUse], tuple[str, str]]:
        return type(self), (self.trial_id, self.owner)


def me() -> str:
    """How this process is named to others."""
    return f"process {os.getpid()} on {socket.gethostname()}"


@contextmanager
def locked(path: Path, wait_s: float) -> Iterator[IO[str] | None]:
    """Hold the lock file at ``path`` and give it open, with this process named in it.

    Gives None where another process still has it after ``wait_s`` seconds; :func:`owner` names it.
    Raises Refusal where something else is there than a file.
    """
    if path.exists() and not path.is_file():
        raise Refusal(f"{path} is no file, so that it cannot be locked; remove it")
    deadline = time.monotonic() + wait_s
    while True:
        with path.open("a+") as file:
            if not lock_descriptor(file.fileno(), blocking=False):
                if time.monotonic() >= deadline:
                    yield None
                    return
            elif is_at(file, path):
                _write(file, [me()])
                yield file
                return
            # Else it was removed, with its folder say, between opening and locking.
        time.sleep(0.1)


def is_at(file: IO[str], path: Path) -> bool:
    """Is the open file still what is at ``path``?"""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def is_held(path: Path) -> bool:
    """Has a process the lock at ``path``? Writes nothing: the store may be another's.

    Looks twice, since another that looks has it for an instant.
    """
    for pause in (0.05, 0.0) if path.is_file() else ():
        try:
            # Over NFS only what may be written can be locked.
            with path.open("r+" if os.access(path, os.W_OK) else "r") as file:
                if lock_descriptor(file.fileno(), blocking=False):
                    return False
        except OSError:
            return False
        time.sleep(pause)
    return path.is_file()


def owner(path: Path) -> str:
    """Who has the lock at ``path``, by what it wrote there."""
    return next(iter(_lines(path)), "") or "another process"


class Hold:
    """A hold on a trial or, by a launch, on several; of the process that took it alone."""

    def __init__(self, path: Path, file: IO[str]):
        self._path, self._file, self.process = path, file, os.getpid()

    @property
    def is_own(self) -> bool:
        """Is this the process that took it? A child that was forked has the open file too."""
        return os.getpid() == self.process

    @property
    def lasts(self) -> bool:
        """Is the file still the one that was locked? Not where store or trial were removed."""
        return is_at(self._file, self._path)


#: The locks of trials that this process holds. To wait for one would be to wait for oneself.
_held_here: set[Path] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_held_here.clear)

_HELD_HERE = (
    "an earlier simulate() of this process that was not read to its end; read it on, close() it, "
    "or let go of it"
)


@contextmanager
def simulating(path: Path, trial_id: str, wait_s: float) -> Iterator[Hold]:
    """Hold the trial whose lock file is at ``path``.

    Raises TrialInUse where another process still has it after ``wait_s`` seconds, or, at once,
    where this process has it already.
    """
    place = path.resolve()
    if place in _held_here:
        raise TrialInUse(trial_id, _HELD_HERE)
    with locked(path, wait_s) as file:
        if file is None:
            raise TrialInUse(trial_id, owner(path))
        _held_here.add(place)
        try:
            yield Hold(path, file)
        finally:
            _held_here.discard(place)


@contextmanager
def changing(store: Path) -> Iterator[None]:
    """Alone in the store for a moment, to read something and change it. Makes the store.

    Raises Refusal where another process does not make way.
    """
    path = _folder(store) / "lock"
    fault = link_fault(store, path, writes=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fault = f"{path.parent} cannot be made ({error.strerror})"
    if fault:
        raise BadInput.of("store", str(store), fault)
    with locked(path, _PATIENCE_S) as file:
        if file is None:
            raise Refusal(f"store={store}: {owner(path)} has been changing it for minutes")
        yield


@contextmanager
def launching(store: Path, trial_ids: Iterable[str]) -> Iterator[Hold]:
    """Hold these trials for a launch, with one open file for all of them.

    Raises TrialInUse where another launch has one.
    """
    path = _folder(store) / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.lock"
    wanted = list(trial_ids)
    with contextlib.ExitStack() as stack:
        with changing(store):
            taken = launched(store)
            for trial_id in wanted:
                if trial_id in taken:
                    raise TrialInUse(trial_id, taken[trial_id])
            _remove_left_behind(store)
            stack.callback(_remove, path)
            file = stack.enter_context(path.open("x+"))
            lock_descriptor(file.fileno(), blocking=False)
            _write(file, [me(), *wanted])
        yield Hold(path, file)


def launched(store: Path) -> dict[str, str]:
    """The trials that launches are at work on, with their owners. Writes nothing."""
    found: dict[str, str] = {}
    for path in _folder(store).glob("*.lock"):
        if not link_fault(store, path) and is_held(path):
            who, *trial_ids = [*_lines(path), ""]
            found |= dict.fromkeys(filter(None, trial_ids), who or "another launch")
    return found


def _remove_left_behind(store: Path) -> None:
    """Remove what launches that were killed have left."""
    for path in _folder(store).glob("*.lock"):
        if not is_held(path):
            _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _folder(store: Path) -> Path:
    return store / "launches"


def _write(file: IO[str], lines: Iterable[str]) -> None:
    file.truncate(0)
    # After one byte, since on Windows the byte that is locked cannot be read.
    file.write(" " + "\n".join(lines))
    file.flush()


def _lines(path: Path) -> list[str]:
    try:
        with path.open() as file:
            file.seek(1)
            return file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
