"""What trials ask Ray for, and which never could be given it. No Ray is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedtune.errors import BadInput
from fedtune.plan.plan import Plan
from fedtune.run import tuner
from fedtune.run.launch import Launch
from fedtune.run.progress import Silent
from fedtune.run.tuner import requests_of, slots_of

NODE = {"CPU": 4.0, "memory": 8e9}


@pytest.mark.parametrize("number", range(1, 17))
def test_as_many_slots_as_shares(number: int) -> None:
    share = int(1e4 / number) / 1e4
    assert slots_of([{"cpu": 0.0, "gpu": share, "memory": 0.0}], [{"GPU": 1.0}]) == number


def test_slots_are_what_is_scarcest_on_every_node() -> None:
    asked = [{"cpu": 1.0, "gpu": 0.0, "memory": 3e9}, {"cpu": 2.0, "gpu": 0.0, "memory": 3e9}]
    assert slots_of(asked, [NODE, NODE]) == 4


@pytest.fixture
def on(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the plan asks of a cluster with these nodes, its trials on this device."""

    def ask(nodes: list[dict[str, float]], device: str = "cpu", threads: int = 1) -> Any:
        monkeypatch.setattr(tuner, "_nodes", lambda: nodes)
        launch = Launch(plan, tmp_path, Silent(), None)
        for trial in launch.todo:
            changed = trial.config.model_copy(update={"device": device, "threads": threads})
            object.__setattr__(trial, "config", changed)
        return requests_of(launch, None)

    return ask


def test_one_machine_must_have_all_that_a_trial_needs(on: Any) -> None:
    gpus = {"CPU": 4.0, "GPU": 2.0, "memory": 8e9}
    assert {asked["gpu"] for asked in on([NODE, gpus], "cuda", 4).values()} == {1.0}
    with pytest.raises(BadInput, match=r"threads=8: needs a machine with 8 CPU, and this Ray has"):
        on([NODE, NODE], threads=8)
    with pytest.raises(BadInput, match=r"device='cuda': needs a machine with 8 CPU and 1 GPU"):
        on([{"CPU": 16.0, "memory": 8e9}, gpus], "cuda", 8)  # enough of each, on two machines


def test_memory_and_a_numbered_gpu_of_a_cluster_are_refused_in_plain_words(on: Any) -> None:
    with pytest.raises(BadInput, match=r"the largest machine of this Ray has only 0\.1 GB"):
        on([{"CPU": 4.0, "memory": 1e8}])
    with pytest.raises(BadInput, match="device='cuda:1': allowed on a cluster is 'cuda' or 'cpu'"):
        on([{"CPU": 4.0, "GPU": 2.0, "memory": 8e9}], "cuda:1")
