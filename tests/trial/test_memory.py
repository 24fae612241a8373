"""Peak memory: what a process had before the trial is not the trial's."""

import sys

import pytest

from fedtune.trial.memory import PeakMemory

MB = 10**6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux begins a peak anew")
def test_what_an_earlier_trial_freed_does_not_count() -> None:
    before = PeakMemory("cpu").megabytes()
    # Small blocks below one that stays: the C library keeps them when they are freed.
    blocks = [bytearray(8192) for _ in range(200 * MB // 8192)]
    with_blocks = PeakMemory("cpu").megabytes()
    assert with_blocks > before + 150
    last = blocks.pop()
    blocks.clear()
    assert PeakMemory("cpu").megabytes() < with_blocks - 150
    assert last


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux begins a peak anew")
def test_a_peak_that_has_passed_is_still_the_peak() -> None:
    memory = PeakMemory("cpu")
    before = memory.megabytes()
    block = bytearray(b"x") * (200 * MB)
    del block
    assert memory.megabytes() > before + 150
