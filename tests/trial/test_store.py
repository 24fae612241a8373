"""What a store holds is read with care: damage, links, and folders that go away."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quick import files, folder_of, quick, run, take

from fedtune import TrialConfig, simulate
from fedtune.errors import BadInput, Refusal
from fedtune.trial import simulation
from fedtune.trial.activity import ActivityFile
from fedtune.trial.folder import TrialFolder
from fedtune.trial.held_folder import FolderGone
from fedtune.trial.locks import TrialInUse
from fedtune.trial.prepare import prepare
from fedtune.trial.results import read_result
from fedtune.trial.round_log import DamagedFolder
from fedtune.trial.simulation import note_failure
from fedtune.trial.system import read_samples

DEEP, DEEP_YAML = "[" * 5_000, "[" * 500  # more take seconds until PyYAML gives up


@pytest.fixture(scope="module")
def kept(bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a trial that was left after round 2 of 3."""
    store = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "checkpoint_pause", lambda took_s: 0.0)
        take(simulate(quick(bert), store), 3)
    return store


@pytest.fixture
def left(
    bert: str, kept: Path, tmp_path: Path, every_round: None
) -> tuple[TrialConfig, TrialFolder]:
    """A copy of that trial."""
    store, config = Path(shutil.copytree(kept, tmp_path / "store")), quick(bert)
    return config, folder_of(config, store)


# Damage


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", ""),
        ("config.yaml", "- a list\n"),
        ("config.yaml", "model: [unclosed"),
        ("config.yaml", "\x00\x01"),
        ("config.yaml", "a: &a [*a]\n"),
        ("config.yaml", DEEP_YAML),
        ("config.yaml", "trial_id: other\n"),
        ("memory.json", "{"),
        ("memory.json", DEEP),
        ("memory.json", '{"peak_mb": "much"}'),
        ("memory.json", '{"peak_mb": NaN}'),
        ("memory.json", "[]"),
        ("diverged.json", '{"round": "two"}'),
        ("diverged.json", '{"round": true, "client_id": 0}'),
        ("diverged.json", '{"round": 1, "client_id": 1.5}'),
        ("diverged.json", "null"),
        ("rounds.jsonl", '{"round": 0, "test/accuracy": "0.9"}\n'),
        ("rounds.jsonl", '{"round": 0, "test/accuracy": NaN}\n'),
        ("rounds.jsonl", '{"round": 0, "test/accuracy": 1e999}\n'),
        ("rounds.jsonl", '{"round": -1}\n'),
        ("rounds.jsonl", '{"round": true}\n'),
        ("rounds.jsonl", f"{DEEP}\n"),
        ("rounds.jsonl", "\xff\xfe\n"),
    ],
    ids=lambda text: text[:30],
)
def test_damage_is_said_in_a_line_by_who_runs_and_by_who_reads(
    name: str, content: str, left: tuple[TrialConfig, TrialFolder]
) -> None:
    config, folder = left
    (folder.path / name).write_text(content, encoding="latin-1")
    for look in (
        lambda: read_result(folder.store, prepare(config)),
        lambda: run(config, folder.store),
    ):
        with pytest.raises(DamagedFolder) as refused:
            look()
        (line,) = str(refused.value).splitlines()
        assert f"{folder.trial_id}/{name}" in line
        if name == "memory.json":
            assert line.endswith("; remove it, nothing depends on it")


def test_an_emptied_log_is_called_empty(left: tuple[TrialConfig, TrialFolder]) -> None:
    config, folder = left
    folder.rounds_path.write_text("")
    with pytest.raises(DamagedFolder, match="the log is empty, the checkpoint is of round"):
        run(config, folder.store)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
def test_what_is_no_file_is_no_lock(
    make: Callable[[Path], None], left: tuple[TrialConfig, TrialFolder]
) -> None:
    config, folder = left
    (folder.path / "lock").unlink(missing_ok=True)
    make(folder.path / "lock")
    assert not folder.in_use
    with pytest.raises(Refusal, match=r"/lock is (no file, .*; remove it|a folder, .*)$"):
        run(config, folder.store)


@pytest.mark.parametrize(
    "values",
    [{"summary/chance": "0.5"}, {"steps/per_round": None}, {"begun_ms": "then"}, {"hardware": 7}],
    ids=str,
)
def test_values_of_a_config_have_their_types(
    values: dict[str, Any], left: tuple[TrialConfig, TrialFolder]
) -> None:
    _, folder = left
    path = folder.path / "config.yaml"
    (key,) = values
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{key}:")]
    path.write_text("\n".join([*lines, json.dumps(values)[1:-1], ""]))
    with pytest.raises(DamagedFolder, match=rf"no value of the right type for {key}"):
        folder.read_config()


def test_a_file_where_a_folder_should_be_is_named(bert: str, tmp_path: Path) -> None:
    config = quick(bert)
    folder = folder_of(config, tmp_path)
    folder.path.write_text("")
    with pytest.raises(DamagedFolder, match=rf"{folder.path} is no folder"):
        run(config, tmp_path)


@pytest.mark.parametrize("name", ["a" * 300, f"short/{'b' * 256}/c", "x/" * 3000, "é" * 130])
def test_a_store_that_can_be_no_folder_is_bad_input(name: str, bert: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^store='.*can be no folder \(File name too long\)$"):
        run(quick(bert), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_samples_and_activities_of_the_wrong_types_are_left_out(
    left: tuple[TrialConfig, TrialFolder],
) -> None:
    _, folder = left
    good = {"unix_ms": 5, "system/process_cpu_percentage": 7.5}
    odd = ["[]", "5", '{"unix_ms": "5"}', json.dumps(good | {"system/x": "y"}), '{"unix_ms": 5}']
    folder.samples.write_text("\n".join([DEEP, *odd, json.dumps(good)]) + "\n")
    assert read_samples(folder.samples) == [good]
    for content in ('["a", "trains", 1, 2]', "[1, 2, 3, 4]", '[1, "trains", null, 4]', DEEP):
        (folder.path / "activity.json").write_text(content)
        assert ActivityFile(folder).read() is None


# Links


@pytest.mark.parametrize(
    "name", ["config.yaml", "rounds.jsonl", "checkpoint", "checkpoint/state.json"]
)
def test_a_link_out_of_the_store_is_not_followed(
    name: str, left: tuple[TrialConfig, TrialFolder], tmp_path: Path
) -> None:
    config, folder = left
    path, outside = folder.path / name, tmp_path / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    before = files(tmp_path)
    with pytest.raises(DamagedFolder, match=f"{path} is a symbolic link"):
        run(config, folder.store)
    assert {k: v for k, v in files(tmp_path).items() if "lock" not in k} == {
        k: v for k, v in before.items() if "lock" not in k
    }


def test_weights_are_not_read_through_a_link(
    left: tuple[TrialConfig, TrialFolder], tmp_path: Path
) -> None:
    config, folder = left
    weights = folder.checkpoint / "model.safetensors"
    weights.rename(tmp_path / "outside")
    weights.symlink_to(tmp_path / "outside")
    with pytest.raises(DamagedFolder, match=f"{weights} is a symbolic link out of"):
        run(config, folder.store)


@pytest.mark.parametrize("name", ["lock", "system.jsonl", "rounds.jsonl", ""])
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_is_written_through_a_link(
    name: str, inside: bool, bert: str, tmp_path: Path
) -> None:
    config, store = quick(bert, system_metrics=True), tmp_path / "store"
    folder = folder_of(config, store)
    target = (store if inside else tmp_path) / "target"
    store.mkdir()
    if name:
        folder.path.mkdir()
        target.write_text("precious")
    else:
        target.mkdir()
    (folder.path / name).symlink_to(target)
    with pytest.raises(DamagedFolder, match="is a symbolic link, and nothing is written through"):
        run(config, store)
    if not name:
        assert note_failure(folder, ValueError("no luck")) == "ValueError: no luck"
    assert target.read_text() == "precious" if name else not list(target.iterdir())


def test_names_that_are_about_to_be_written_lead_nowhere(bert: str, tmp_path: Path) -> None:
    """Temporary names can be guessed; one that is there already is not written to."""
    config, store, target = quick(bert), tmp_path / "store", tmp_path / "target"
    folder = folder_of(config, store)
    folder.path.mkdir(parents=True)
    target.write_text("precious")
    for name in ("config.yaml", "partition.json", "memory.json", "activity.json"):
        (folder.path / f".{name}.{os.getpid()}").symlink_to(target)
    assert run(config, store) == run(config)
    assert target.read_text() == "precious"


def test_a_store_may_be_a_link_itself(bert: str, tmp_path: Path, every_round: None) -> None:
    config = quick(bert)
    (tmp_path / "real").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "real")
    take(simulate(config, tmp_path / "store"), 2)
    assert run(config, tmp_path / "store") == run(config)
    assert len(read_result(tmp_path / "real", prepare(config)).records) == 4


# Folders that go away


def remove(path: Path) -> None:
    shutil.rmtree(path)


def replace(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()
    (path / "lock").write_text("")


@pytest.mark.parametrize("happens", [remove, replace], ids=["removed", "replaced"])
@pytest.mark.parametrize("which", ["trial", "store"])
def test_a_folder_that_is_taken_away_ends_the_trial_and_is_not_made_anew(
    happens: Callable[[Path], None], which: str, bert: str, tmp_path: Path, every_round: None
) -> None:
    config, store = quick(bert), tmp_path / "store"
    folder = folder_of(config, store)
    records = simulate(config, store)
    assert [next(records)["round"] for _ in range(2)] == [0, 1]
    if which == "store":
        shutil.rmtree(store)
        if happens is replace:
            folder.path.mkdir(parents=True)
    else:
        happens(folder.path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FolderGone, match="was removed or replaced while the trial ran") as gone:
        next(records)
    assert note_failure(folder, gone.value) == str(gone.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert run(config, store) == run(config), "the same command starts it anew"


def test_a_lock_that_is_removed_between_opening_and_locking_is_taken_anew(
    left: tuple[TrialConfig, TrialFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedtune.trial import locks

    _, folder = left
    take_lock, taken = locks.lock_descriptor, []

    def removed_first(descriptor: int, *, blocking: bool) -> bool:
        taken.append(descriptor)
        if len(taken) == 1:
            (folder.path / "lock").unlink()
        return bool(take_lock(descriptor, blocking=blocking))

    monkeypatch.setattr(locks, "lock_descriptor", removed_first)
    with folder.lock():
        assert len(taken) == 2
        assert TrialFolder(folder.store, folder.trial_id).in_use


# What the caller does meanwhile


@pytest.mark.parametrize("kept", [False, True])
def test_what_the_caller_does_to_a_record_changes_nothing(
    kept: bool, bert: str, tmp_path: Path
) -> None:
    config = quick(bert, target_accuracy=0.99)
    rounds = []
    for record in simulate(config, tmp_path / "store" if kept else None):
        rounds.append(record["round"])
        record["test/accuracy"] = 100 * record["test/accuracy"]  # in percent, say
        record.pop("round")
    assert rounds == list(range(len(run(config))))


def test_a_relative_store_stays_where_it_was_begun(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, elsewhere = quick(bert), tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    rounds = simulate(config, "store")
    next(rounds)
    monkeypatch.chdir(elsewhere)
    assert len(list(rounds)) == len(run(config)) - 1
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_forked_child_may_not_go_on_with_its_parents_trial(
    bert: str, tmp_path: Path, every_round: None
) -> None:
    config, store = quick(bert), tmp_path / "store"
    rounds = simulate(config, store)
    next(rounds)
    child = os.fork()
    if not child:
        try:
            list(rounds)
        except TrialInUse as refused:
            os._exit(7 if f"process {os.getppid()}" in str(refused) else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    list(rounds)
    assert [record["round"] for record in folder_of(config, store).records()] == list(
        range(len(run(config)))
    )


@pytest.mark.parametrize("name", ["lock", "error.log", "checkpoint.new", "checkpoint.previous"])
def test_something_else_in_the_place_of_a_file_is_told_or_removed(
    name: str, left: tuple[TrialConfig, TrialFolder]
) -> None:
    config, folder = left
    path = folder.path / name
    if path.is_dir():
        shutil.rmtree(path)
        path.touch()
    else:
        path.unlink(missing_ok=True)
        path.mkdir()
    if name == "lock":
        with pytest.raises(DamagedFolder, match="lock is a folder, where a file belongs; move"):
            list(simulate(config, folder.store))
    else:
        assert len(list(simulate(config, folder.store))) == len(run(config))
