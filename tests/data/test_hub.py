"""The probe that decides whether the hub can be used."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from fedtune import hub


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # set, so that what the probe writes is undone
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_hub_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub.go_offline_if_unreachable()
    assert os.environ["HF_HUB_OFFLINE"] == ""
    assert hub.go_offline_if_unreachable(), "the answer is kept for the life of the process"


def test_a_hub_that_refuses_puts_the_libraries_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    assert not hub.go_offline_if_unreachable()
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.1)
    released, returned = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> None:
        released.wait(60)
        returned.set()
        raise OSError

    monkeypatch.setattr(socket, "create_connection", hang)
    assert not hub.go_offline_if_unreachable()
    assert not returned.is_set()
    released.set()


def test_nothing_is_probed_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setattr(hub, "_answers", lambda *_: pytest.fail("probed"))
    assert hub.go_offline_if_unreachable()


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_who_asks_for_offline_work_gets_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "yes")
    monkeypatch.setattr(hub, "_answers", lambda *_: pytest.fail("probed"))
    assert not hub.go_offline_if_unreachable()
