"""The picture of who has what, in a dry run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support import call

from fedtune import TrialConfig
from fedtune.run.spread import picture
from fedtune.trial.inputs import partition_of
from fedtune.trial.prepare import prepare


def trial(bert: str, **settings: Any) -> Any:
    return prepare(TrialConfig(model=bert, dataset="toy", clients=3, max_length=32, **settings))


@pytest.mark.parametrize(
    ("partition", "settings"),
    [
        ("dirichlet", {"partition_alpha": 0.1}),
        ("shards", {"shards_per_client": 1}),
        ("quantity", {}),
        ("fixed-per-client", {"examples_per_client": 12}),
    ],
)
def test_bars_have_the_clients_sizes_and_classes(
    partition: str, settings: dict[str, Any], bert: str
) -> None:
    made = trial(bert, partition=partition, **settings)
    head, *clients = picture(made)
    sizes = partition_of(made).sizes
    assert head.startswith(f"{partition}, ")
    assert f"{min(sizes)}" in head
    assert len(clients) == 3
    for line, size in zip(clients, sizes, strict=True):
        found = re.fullmatch(r"  client \d+ +(\d+)  ([01]+)", line)
        assert found, line
        assert int(found[1]) == size
        assert len(found[2]) == max(round(40 * size / max(sizes)), 1)
        assert found[2] == "".join(sorted(found[2]))
        assert len(line) <= 80


def test_of_many_clients_the_first_are_shown(bert: str) -> None:
    made = trial(bert, partition="dirichlet").config.replace(clients=50)
    lines = picture(prepare(made))
    assert len(lines) == 1 + 8 + 1
    assert lines[-1] == "  and 42 more"


def test_a_dry_run_shows_each_way_once_at_the_most_clients(bert: str, tmp_path: Path) -> None:
    args = ["run", "--model", bert, "--dataset", "toy", "--clients", "2,4", "--dry-run", "--no-ray"]
    args += ["--max-length", "32"]
    differ = ["--partition", "iid,dirichlet,shards", "--strategy", "fedavg,scaffold"]
    done = call(*args, *differ, folder=tmp_path)
    assert done.code == 0, done.everything
    heads = [line for line in done.out.splitlines() if " clients of toy " in line]
    assert [line.split(",")[0] for line in heads] == ["dirichlet", "shards"]
    assert all(" 4 clients of toy (seed 0)" in line for line in heads)
    assert "of disk for what SCAFFOLD keeps of clients" in done.out
    plain = call(*args, folder=tmp_path)
    assert "clients of toy" not in plain.out
    assert "SCAFFOLD" not in plain.out
