"""Peak memory: what a process had before the trial is not the trial's."""

import subprocess
import sys
from pathlib import Path

import pytest

from fedtune.trial.folder import TrialFolder
from fedtune.trial.memory import PeakMemory

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
