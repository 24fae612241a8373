"""A trial that was killed goes on as if nothing had happened; memory does not grow with K."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from quick import files, folder_of, log_lines, quick, run
from transformers import BertConfig, BertModel

from fedtune import TrialConfig
from fedtune.trial import simulation
from fedtune.trial.locks import TrialInUse

HERE = Path(__file__).parent


@dataclass
class Killed:
    """What interrupted.py did, below ``folder``."""

    config: TrialConfig
    folder: Path
    told: dict[str, Any] = field(default_factory=dict)

    def stores(self, kind: str) -> list[Path]:
        return sorted(self.folder.glob(f"{kind} *"))


@pytest.fixture(scope="module")
def large_model(bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 16 MB, nearly all of it embeddings, which are quick to train."""
    folder = tmp_path_factory.mktemp("large")
    config = BertConfig(
        vocab_size=30_000,
        hidden_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    for path in Path(bert).glob("tokenizer*"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def killed(
    bert: str, large_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Killed]:
    """The trials that interrupted.py has killed, while it holds one more."""
    made = Killed(quick(bert, max_rounds=2), tmp_path_factory.mktemp("killed"))
    command = [sys.executable, HERE / "interrupted.py", bert, large_model, made.folder]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while "holding" not in made.told:
            line = process.stdout.readline()
            assert line, f"interrupted.py ended early, having told {made.told}"
            made.told |= json.loads(line)
        yield made
        process.communicate()
    assert process.returncode == 0


@pytest.fixture(scope="module")
def uninterrupted(killed: Killed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("uninterrupted")
    run(killed.config, store)
    return store


def assert_same_trial(config: TrialConfig, store: Path, expected: Path) -> None:
    """The same log bit for bit (times aside) and the same model, and nothing left over."""
    assert log_lines(config, store) == log_lines(config, expected), store.name
    made, wanted = (folder_of(config, place) for place in (store, expected))
    for name, content in files(wanted.checkpoint).items():
        if name != "state.json":
            assert (made.checkpoint / name).read_bytes() == content, f"{store.name}: {name}"
    # Peak memory is known of the first trial of a process only.
    aside = {"checkpoint.previous", "memory.json"}
    left = {path.name for path in made.path.iterdir()} - aside
    assert left == {path.name for path in wanted.path.iterdir()} - aside


def test_killed_from_outside_after_any_round_it_goes_on(
    killed: Killed, uninterrupted: Path
) -> None:
    stores = killed.stores("records")
    assert len(stores) >= killed.told["killed_after_records"] - 1  # one may not have begun
    for store in stores:
        run(killed.config, store)
        assert_same_trial(killed.config, store, uninterrupted)


def test_killed_at_any_step_of_a_commit_it_goes_on(killed: Killed, uninterrupted: Path) -> None:
    """A commit is whole or it never happened."""
    stores = killed.stores("commit")
    assert len(stores) == killed.told["killed_in_commits"] + 1  # and the one that was not killed
    assert len(stores) > 3 * 9, "three commits of many steps each"
    for store in stores:
        run(killed.config, store)
        assert_same_trial(killed.config, store, uninterrupted)


def test_a_trial_held_by_another_process_is_refused_and_its_owner_named(
    killed: Killed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "HANDOVER_S", 0.0)
    owner = f"process {killed.told['holding']} on {socket.gethostname()}"
    assert killed.told["holding"] != os.getpid()
    with pytest.raises(TrialInUse, match=re.escape(owner)):
        run(killed.config, killed.folder / "held")
    assert folder_of(killed.config, killed.folder / "held").records() == []


def test_memory_with_256_clients_is_that_with_2(killed: Killed, large_model: Path) -> None:
    """Peak resident memory of two processes, each forked from the same one and running one round.

    Both take 256 steps of one example each, so all that differs is the number of clients. Keeping
    as much as one more model per client would add 250 models; allowed is one in all.
    """
    model_kib = (large_model / "model.safetensors").stat().st_size / 1024
    few, many = killed.told["peak_with_2"], killed.told["peak_with_256"]
    assert few > killed.told["peak_of_a_small_model"] + 2 * model_kib, "a model can be seen"
    assert abs(many - few) < model_kib


def test_a_trial_needs_neither_ray_nor_mlflow_nor_datasets(bert: str, tmp_path: Path) -> None:
    """On a machine that has only the tokens, made elsewhere; and no network."""
    from fedtune.data.tokenization import write_tokens

    write_tokens("toy", Path(bert), tmp_path / "tokens", max_length=32)
    config = quick(bert, dataset=str(tmp_path / "tokens"))
    script = f"""
import builtins, json, socket, sys
for name in ("ray", "mlflow", "datasets", "optuna", "click", "rich", "pandas", "pyarrow"):
    sys.modules[name] = None
def refuse(*arguments, **options):
    raise AssertionError("looked something up")
socket.getaddrinfo = socket.socket.connect = refuse
sys.path.insert(0, {str(HERE)!r})
from quick import run
from fedtune import TrialConfig
records = run(TrialConfig(**{config.model_dump()!r}))
print(json.dumps(records))
"""
    environment = {**os.environ, "FEDTUNE_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == run(quick(bert)), "the same as with the data set itself"
    assert {path.name for path in tmp_path.iterdir()} <= {"tokens", "cache"}
