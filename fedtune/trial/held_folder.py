"""A folder of the store: who holds it, and files that are read and written with care.

Whoever uses one meets no symbolic link out of the store, and writes to no folder that was taken
away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedtune.paths import link_fault
from fedtune.trial import locks
from fedtune.trial.durable import write_atomically
from fedtune.trial.locks import TrialInUse
from fedtune.trial.round_log import ANEW, DamagedFolder


class FolderGone(DamagedFolder):
    """The trial's folder, or its whole store, was removed while the trial ran."""


class HeldFolder:
    """The folder ``<store>/<trial_id>``, which one process holds at a time. Making one writes
    nothing.

    What is in it is read with care: DamagedFolder says where a file is none of this trial's, or a
    symbolic link out of the store.
    """

    def __init__(self, store: Path, trial_id: str):
        self.store = Path(store)
        self.path = self.store / trial_id
        self.trial_id = trial_id
        self._hold: locks.Hold | None = None

    # Who is at work

    @contextmanager
    def lock(self, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the trial; TrialInUse where another process still has it after ``wait_s`` seconds,
        or, at once, where this process has it already.

        The lock is the operating system's, so it is gone with the process that held it, however
        that ended.
        """
        self._make()
        path = self.path / "lock"
        self._check_to_open(path)
        with locks.simulating(path, self.trial_id, wait_s) as self._hold:
            try:
                yield
            finally:
                self._hold = None

    def wait_until_free(self, wait_s: float) -> None:
        """Return once no process simulates the trial; TrialInUse after ``wait_s`` seconds."""
        if (self.path / "lock").is_file():  # else nothing is written here
            with self.lock(wait_s):
                pass

    @property
    def in_use(self) -> bool:
        """Does a process simulate the trial? Writes nothing: the store may be another's."""
        return locks.is_held(self.path / "lock")

    # What is touched

    def _make(self) -> None:
        """Make the folder; FolderGone where it was taken away from who holds it."""
        if self._hold is not None:
            if not self._hold.is_own:
                raise TrialInUse(self.trial_id, f"process {self._hold.process}, which began it")
            if not self._hold.lasts:
                raise FolderGone(
                    f"{self.path} was removed or replaced while the trial ran, so no further round "
                    "can be kept; the same command starts the trial anew"
                )
            return
        self.check_to_write(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise DamagedFolder(f"{self.path} is no folder; {ANEW}") from None

    def write_json(self, name: str, value: object) -> None:
        """Write a small JSON file beside the log, atomically."""
        self._make()
        write_atomically(self.path / name, json.dumps(value, allow_nan=False) + "\n")

    def read_json(self, name: str, way_out: str = ANEW) -> dict[str, Any] | None:
        """The content of a small JSON file (an object), or None where there is none; DamagedFolder
        with the ``way_out`` where it is something else.
        """
        content = self._read(self.path / name)
        if content is None:
            return None
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise DamagedFolder(f"{self.path / name} is no JSON object; {way_out}")
        return value

    def file(self, path: Path) -> Path | None:
        """``path``, one of the trial's files; None where there is none."""
        self.check_to_read(path)
        return path if path.is_file() else None

    def _read(self, path: Path) -> bytes | None:
        """The content of one of the trial's files, or None where there is none."""
        try:
            return path.read_bytes() if self.file(path) else None
        except OSError as error:
            raise DamagedFolder(f"{path} cannot be read ({error.strerror})") from None

    def check_to_read(self, path: Path) -> None:
        """Raise DamagedFolder where reading ``path`` would leave the store."""
        fault = link_fault(self.store, path)
        if fault:
            raise DamagedFolder(fault)

    def check_to_write(self, path: Path) -> None:
        """Raise DamagedFolder where writing ``path`` would leave the store."""
        fault = link_fault(self.store, path, writes=True)
        if fault:
            raise DamagedFolder(fault)

    def _check_to_open(self, path: Path) -> None:
        """The same of a file that stays open, and is not replaced by a new one."""
        self.check_to_write(path)
        if path.is_dir():
            raise DamagedFolder(f"{path} is a folder, where a file belongs; {ANEW}")
