"""A vector for each client, on disk: the one part of a trial's state that grows with K."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_READ_AND_WRITE = os.O_RDWR | getattr(os, "O_BINARY", 0)
#: A system reads and writes 2 GiB at a time at the most.
_MOST_AT_ONCE = 2**28


class ClientVectors:
    """Two places, (num_parameters,) fp32, for each client, in one file.

    A new vector goes to the place that does not hold the present one, so that what the last
    checkpoint refers to stays as it is until the next one has been written: who keeps the numbers
    of the places (in a checkpoint) can go back to any round that was committed last. The file is
    sparse: a client that never trained takes no room. Without a ``path`` it is gone with the
    process. It is read and written, not mapped into memory: a disk that is full is then an OSError,
    and not the end of the process.
    """

    EMPTY = -1

    def __init__(self, path: Path | None, num_clients: int, num_parameters: int):
        self._path, self._num_parameters = path, num_parameters
        with tempfile.TemporaryFile() if path is None else path.open("ab") as file:
            file.truncate(self.bytes_on_disk(num_clients, num_parameters))
            self._file = os.dup(file.fileno()) if path is None else os.open(path, _READ_AND_WRITE)

    @staticmethod
    def bytes_on_disk(num_clients: int, num_parameters: int) -> int:
        """The most that the file takes."""
        return 2 * num_clients * num_parameters * 4

    def read(self, client_id: int, slot: int) -> Tensor:
        """A copy of a client's vector, (num_parameters,) on the CPU; zeros where it is EMPTY."""
        vector = np.zeros(self._num_parameters, np.float32)
        if slot != self.EMPTY:
            os.lseek(self._file, self._place(client_id, slot), os.SEEK_SET)
            left = vector.data.cast("B")
            with self._named():
                while len(left) and (found := os.read(self._file, min(len(left), _MOST_AT_ONCE))):
                    left[: len(found)] = found
                    left = left[len(found) :]
        return torch.from_numpy(vector)

    def write(self, client_id: int, slot: int, vector: Tensor) -> int:
        """Keep a client's new vector beside the one in ``slot``; the place that it went to."""
        new = 0 if slot == self.EMPTY else 1 - slot
        os.lseek(self._file, self._place(client_id, new), os.SEEK_SET)
        left = vector.detach().cpu().contiguous().numpy().data.cast("B")
        with self._named():
            while len(left):
                left = left[os.write(self._file, left[:_MOST_AT_ONCE]) :]
        return new

    def digest(self, client_id: int, slot: int) -> int:
        """What tells a client's vector from any other: 64 bits of its SHA-256; 0 where EMPTY."""
        if slot == self.EMPTY:
            return 0
        whole = hashlib.sha256(self.read(client_id, slot).numpy().data).digest()
        return int.from_bytes(whole[:8], "little", signed=True)

    def flush(self) -> None:
        """Bring everything that was written to the disk."""
        with self._named():
            os.fsync(self._file)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What the system says of a file that it knows by number alone, with its name."""
        try:
            yield
        except OSError as error:
            name = "a temporary file" if self._path is None else str(self._path)
            raise OSError(error.errno, error.strerror, name) from error

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def _place(self, client_id: int, slot: int) -> int:
        return (2 * client_id + slot) * self._num_parameters * 4
