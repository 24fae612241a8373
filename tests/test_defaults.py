"""With nothing set but model, data and clients, a comparison on real text learns something."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import start, trial_configs

from fedtune.trial.identity import Trial
from fedtune.trial.results import read_result


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_defaults_learn(tmp_path: Path) -> None:
    asked = ("--model", "mini-bert", "--dataset", "bbc-news", "--clients", "8")
    done = start("run", *asked, folder=tmp_path).finish(timeout_s=900)

    assert done.code == 0, done.everything
    store = tmp_path / "trials"
    for config in trial_configs(store).values():
        summary = read_result(store, Trial.from_dict(config)).summary
        assert summary is not None
        assert summary.final_accuracy is not None
        assert summary.final_accuracy > 0.6, done.everything  # chance is 0.24
        assert not summary.collapsed
