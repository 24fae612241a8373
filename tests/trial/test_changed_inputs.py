"""One process, inputs that change: what is read is what is there now, whatever its times say."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quick import quick, run

from fedtune import BadInput
from fedtune.cost.memory import need
from fedtune.data.tokenization import write_tokens
from fedtune.trial.federation import Federation
from fedtune.trial.prepare import prepare

Rows = Sequence[tuple[str, int]]
ROWS: Rows = [(f"rain and snow {number}", number % 2) for number in range(40)]
#: Of the same length in every format, so that sizes do not tell.
OTHERS: Rows = [(text, 1 - label) for text, label in ROWS]


def in_csv(folder: Path, rows: Rows) -> None:
    for split in ("train", "test"):
        lines = [f"{text},{label}" for text, label in rows]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *lines]) + "\n")


def in_json(folder: Path, rows: Rows) -> None:
    for split in ("train", "test"):
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def in_parquet(folder: Path, rows: Rows) -> None:
    texts, labels = zip(*rows, strict=True)
    for split in ("train", "test"):
        pq.write_table(pa.table({"text": texts, "label": labels}), folder / f"{split}.parquet")


def as_before(folder: Path, change: Callable[[], None]) -> None:
    """Change files and put their times back, as an archive that is unpacked anew does."""
    before = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    change()
    for path, stat in before.items():
        assert path.stat().st_size == stat.st_size
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def model(bert: str, tmp_path: Path) -> Path:
    """A tiny BERT that may be changed."""
    return Path(shutil.copytree(bert, tmp_path / "model"))


@pytest.mark.parametrize("write", [in_csv, in_json, in_parquet])
def test_a_data_set_that_was_edited_is_read_anew(
    write: Callable[[Path, Rows], None], bert: str, data: Path
) -> None:
    write(data, ROWS)
    config = quick(bert, dataset=str(data))
    first = prepare(config)
    as_before(data, lambda: write(data, OTHERS))
    second = prepare(config)
    assert first.dataset_hash != second.dataset_hash
    as_before(data, lambda: write(data, ROWS))
    assert prepare(config).dataset_hash == first.dataset_hash


def test_the_numbers_of_a_trial_follow_its_data(bert: str, data: Path) -> None:
    config = quick(bert, dataset=str(data), train_examples="all", test_examples="all", max_rounds=2)
    in_csv(data, ROWS)
    first = run(config)
    in_csv(data, [*OTHERS, *OTHERS])
    assert run(config) != first
    in_csv(data, ROWS)
    assert run(config) == first


def test_a_relative_name_means_what_it_means_here(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for place, rows in (("a", ROWS), ("b", OTHERS)):
        (tmp_path / place / "texts").mkdir(parents=True)
        in_csv(tmp_path / place / "texts", rows)
        monkeypatch.chdir(tmp_path / place)
        found.append(prepare(quick(bert, dataset="texts")).dataset_hash)
        found.append(prepare(quick(bert, dataset="texts/train.csv", test_examples=8)).dataset_hash)
    assert len(set(found)) == 4


def test_a_name_follows_the_data_home(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for place, rows in (("a", ROWS), ("b", OTHERS)):
        (tmp_path / place / "imdb").mkdir(parents=True)
        in_csv(tmp_path / place / "imdb", rows)
        monkeypatch.setenv("FEDTUNE_DATA", str(tmp_path / place))
        found.append(prepare(quick(bert, dataset="imdb")).dataset_hash)
    assert len(set(found)) == 2


def test_a_tokenizer_that_was_edited_makes_other_tokens(model: Path, data: Path) -> None:
    in_csv(data, ROWS)
    config = quick(str(model), dataset=str(data))
    first = prepare(config)

    def swap() -> None:
        path = model / "tokenizer.json"
        text = path.read_text().replace('"rain"', '"????"').replace('"snow"', '"rain"')
        path.write_text(text.replace('"????"', '"snow"'))

    as_before(model, swap)
    assert prepare(config).dataset_hash != first.dataset_hash


def test_weights_that_were_replaced_are_another_model(model: Path) -> None:
    config = quick(str(model))
    first = prepare(config)
    weights = model / "model.safetensors"
    content = weights.read_bytes()
    as_before(model, lambda: weights.write_bytes(content[:-4] + b"\0\0\0\0") and None)
    assert prepare(config).model_hash != first.model_hash


def test_a_model_of_another_size_needs_other_memory(model: Path, tiny: Path) -> None:
    first = need(prepare(quick(str(model))))
    shutil.rmtree(model)
    shutil.copytree(tiny / "distilbert", model)
    assert need(prepare(quick(str(model)))) != first


def test_tokens_that_were_made_again_are_opened_again(bert: str, data: Path) -> None:
    made = data / "tokens"
    found = []
    for rows in (ROWS, OTHERS):
        in_csv(data, rows)
        write_tokens(str(data / "train.csv"), Path(bert), made, max_length=32, test_fraction=0.2)
        found.append(prepare(quick(bert, dataset=str(made), test_examples=8)).dataset_hash)
        (data / "train.csv").unlink()
    assert len(set(found)) == 2


def test_a_cache_that_was_cleared_is_filled_again(
    bert: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDTUNE_CACHE", str(tmp_path / "cache"))
    in_json(data, ROWS)
    config = quick(bert, dataset=str(data))
    first = prepare(config)
    shutil.rmtree(tmp_path / "cache")
    assert prepare(config) == first
    monkeypatch.setenv("FEDTUNE_CACHE", str(tmp_path / "another"))
    assert Path(prepare(config).tokens_dir).is_relative_to(tmp_path / "another")


def test_what_changes_between_plan_and_run_is_refused(model: Path, data: Path) -> None:
    made = data / "tokens"
    in_csv(data, ROWS)
    write_tokens(str(data / "train.csv"), model, made, max_length=32, test_fraction=0.2)
    trial = prepare(quick(str(model), dataset=str(made), test_examples=8))

    in_csv(data, OTHERS)
    write_tokens(str(data / "train.csv"), model, made, max_length=32, test_fraction=0.2)
    with pytest.raises(BadInput, match=r"dataset=.*has changed since this trial was planned"):
        Federation(trial)

    trial = prepare(quick(str(model)))
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(BadInput, match=r"model=.*has changed since this trial was planned"):
        Federation(trial)
