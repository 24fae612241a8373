"""A vector for each client, on disk: the one part of a trial's state that grows with K."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class ClientVectors:
    """Two places, (num_parameters,) fp32, for each client, in one memory-mapped file.

    A new vector goes to the place that does not hold the present one, so that what the last
    checkpoint refers to stays as it is until the next one has been written: who keeps the numbers
    of the places (in a checkpoint) can go back to any round that was committed last. The file is
    sparse: a client that never trained takes no room. Without a ``path`` it is gone with the
    process.
    """

    EMPTY = -1

    def __init__(self, path: Path | None, num_clients: int, num_parameters: int):
        shape = (num_clients, 2, num_parameters)
        with tempfile.TemporaryFile() if path is None else path.open("ab+") as file:
            file.truncate(self.bytes_on_disk(num_clients, num_parameters))
            # The mapping keeps the file open.
            self._vectors = np.memmap(file, np.float32, "r+", shape=shape)

    @staticmethod
    def bytes_on_disk(num_clients: int, num_parameters: int) -> int:
        """The most that the file takes."""
        return 2 * num_clients * num_parameters * 4

    def read(self, client_id: int, slot: int) -> Tensor:
        """A copy of a client's vector, (num_parameters,) on the CPU; zeros where it is EMPTY."""
        if slot == self.EMPTY:
            return torch.zeros(self._vectors.shape[2])
        return torch.from_numpy(np.array(self._vectors[client_id, slot]))

    def write(self, client_id: int, slot: int, vector: Tensor) -> int:
        """Keep a client's new vector beside the one in ``slot``; the place that it went to."""
        new = 0 if slot == self.EMPTY else 1 - slot
        self._vectors[client_id, new] = vector.detach().cpu().numpy()
        return new

    def digest(self, client_id: int, slot: int) -> int:
        """What tells a client's vector from any other: 64 bits of its SHA-256; 0 where EMPTY."""
        if slot == self.EMPTY:
            return 0
        whole = hashlib.sha256(self.read(client_id, slot).numpy().data).digest()
        return int.from_bytes(whole[:8], "little", signed=True)

    def flush(self) -> None:
        """Bring everything that was written to the disk."""
        self._vectors.flush()
