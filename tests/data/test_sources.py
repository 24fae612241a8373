"""Finding data sets, reading every layout, and what is said when that fails."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from fedtune.data.sources import load_texts
from fedtune.errors import BadInput

TRAIN = [("the rain", 0), ("bread and salt", 1), ("", 0), ("wind Wind unknown", 1), ("NA", 1)]
TEST = [("more rain today", 0), ("butter", 1)]
Write = Callable[..., Path]


def table(rows: list[tuple[str, int]]) -> Dataset:
    return Dataset.from_dict({"text": [t for t, _ in rows], "label": [lab for _, lab in rows]})


def in_parquet(folder: Path) -> None:
    table(TRAIN).to_parquet(folder / "train-00000-of-00001.parquet")
    table(TEST).to_parquet(folder / "test-00000-of-00001.parquet")


def in_data_folder(folder: Path) -> None:
    (folder / "data").mkdir()
    in_parquet(folder / "data")


def in_shards(folder: Path) -> None:
    for split, rows in (("train", TRAIN), ("test", TEST)):
        (folder / split).mkdir()
        table(rows[:1]).to_parquet(folder / split / "0.parquet")
        table(rows[1:]).to_parquet(folder / split / "1.parquet")


def in_config_folder(folder: Path) -> None:
    (folder / "plain_text").mkdir()
    in_parquet(folder / "plain_text")
    (folder / "README.md").write_text("# A card without metadata\n")


def in_card(folder: Path) -> None:
    """The way the hub lays out a data set: the card says which files, and how many rows."""
    (folder / "plain_text").mkdir()
    in_parquet(folder / "plain_text")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: plain_text\n  data_files:\n"
        "  - split: train\n    path: plain_text/train-*\n"
        "  - split: test\n    path: plain_text/test-*\n"
        "dataset_info:\n  config_name: plain_text\n  features:\n"
        "  - name: text\n    dtype: string\n  - name: label\n    dtype: int64\n"
        "  splits:\n  - name: train\n    num_examples: 25000\n  - name: test\n"
        "    num_examples: 25000\n---\n"
    )


def in_csv(folder: Path) -> None:
    table(TRAIN).to_csv(folder / "train.csv")
    table(TEST).to_csv(folder / "test.csv")


def in_json(folder: Path) -> None:
    for split, rows in (("train", TRAIN), ("test", TEST)):
        records = [{"text": text, "label": label} for text, label in rows]
        (folder / f"{split}.json").write_text(json.dumps(records))


def in_json_lines(folder: Path) -> None:
    table(TRAIN).to_json(folder / "train.jsonl")
    table(TEST).to_json(folder / "test.jsonl")


def saved_to_disk(folder: Path) -> None:
    DatasetDict(train=table(TRAIN), test=table(TEST)).save_to_disk(folder)


def with_an_unsupervised_split(folder: Path) -> None:
    data = DatasetDict(train=table(TRAIN), test=table(TEST), unsupervised=table([("x", -1)] * 9))
    data.save_to_disk(folder)


@pytest.mark.parametrize(
    "layout",
    [
        in_parquet,
        in_data_folder,
        in_shards,
        in_config_folder,
        in_card,
        in_csv,
        in_json,
        in_json_lines,
        saved_to_disk,
        with_an_unsupervised_split,
    ],
)
def test_every_layout_gives_the_same_texts(
    layout: Callable[[Path], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    datasets.disable_progress_bars()  # for the writing alone
    layout(folder)
    datasets.enable_progress_bars()
    capfd.readouterr()
    texts = load_texts(str(folder))
    assert list(zip(texts.train.texts, texts.train.labels, strict=True)) == TRAIN
    assert list(zip(texts.test.texts, texts.test.labels, strict=True)) == TEST
    assert texts.label_names == ("0", "1")
    assert capfd.readouterr() == ("", "")


def test_class_names_are_kept(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    data = table(TRAIN).cast(features), table(TEST).cast(features)
    DatasetDict(train=data[0], test=data[1]).save_to_disk(tmp_path / "d")
    texts = load_texts(str(tmp_path / "d"))
    assert texts.label_names == ("neg", "pos")
    assert texts.train.labels.tolist() == [label for _, label in TRAIN]


@pytest.mark.parametrize(
    ("values", "names", "labels"),
    [
        ([3, 1, 5, 1], ("1", "3", "5"), [1, 0, 2, 0]),
        (["sun", "rain", "sun", "rain"], ("rain", "sun"), [1, 0, 1, 0]),
        ([True, False, True, True], ("False", "True"), [1, 0, 1, 1]),
        ([3.0, 1.0, 5, 1.0], ("1", "3", "5"), [1, 0, 2, 0]),
        (["1.0", "0.0", "1.0", "1"], ("0.0", "1", "1.0"), [2, 0, 2, 1]),  # words are kept
    ],
)
def test_other_labels_are_numbered_in_sorted_order(
    values: list[object],
    names: tuple[str, ...],
    labels: list[int],
    tmp_path: Path,
    write_json: Write,
) -> None:
    rows = [("words", value) for value in values]
    texts = load_texts(str(write_json(tmp_path / "d", rows, rows[:2])))
    assert texts.label_names == names
    assert texts.train.labels.tolist() == labels
    assert texts.test.labels.tolist() == labels[:2]


@pytest.mark.parametrize(
    ("row", "asked", "found"),
    [
        ({"label": 1, "text": "a"}, ("auto", "auto"), ("text", "label")),
        ({"Class": 1, "Review": "a"}, ("auto", "auto"), ("Review", "Class")),
        ({"title": "b", "content": "a", "text": "c", "y": 1}, ("auto", "auto"), ("text", "y")),
        ({"headline": "a", "category": "b"}, ("auto", "auto"), ("headline", "category")),
        ({"headline": "a", "y": 1}, ("auto", "auto"), ("headline", "y")),
        ({"text": "a", "title": "b", "label": 1, "y": 2}, ("title", "y"), ("title", "y")),
        ({"text": "a", "genre": "b"}, ("auto", "auto"), ("text", "genre")),
        ({"text": "a", "score": 0.0, "genre": "b"}, ("auto", "auto"), ("text", "genre")),
        ({"text": "a", "score": 0.0}, ("auto", "auto"), ("text", "score")),
        ({"a": "x", "b": "y", "label": 1}, ("a,b", "auto"), ("a,b", "label")),
        ({"a": "x", "b": "y", "label": 1}, (" b , a", "auto"), ("b,a", "label")),
        ({"a,b": "x", "a": "y", "b": "z", "c": 1}, ("a,b", "auto"), ('"a,b"', "c")),
        ({"premise": "x", "hypothesis": "y", "y": 1}, ("premise", "auto"), ("premise", "y")),
    ],
)
def test_columns_are_found(
    row: dict[str, object], asked: tuple[str, str], found: tuple[str, str], tmp_path: Path
) -> None:
    other = {key: "z" if isinstance(value, str) else 7 for key, value in row.items()}
    for split in ("train", "test"):
        (tmp_path / f"{split}.json").write_text(json.dumps([row, other]))
    texts = load_texts(str(tmp_path), *asked)
    assert (texts.text_column, texts.label_column) == found


@pytest.mark.parametrize(
    ("row", "asked", "message"),
    [
        ({"a": "x", "b": "y", "label": 1}, ("auto", "auto"), "text_column='auto': could be any of"),
        ({"text": "x", "m": 1, "n": 2}, ("auto", "auto"), "label_column='auto': could be any of m"),
        ({"text": "x", "when": None}, ("auto", "auto"), "label_column='auto': no column"),
        ({"text": "x", "label": 1}, ("txt", "auto"), "no such column (did you mean 'text'?)"),
        ({"text": "x", "label": 1}, ("label", "auto"), "cannot be one: it holds int64"),
        ({"text": "x", "when": [0.5]}, ("auto", "when"), "cannot be one: it holds lists of float"),
        ({"text": "x", "label": 1}, ("text,", "auto"), "allowed is one column, or two different"),
        ({"a": "x", "b": "y", "label": 1}, ("a,b,a", "auto"), "allowed is one column, or two"),
        ({"a": "x", "b": "y", "label": 1}, ("a,a", "auto"), "allowed is one column, or two"),
        ({"a": "x", "b": "y", "label": 1}, ("a,c", "auto"), "text_column='c': there is no such"),
        ({"a": "x", "b": "y", "label": 1}, ("a,label", "auto"), "text_column='label': cannot be"),
        ({"a": "x", "b": "y", "label": 1}, ("auto", "auto"), "as pairs: --text-column a,b"),
        (
            {"question": "x", "sentence": "y", "label": 1},
            ("auto", "auto"),
            "could be question, sentence or both; name one, or read them as pairs: "
            "--text-column question,sentence",
        ),
        ({"text": "x", "label": 1}, ("text", "text"), "is the text column too"),
    ],
)
def test_columns_that_cannot_be_told_are_named(
    row: dict[str, object], asked: tuple[str, str], message: str, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.json").write_text(json.dumps([row]))
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        load_texts(str(tmp_path), *asked)
    assert "too" in message or all(column in str(caught.value) for column in row)


def test_two_wrong_columns_are_two_faults(tmp_path: Path, write_json: Write) -> None:
    with pytest.raises(BadInput) as caught:
        load_texts(str(write_json(tmp_path / "d")), "body", "stars")
    assert [fault.field for fault in caught.value.faults] == ["text_column", "label_column"]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (TRAIN, None, "no test split; splits found: train (5 examples)"),
        ([("a", 0), ("b", 0)], [("c", 0)], "has 1 class (0)"),
        ([("a", 0), ("b", 1)], [("c", 2)], "training split has no example of class '2'"),
        ([("a", -1), ("b", 1)], TEST, "1 of 2 examples of the train split have a negative label"),
        (TRAIN, [("c", 1), ("a", -1), ("b", -1)], "2 of 3 examples of the test split"),
        (TRAIN, [("c", 1), ("a", None)], "have no label (first in row 1"),
        ([("a", 0), (None, 1)], TEST, "1 of 2 examples of the train split have no text (first in"),
        ([("a", "x"), ("b", "")], [("a", "x")], "have no label (first in row 1"),
        ([("a", "x"), ("b", "y")], [("a", "x"), ("b", "z")], "no example of class 'z'"),
        (
            [("a", 1), ("b", 0.5)],
            TEST,
            "0.5 in row 1 of the train split, counted from 0)",
        ),
        ([("a", 0.25), ("b", 0.5)], [("c", 0.1), ("d", 0.9)], "write classes as whole numbers or"),
        ([("a", 1.0), ("b", None)], TEST, "1 of 2 examples of the train split have no label"),
        (
            [("a", [0, 1]), ("b", [])],
            [("c", [1])],
            "several labels for a text (multi-label)",
        ),
        ([("a", 1), ("b", "x")], TEST, "values of different types; write all as numbers or all"),
        (
            [(["a"], [0]), (["b", "c"], [1, 2])],
            [(["d"], [0])],
            "labels of single tokens",
        ),
    ],
)
def test_unusable_data_is_refused(
    train: list[tuple[object, object]],
    test: list[tuple[object, object]] | None,
    message: str,
    tmp_path: Path,
    write_json: Write,
) -> None:
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        load_texts(str(write_json(tmp_path / "d", train, test)))
    assert all("\n" not in str(fault) for fault in caught.value.faults)


def test_a_declared_class_needs_training_examples(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b", "c"])})
    data = table(TRAIN).cast(features)
    DatasetDict(train=data, test=data).save_to_disk(tmp_path / "d")
    with pytest.raises(BadInput, match="no example of class 'c'"):
        load_texts(str(tmp_path / "d"))


def test_a_lone_split_saved_to_disk_is_named(tmp_path: Path) -> None:
    table(TRAIN).save_to_disk(tmp_path / "d")
    with pytest.raises(BadInput, match="has no test split; splits found: train"):
        load_texts(str(tmp_path / "d"))
    assert load_texts(str(tmp_path / "d"), may_lack_test=True).test is None


def test_damaged_empty_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    for name in ("damaged", "empty", "words", "pickles"):
        (tmp_path / name).mkdir()
    (tmp_path / "damaged" / "train.parquet").write_bytes(b"version https://git-lfs")
    (tmp_path / "words" / "train.txt").write_text("a\nb\n")
    (tmp_path / "pickles" / "train.pkl").write_bytes(b"\x80\x04N.")
    for name in ("damaged", "empty", "pickles"):
        with pytest.raises(BadInput, match="cannot be read"):
            load_texts(str(tmp_path / name))
    with pytest.raises(BadInput, match="holds text files; allowed are parquet, csv and json"):
        load_texts(str(tmp_path / "words"))


def test_a_folder_of_data_sets_is_not_read_as_one(tmp_path: Path, write_json: Write) -> None:
    write_json(tmp_path / "d" / "one")
    write_json(tmp_path / "d" / "two")
    with pytest.raises(BadInput, match=r"several data sets \(one, two\)"):
        load_texts(str(tmp_path / "d"))
