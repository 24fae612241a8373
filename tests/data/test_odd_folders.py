"""Folders with odd names, cards and contents: read, or told in one line; never by the network."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedtune.data import lookup
from fedtune.data.lookup import resolve, state_on_disk
from fedtune.data.sources import load_texts
from fedtune.data.token_arrays import open_tokens
from fedtune.data.tokenization import tokenize
from fedtune.errors import BadInput
from fedtune.models.zoo import content_hash, find_model

ROWS = [(f"rain {number}", number % 2) for number in range(8)]
TEXTS = [text for text, _ in ROWS]


def in_csv(folder: Path) -> Path:
    for split in ("train", "test"):
        lines = [f"{text},{label}" for text, label in ROWS]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    return folder / "train.csv"


def in_json(folder: Path) -> Path:
    for split in ("train", "test"):
        lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "train.jsonl"


def in_parquet(folder: Path) -> Path:
    texts, labels = zip(*ROWS, strict=True)
    for split in ("train", "test"):
        pq.write_table(pa.table({"text": texts, "label": labels}), folder / f"{split}.parquet")
    return folder / "train.parquet"


WRITE = [in_csv, in_json, in_parquet]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever asks for another machine fails the test, even where the error is caught."""
    asked: list[object] = []

    def refuse(*args: object, **_: object) -> Any:
        asked.append(args)
        raise OSError("no network here")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert not asked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


# Names


@pytest.mark.parametrize("write", WRITE)
@pytest.mark.parametrize("name", ["[v1]", "a*b", "what?", "a::b", "[x]::y", "#1 %20 ~"])
def test_any_name_of_a_folder_is_just_a_name(
    name: str, write: Callable[[Path], Path], tmp_path: Path
) -> None:
    place = tmp_path / name / "texts"
    place.mkdir(parents=True)
    file = write(place)
    for _ in range(2):  # the second time with what the first has left in the cache
        texts = load_texts(str(place))
        assert list(texts.train.texts) == TEXTS
        assert texts.test is not None
    assert list(load_texts(str(file)).train.texts) == TEXTS
    odd = file.rename(file.with_name(f"{name} train{file.suffix}"))
    assert list(load_texts(str(odd)).train.texts) == TEXTS
    assert list(load_texts(str(place)).train.texts) == TEXTS


def test_neither_a_saved_data_set_nor_the_cache_needs_a_plain_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": [label for _, label in ROWS]})
    datasets.DatasetDict(train=rows, test=rows).save_to_disk(str(tmp_path / "saved"))
    place = (tmp_path / "saved").rename(tmp_path / "[saved]::1")
    monkeypatch.setenv("FEDTUNE_CACHE", str(tmp_path / "[cache]*"))
    assert list(load_texts(str(place)).train.texts) == TEXTS
    (tmp_path / "[v1]").mkdir()
    in_parquet(tmp_path / "[v1]")
    assert list(load_texts(str(tmp_path / "[v1]")).train.texts) == TEXTS


@pytest.mark.parametrize("write", WRITE)
def test_a_script_beside_the_data_is_neither_run_nor_in_the_way(
    write: Callable[[Path], Path], folder: Path
) -> None:
    write(folder)
    (folder / "data.py").write_text("raise SystemExit('was run')")
    assert list(load_texts(str(folder)).train.texts) == TEXTS


# Cards


def card(folder: Path, text: str) -> None:
    (folder / "README.md").write_text(f"---\n{text}\n---\n\nA card.\n")


FILES = "configs:\n- config_name: default\n  data_files:"


@pytest.mark.parametrize(
    "settings",
    [
        f"{FILES} https://hub.example/train.json",
        f"{FILES}\n  - split: train\n    path: [train.jsonl, 'hf://datasets/a/b/x.jsonl']",
        f"{FILES}\n    train: s3://bucket/train.jsonl\n    test: test.jsonl",
        f"{FILES} 'zip://a.jsonl::https://hub.example/a.zip'",
        "configs:\n- config_name: default\n  data_dir: https://hub.example/",
    ],
)
@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
def test_a_card_leads_nowhere_but_into_its_folder(name: str, settings: str, folder: Path) -> None:
    in_json(folder)
    card(folder, settings)
    if name != "README.md":
        (folder / "README.md").unlink()
        (folder / name).write_text(settings)
    with pytest.raises(BadInput, match=rf"{name} names files that are elsewhere .*without a netw"):
        load_texts(str(folder))


def test_a_card_that_names_files_of_its_folder_is_followed(folder: Path) -> None:
    in_json(folder)
    (folder / "train.jsonl").rename(folder / "a.jsonl")
    (folder / "test.jsonl").rename(folder / "b.jsonl")
    links = "base: &base {license: mit}\nmore: {<<: *base, see: https://hub.example/a}\n"
    card(
        folder,
        f"{links}{FILES}\n  - {{split: train, path: a.jsonl}}\n  - {{split: test, path: b.jsonl}}",
    )
    texts = load_texts(str(folder))
    assert list(texts.train.texts) == TEXTS
    assert texts.test is not None


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("a: [1, 2", "front matter of README.md is not valid YAML: line 1, column 9"),
        ("a: 2026-02-30", "not valid YAML"),
        (f"a: {'[' * 5000}", "nested too deeply"),
        (BOMB, "aliases stand for 1,234,567,909 values"),
        ("- 1", "settings of README.md are no mapping"),
        ("configs: 5", "nothing in README.md that says otherwise"),
        ("configs:\n- config_name:\n  data_files:", "nothing in README.md that says otherwise"),
        ("dataset_info: [1, 2]", "nothing in README.md that says otherwise"),
        ("dataset_info: {features: 5}", "nothing in README.md that says otherwise"),
    ],
)
def test_an_odd_card_is_told_in_one_line(settings: str, said: str, folder: Path) -> None:
    in_json(folder)
    card(folder, settings)
    with pytest.raises(BadInput) as caught:
        load_texts(str(folder))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_card_in_another_encoding_is_named(folder: Path) -> None:
    in_json(folder)
    (folder / "README.md").write_bytes("---\nlicense: é\n---\n".encode("latin-1"))
    with pytest.raises(BadInput, match=r"README.md is not in UTF-8"):
        load_texts(str(folder))


# Damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def fill(path: Path) -> None:
    path.write_bytes(b"\xff\x00\xfe\x93NUMPY" * 40)


def nest(path: Path) -> None:
    path.write_text('{"text": ' + "[" * 100_000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, fill, nest, empty])
@pytest.mark.parametrize("write", WRITE)
def test_a_damaged_file_is_told_in_one_line(
    write: Callable[[Path], Path], damage: Callable[[Path], None], folder: Path
) -> None:
    file = write(folder)
    damage(file)
    for place in (folder, file):
        if (write, damage) == (in_csv, cut):
            continue  # rows are left out: what is there is a table
        with pytest.raises(BadInput) as caught:
            load_texts(str(place))
        assert len(str(caught.value).splitlines()) == 1


def no_records(folder: Path) -> None:
    (folder / "train.json").write_text("[]")


def no_rows(folder: Path) -> None:
    columns = {"text": pa.array([], pa.string()), "label": pa.array([], "int64")}
    pq.write_table(pa.table(columns), folder / "train.parquet")


def a_column_twice(folder: Path) -> None:
    arrays = [pa.array(["a", "b"]), pa.array(["c", "d"]), pa.array([0, 1])]
    table = pa.Table.from_arrays(arrays, ["text", "text", "label"])
    pq.write_table(table, folder / "train.parquet")


def two_formats(folder: Path) -> None:
    (folder / "train.csv").write_text("text,label\na,0\nb,1\n")
    (folder / "test.jsonl").write_text('{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n')


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (no_records, "has no rows"),
        (no_rows, "has no rows"),
        (a_column_twice, "has two columns of one name"),
        (two_formats, "has splits in files of different formats; allowed is one of"),
    ],
)
def test_what_is_odd_and_not_damaged_is_told_as_what_it_is(
    write: Callable[[Path], None], told: str, folder: Path
) -> None:
    write(folder)
    with pytest.raises(BadInput, match=f"dataset=.*: {told}"):
        load_texts(str(folder))


@pytest.mark.parametrize("damage", [cut, fill, nest, empty])
@pytest.mark.parametrize("name", ["dataset_dict.json", "train/state.json", "train/data.arrow"])
def test_so_is_a_damaged_data_set_that_was_saved(
    name: str, damage: Callable[[Path], None], folder: Path
) -> None:
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": [label for _, label in ROWS]})
    datasets.DatasetDict(train=rows, test=rows).save_to_disk(str(folder))
    path = folder / name
    damage(path if path.suffix == ".json" else next(path.parent.glob("*.arrow")))
    with pytest.raises(BadInput) as caught:
        load_texts(str(folder))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("damage", [cut, fill, nest, empty])
@pytest.mark.parametrize("name", ["tokens.json", "train.labels.npy", "test.token_ids.npy"])
def test_so_are_damaged_tokens(
    name: str, damage: Callable[[Path], None], folder: Path, tokenizer_dir: Path
) -> None:
    in_json(folder)
    made = tokenize(str(folder), tokenizer_dir, max_length=16)
    damage(made / name)
    with pytest.raises(BadInput, match="is no usable tokens directory") as caught:
        open_tokens(made)
    assert len(str(caught.value).splitlines()) == 1
    again = tokenize(str(folder), tokenizer_dir, max_length=16)
    assert open_tokens(again).train.labels.tolist() == [label for _, label in ROWS]


@pytest.mark.parametrize(
    "change",
    [
        {"pad_token_id": 10**9},
        {"pad_token_id": -1},
        {"vocab_size": 10**30},
        {"num_classes": 10**9},
        {"label_names": 5},
        {"max_length": 1},
    ],
)
def test_tokens_whose_numbers_do_not_belong_together_are_refused(
    change: dict[str, Any], folder: Path, tokenizer_dir: Path
) -> None:
    in_json(folder)
    made = tokenize(str(folder), tokenizer_dir, max_length=16)
    about = json.loads((made / "tokens.json").read_text())
    (made / "tokens.json").write_text(json.dumps(about | change))
    with pytest.raises(BadInput, match="is no usable tokens directory"):
        open_tokens(made)


def test_texts_that_are_no_text_are_told(folder: Path, tokenizer_dir: Path) -> None:
    """Found out when a column is read, long after the file was opened."""
    bad = pa.array([b"\xff\xfe", b"rain"]).cast(pa.string(), safe=False)
    for split in ("train", "test"):
        pq.write_table(pa.table({"text": bad, "label": [0, 1]}), folder / f"{split}.parquet")
    with pytest.raises(BadInput, match=r"cannot be read \(Unicode"):
        tokenize(str(folder), tokenizer_dir, max_length=16)


# Far too much


def test_a_folder_of_far_too_many_files_is_refused_before_they_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_csv(folder)
    monkeypatch.setattr(lookup, "MOST_FILES", 1)
    with pytest.raises(BadInput, match=r"more than 1 files; allowed is the folder of one data set"):
        state_on_disk(str(folder))
    with pytest.raises(BadInput, match=r"more than 1 files"):
        load_texts(str(folder))


# Files of others


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that another user can reach, which pytest's own is not."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root may read everything, so this is nobody; others may not read mode 0 as they are."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
@pytest.mark.parametrize("write", WRITE)
def test_data_that_may_not_be_read_are_named(
    write: Callable[[Path], Path], open_to_all: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (open_to_all / "cache").mkdir()
    (open_to_all / "cache").chmod(0o777)
    (open_to_all / "data").mkdir()
    file = write(open_to_all / "data")
    load_texts(str(file.parent)), load_texts(str(file))  # imports what nobody may not be able to
    monkeypatch.setenv("FEDTUNE_CACHE", str(open_to_all / "cache"))
    file.chmod(0)
    for place in (file.parent, file):
        with (
            as_somebody_else(),
            pytest.raises(BadInput, match=rf"{file.name} cannot be read \(Permission denied\)"),
        ):
            load_texts(str(place))


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
def test_a_folder_that_may_not_be_looked_into_is_named(open_to_all: Path) -> None:
    place = open_to_all / "closed"
    (place / "inner").mkdir(parents=True)
    for mode in (0o000, 0o100, 0o400):
        place.chmod(mode)
        with as_somebody_else(), pytest.raises(BadInput, match=r"cannot be read \(Permission den"):
            resolve(str(place))
    with as_somebody_else(), pytest.raises(BadInput, match=r"cannot be read \(Permission den"):
        resolve(str(place / "inner"))
    place.chmod(0o700)


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
def test_a_model_that_may_not_be_read_is_named(bert: str, open_to_all: Path) -> None:
    model = Path(shutil.copytree(bert, open_to_all / "model"))
    (model / "README.md").write_text("---\nfedtune: {learning_rate: 0.1}\n---\n")
    for path in model.iterdir():
        path.chmod(0o644)
    content_hash(find_model(str(model)).directory)
    for name in ("config.json", "README.md", "model.safetensors"):
        (model / name).chmod(0)
        with (
            as_somebody_else(),
            pytest.raises(BadInput, match=rf"model=.*{name} cannot be read \(Permission denied\)"),
        ):
            content_hash(find_model(str(model)).directory)
        (model / name).chmod(0o644)


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
def test_what_is_cached_follows_the_umask(
    folder: Path, tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parquet(folder)
    cache = tmp_path / "fresh"
    monkeypatch.setenv("FEDTUNE_CACHE", str(cache))
    before = os.umask(0o027)
    try:
        made = tokenize(str(folder), tokenizer_dir, max_length=16)
    finally:
        os.umask(before)
    assert np.load(made / "train.labels.npy").shape == (8,)
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in cache.rglob("*")}
    assert modes == {(True, 0o750), (False, 0o640)}
