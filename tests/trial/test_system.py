"""Samples of what a trial's process takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from quick import folder_of, quick, run, take

from fedtune import simulate
from fedtune.trial import system
from fedtune.trial.system import SAMPLE_MARKER, read_samples


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "INTERVAL_S", 0.02)


def test_samples_are_taken_on_request_and_change_no_number(
    bert: str, tmp_path: Path, often: None
) -> None:
    asked, plain = quick(bert, system_metrics=True), quick(bert)

    assert run(asked, tmp_path / "asked") == run(plain, tmp_path / "plain")

    assert not folder_of(plain, tmp_path / "plain").samples.exists()
    samples = read_samples(folder_of(asked, tmp_path / "asked").samples)
    assert len(samples) >= 2
    moments = [sample["unix_ms"] for sample in samples]
    assert moments == sorted(moments)
    for sample in samples:
        assert sample[SAMPLE_MARKER] >= 0
        assert 50 < sample["system/process_memory_megabytes"] < 50_000
    assert max(sample[SAMPLE_MARKER] for sample in samples) > 0


def test_a_trial_that_goes_on_adds_to_its_samples(
    bert: str, tmp_path: Path, often: None, every_round: None
) -> None:
    config = quick(bert, system_metrics=True)
    take(simulate(config, tmp_path), 2)
    path = folder_of(config, tmp_path).samples
    before = read_samples(path)
    assert before, "one is taken at the end, whenever that is"
    with path.open("a") as file:
        file.write('{"unix_ms": 12')  # the process was killed while it wrote

    run(config, tmp_path)

    after = read_samples(path)
    assert after[: len(before)] == before
    assert len(after) > len(before)
