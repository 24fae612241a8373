"""However a sweep came about, its report has the same tables."""

from __future__ import annotations

import csv
import itertools
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import LEARNS, call, new_database, unpack

from fedtune.trial import simulation
from fedtune.trial.folder import TrialFolder
from tools import archive

#: What is measured, not computed.
FREE = ("minutes", "peak memory (MB)")


def tables(folder: Path, out: str = "report") -> dict[str, list[dict[str, str]]]:
    """The report's tables by name, without what may differ between two runs."""
    done = call("report", "study", "--out", out, folder=folder)
    assert done.code == 0, done.everything
    found = {}
    for path in sorted((folder / out / "tables").glob("*.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        found[path.stem] = [{k: v for k, v in row.items() if k not in FREE} for row in rows]
    return found


@pytest.fixture
def study(tiny: Path) -> str:
    return yaml.safe_dump(
        {
            "axes": {
                "model": [str(tiny / "bert"), str(tiny / "distilbert")],
                "clients": [1, 2, 4],
            },
            "set": {
                "dataset": "toy",
                "budget_rounds": 3,
                "max_rounds": 5,
                "stop": "budget-then-target",
                **LEARNS,
            },
        }
    )


@pytest.mark.slow
def test_two_launches_and_one_interrupted_five_times_give_the_same_tables(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every round is a place to stop.
    monkeypatch.setattr(simulation, "checkpoint_pause", lambda took_s: 0.0)
    folders = [tmp_path / name for name in ("first", "second", "interrupted")]
    for folder in folders:
        folder.mkdir()
        (folder / "study.yaml").write_text(study)
        new_database(folder)
    launch = ["sweep", "study.yaml", "--no-ray"]
    for folder in folders[:2]:
        assert call(*launch, folder=folder).code == 0

    commit = TrialFolder.commit
    count = itertools.count(1)

    def interrupted(self: TrialFolder, *args: Any) -> None:
        number = next(count)
        if number in (2, 8):
            raise KeyboardInterrupt  # before the round is committed
        commit(self, *args)
        if number in (5, 11, 16):
            raise KeyboardInterrupt  # after it, before anybody heard of it

    with monkeypatch.context() as patched:
        patched.setattr(TrialFolder, "commit", interrupted)
        codes = [call(*launch, folder=folders[2]).code for _ in range(6)]
    assert codes == [130] * 5 + [0]

    expected = tables(folders[0])
    assert {"trials", "by-clients", "to-target"} <= expected.keys()
    for folder in folders[1:]:
        assert tables(folder) == expected

    # An archive of its ended trials, taken in by a store that has never run anything.
    packed, elsewhere = tmp_path / "rounds.tar.gz", tmp_path / "elsewhere"
    assert archive.pack(folders[0] / "trials", "study", packed) == (6, 6)
    first = packed.read_bytes()
    archive.pack(folders[0] / "trials", None, packed)
    assert packed.read_bytes() == first
    (elsewhere / "trials").mkdir(parents=True)
    new_database(elsewhere)
    with tarfile.open(packed) as tar:
        names = tar.getnames()
    unpack(packed, elsewhere / "trials")
    assert not any("checkpoint" in name for name in names)
    for path in (elsewhere / "trials").rglob("*.yaml"):
        assert str(folders[0]) not in path.read_text()
    assert call("sync", folder=elsewhere).code == 0
    assert tables(elsewhere) == expected
    (elsewhere / "study.yaml").write_text(study)
    assert "nothing to run" in call(*launch, folder=elsewhere).out

    again = call(*launch, folder=folders[0])
    assert "nothing to run" in again.out
    assert tables(folders[0], "again") == expected
