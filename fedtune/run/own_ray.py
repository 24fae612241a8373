"""A Ray of a launch's own, on this machine: where its sockets are, who can reach it, and how long
one waits for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedtune.errors import Refusal, first_line
from fedtune.paths import can_be_made

#: How long the path of a socket can be, and what Ray adds to its folder: a session's name with the
#: time and a process's number, and the socket's.
_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
_RAYS_PART = len("/session_2026-11-26_09-00-00_000000_4194304/sockets/plasma_store")

#: How often Ray is started before it is given up. Ray waits half a minute for its own processes,
#: which a busy machine, or a disk that has just been mounted, may need for their first start.
_ATTEMPTS = 3

#: Seconds for the first of those processes, which Ray lets one choose.
_GCS_WAIT = ("RAY_gcs_server_port_wait_time_s", "120")


def start_own_ray(init: Callable[..., Any], **settings: Any) -> Callable[[], None]:
    """Start a Ray that is reached over the loopback only; gives what removes its files.

    Its files are in a folder that only this user can enter, with a path short enough for sockets.
    Raises Refusal, naming ``--no-ray``, where it does not start.
    """
    os.environ.setdefault(*_GCS_WAIT)
    for attempt in range(1, _ATTEMPTS + 1):
        folder = _folder_for_sockets()
        try:
            with _on_loopback():
                init(address="local", _temp_dir=str(folder), **settings)
            return lambda: shutil.rmtree(folder, ignore_errors=True)
        except Exception as error:  # Ray raises all kinds, a bare Exception for slow starts too
            _end_processes(error)
            shutil.rmtree(folder, ignore_errors=True)
            if attempt == _ATTEMPTS or "timed out" not in str(error).lower():
                raise Refusal(
                    f"Ray could not be started on this machine ({first_line(error)}); "
                    "try again when the machine is less busy, or use --no-ray"
                ) from None
    raise AssertionError("unreachable")


def _folder_for_sockets() -> Path:
    """A new folder with a short path. ``$RAY_TMPDIR`` and ``$TMPDIR`` come first, if they can be
    used.
    """
    asked = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    for place in map(Path, (asked, "/tmp", "/var/tmp", "/dev/shm")):
        length = len(os.fsencode(place / "ray-12345678")) + _RAYS_PART
        if length > _LONGEST_SOCKET or not can_be_made(place):
            continue
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix="ray-", dir=place))
    raise Refusal(
        f"TMPDIR={asked} cannot hold Ray's sockets (its path with Ray's own part has at most "
        f"{_LONGEST_SOCKET} bytes), and /tmp cannot be written to; set TMPDIR to a shorter folder, "
        "or use --no-ray"
    )


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have Ray listen on 127.0.0.1 alone, as it does by itself on macOS and Windows.

    On Linux it listens on all interfaces, for machines that join, and whoever reaches it can run
    code. There is no setting for one launch; the variable would be for clusters too.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _end_processes(error: Exception) -> None:
    """End what a start that failed has left; Ray keeps it only in the frames of the error."""
    trace = error.__traceback__
    while trace is not None:
        node = trace.tb_frame.f_locals.get("self")
        if node is not None and hasattr(node, "kill_all_processes"):
            with contextlib.suppress(Exception):
                node.kill_all_processes(check_alive=False, allow_graceful=False)
            return
        trace = trace.tb_next
