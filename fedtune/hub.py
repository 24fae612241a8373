"""Whether the Hugging Face hub can be used, found out once and quickly.

Without a network the Hugging Face libraries retry for 23 seconds (data sets) to 49 seconds (models)
before they give up, and then look at what they have cached. One short probe here spares that: where
the hub does not answer, the libraries are told to work offline, so cached copies are found at once.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import threading
import urllib.request
from urllib.parse import urlsplit

PROBE_SECONDS = 2.0
_TRUE = {"1", "ON", "YES", "TRUE"}


def go_offline_if_unreachable() -> bool:
    """Return whether the hub can be used; where it cannot, put the Hugging Face libraries offline.

    Whether the hub answers is found out once; whether the environment asks for offline work is
    looked at every time. Offline means ``HF_HUB_OFFLINE=1`` in the
    environment (child processes inherit it) and in those libraries that are imported already. With
    a proxy configured nothing is probed: only the proxy knows what can be reached.
    """
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if not asked_offline() and is_reachable(endpoint):
        return True
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in ("huggingface_hub.constants", "datasets.config"):
        if name in sys.modules:  # they read the environment only once, when they are imported
            vars(sys.modules[name])["HF_HUB_OFFLINE"] = True
    return False


@functools.cache
def is_reachable(endpoint: str) -> bool:
    """Return whether the hub at this address answers, or may behind a proxy; asked once each."""
    url = urlsplit(endpoint)
    return _has_proxy(url.scheme) or _answers(url.hostname, url.port)


def asked_offline() -> bool:
    """Return whether the environment asks for offline work, read as those libraries read it."""
    asked = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return asked.upper() in _TRUE


def _has_proxy(scheme: str) -> bool:
    proxies = urllib.request.getproxies_environment()
    return bool(proxies.get(scheme) or proxies.get("all"))


def _answers(host: str | None, port: int | None) -> bool:
    """Return whether a TCP connection to the host comes about within ``PROBE_SECONDS``."""
    connected = threading.Event()

    def connect() -> None:
        try:
            with socket.create_connection((host or "", port or 443), timeout=PROBE_SECONDS):
                connected.set()
        except OSError:
            pass  # refused, timed out or no such host: all mean that the hub is not there

    # A thread, because the timeout of a socket does not cover the look-up of the name, which can
    # block for half a minute where the resolver itself cannot be reached.
    probe = threading.Thread(target=connect, daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return connected.is_set()
