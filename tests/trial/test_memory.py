"""Peak memory: what a process had before the trial is not the trial's."""

import subprocess
import sys
from pathlib import Path

import pytest
from quick import quick

from fedtune.cost.speed import calibrate
from fedtune.trial.federation import Federation
from fedtune.trial.folder import TrialFolder
from fedtune.trial.memory import PeakMemory
from fedtune.trial.prepare import prepare

MB = 10**6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux begins a peak anew")
def test_a_peak_that_has_passed_is_still_the_peak_until_it_begins_anew() -> None:
    def now() -> float:
        peak = PeakMemory("cpu", first=True).megabytes()
        assert peak is not None
        return peak

    before, memory = now(), PeakMemory("cpu", first=True)
    block = bytearray(b"x") * (200 * MB)
    del block
    assert (memory.megabytes() or 0) > before + 150
    assert now() < before + 100


def test_the_peak_of_a_process_that_has_trained_before_is_not_told() -> None:
    assert PeakMemory("cpu", first=False).megabytes() is None


def test_a_system_that_tells_no_peak_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has neither /proc nor the module `resource`."""
    monkeypatch.setattr("fedtune.trial.memory._STATUS", Path("/nowhere"))
    monkeypatch.setitem(sys.modules, "resource", None)
    assert PeakMemory("cpu", first=True).megabytes() is None


def test_only_the_first_trial_of_a_process_has_its_peak_kept(bert: str, tmp_path: Path) -> None:
    program = (
        "import sys, fedtune\n"
        "for clients in (1, 2):\n"
        "    settings = dict(model=sys.argv[1], dataset='toy', clients=clients, max_length=32)\n"
        "    rounds = dict(budget_rounds=1, max_rounds=1, train_examples=32, threads=1)\n"
        "    config = fedtune.TrialConfig(**settings, **rounds)\n"
        "    list(fedtune.simulate(config, store=sys.argv[2]))\n"
    )
    subprocess.run([sys.executable, "-c", program, bert, str(tmp_path)], check=True)

    peaks = {}
    for folder in (TrialFolder(tmp_path, path.name) for path in tmp_path.iterdir()):
        peaks[folder.read_config()["clients"]] = folder.read_peak_memory()
    assert 50 < peaks[1] < 5_000
    assert peaks[2] is None


def test_a_trial_that_was_timed_before_has_its_peak_kept(
    bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch times its kinds of trials first; what it trains then is what the first one trains,
    unless there are several kinds.
    """
    monkeypatch.setattr(Federation, "rounds_here", 0)
    monkeypatch.setattr(Federation, "inputs_here", set())
    one, other = (prepare(quick(bert, clients=2, max_length=length)) for length in (8, 12))
    calibrate([one])
    assert Federation.is_first(one)
    assert not Federation.is_first(other)
    calibrate([one, other])
    assert not Federation.is_first(one)
