"""Whose an example is: a column read beside text and label, kept with the tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from fedtune.data import token_cache
from fedtune.data.sources import load_texts
from fedtune.data.splits import Examples, select_examples
from fedtune.data.token_arrays import Split, Tokens, open_tokens
from fedtune.data.tokenization import tokenize, write_tokens
from fedtune.errors import BadInput

AUTHORS = ("Cy", "Ann", "Bo")


def letters(path: Path, authors: Sequence[object], column: str = "author", start: int = 0) -> Path:
    """A table with a text for each of ``authors``; null where one is None."""
    path.parent.mkdir(exist_ok=True)
    rows = [
        {"text": f"the rain {start + i}", "label": (start + i) % 2, column: author}
        for i, author in enumerate(authors)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return letters(tmp_path / "letters.jsonl", [AUTHORS[i % 3] for i in range(30)])


def groups_of(path: Path, column: str = "author") -> tuple[list[list[str] | None], Sequence[str]]:
    """The names of the groups of training and test examples, and all names."""
    texts = load_texts(str(path), client_column=column)
    named: list[list[str] | None] = []
    for split in (texts.train, texts.test):
        known = split is not None and split.groups is not None
        named.append([texts.group_names[g] for g in split.groups] if known else None)  # type: ignore[union-attr]
    return named, texts.group_names


# What a column says


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a", "b", "c"], ["a", "b", "c"]),
        ([10, 9, 10, 2], ["2", "9", "10"]),
        ([10.0, 9.0, 10.0, 2.5], ["2.5", "9", "10"]),
        ([True, False, True, True], ["False", "True"]),
        ([" a", "a", "A", "a"], [" a", "A", "a"]),
    ],
)
def test_groups_are_the_values_in_their_order(
    values: list[object], names: list[str], tmp_path: Path
) -> None:
    (train, test), all_names = groups_of(letters(tmp_path / "letters.jsonl", values))
    assert train == [str(int(v)) if type(v) is float and v.is_integer() else str(v) for v in values]
    assert test is None
    assert list(all_names) == names


def test_a_test_split_may_have_others_and_another_type(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label,author\n" + "rain,0,7\nsnow,1,8\n" * 2)
    (folder / "test.csv").write_text("text,label,author\nrain,0,8\nsnow,1,nine\n")
    (train, test), names = groups_of(folder)
    assert (train, test) == (["7", "8", "7", "8"], ["8", "nine"])
    assert list(names) == ["7", "8", "nine"]


@pytest.mark.parametrize("hidden", [False, True])
def test_a_test_split_may_lack_the_column_or_hide_it(hidden: bool, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label,author\nrain,0,a\nsnow,1,b\n")
    rows = ("author", ",") if hidden else ("editor", ",x")
    (folder / "test.csv").write_text("text,label,{0}\nrain,0{1}\nsnow,1{1}\n".format(*rows))
    assert groups_of(folder) == ([["a", "b"], None], ("a", "b"))


def test_declared_classes_are_groups_by_their_names(tmp_path: Path) -> None:
    features = Features(
        {
            "text": Value("string"),
            "label": Value("int64"),
            "site": ClassLabel(names=["z", "y", "x"]),
        }
    )
    rows = {"text": ["rain"] * 4, "label": [0, 1, 0, 1], "site": [0, 2, 2, 0]}
    table = Dataset.from_dict(rows, features=features)
    DatasetDict(train=table, test=table).save_to_disk(str(tmp_path / "texts"))
    (train, test), names = groups_of(tmp_path / "texts", "site")
    assert train == test == ["z", "x", "x", "z"]
    assert list(names) == ["x", "z"], "y has no example"


def refusal(path: Path, column: str, **asked: str) -> str:
    with pytest.raises(BadInput) as bad:
        load_texts(str(path), client_column=column, **asked)
    (fault,) = bad.value.faults
    assert (fault.field, fault.value) == ("client_column", column)
    return str(fault)


def test_a_column_that_is_not_there_is_refused_with_those_that_are(file: Path) -> None:
    line = refusal(file, "auhtor")
    assert "there is no such column (did you mean 'author'?)" in line
    assert f"columns of {file}: text (string), label (int64), author (string)" in line


@pytest.mark.parametrize(
    ("column", "asked", "what"),
    [
        ("label", {}, "is the label column too"),
        ("author", {"label_column": "author"}, "is the label column too"),
        ("text", {}, "is the text column too"),
        ("author", {"text_column": "text,author"}, "is the text column too"),
    ],
)
def test_a_column_has_one_part(column: str, asked: dict[str, str], what: str, file: Path) -> None:
    assert what in refusal(file, column, **asked)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([["a"], ["b"], ["a", "b"]], "lists of string"),
        ([{"id": 1}, {"id": 2}, {"id": 1}], "nested"),
        ([1, "a", 2], "values of different types"),
    ],
)
def test_a_column_of_other_things_is_refused(
    values: list[object], kind: str, tmp_path: Path
) -> None:
    line = refusal(letters(tmp_path / "letters.jsonl", values), "author")
    assert "cannot be one: it holds" in line
    assert kind in line


def test_values_that_are_missing_are_refused_with_their_row(tmp_path: Path) -> None:
    path = letters(tmp_path / "letters.jsonl", ["a", "b", None, "a", ""])
    assert "2 of 5 examples have no value (first in row 2, counted from 0)" in refusal(
        path, "author"
    )
    letters(tmp_path / "texts" / "train.jsonl", ["a", "b"])
    letters(tmp_path / "texts" / "test.jsonl", ["a", None])
    line = refusal(tmp_path / "texts", "author")
    assert "1 of 2 examples of the test split have no value (first in row 1" in line
    csv = tmp_path / "letters.csv"
    csv.write_text("text,label,author\nrain,a,Ann\nsnow,b,\nwind,a,Bo\n")
    assert "1 of 3 examples have no value (first in row 1" in refusal(csv, "author")


# What is kept


def entry(path: Path, tokenizer_dir: Path, column: str = "none", **asked: Any) -> Path:
    return tokenize(str(path), tokenizer_dir, max_length=8, client_column=column, **asked)


def test_tokens_are_made_once_whichever_column_is_read(
    file: Path, tokenizer_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grouped = entry(file, tokenizer_dir, "author")
    monkeypatch.setattr(token_cache, "_make", lambda *_: pytest.fail("tokenised again"))
    plain = entry(file, tokenizer_dir)
    assert entry(file, tokenizer_dir, "author") == grouped != plain
    names = {path.name for path in plain.iterdir()}
    assert {path.name for path in grouped.iterdir()} == names | {"train.groups.npy"}
    for name in names - {"tokens.json"}:
        assert (plain / name).read_bytes() == (grouped / name).read_bytes()
    assert open_tokens(plain).train.groups is None


def test_whose_they_are_is_part_of_the_entry_alone(file: Path, tokenizer_dir: Path) -> None:
    entries = [entry(file, tokenizer_dir, "author")]
    plain = entry(file, tokenizer_dir)
    columns = [json.loads(line) for line in file.read_text().splitlines()]
    for change in (
        {"author": "Di"},  # in the first row alone
        {"author": "Bo", "text": columns[0]["text"]},
    ):
        rows = [columns[0] | change, *columns[1:]]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        entries.append(entry(file, tokenizer_dir, "author"))
        assert entry(file, tokenizer_dir) == plain
    renamed = [{k if k != "author" else "user": v for k, v in row.items()} for row in columns]
    file.write_text("".join(json.dumps(row) + "\n" for row in renamed))
    entries.append(entry(file, tokenizer_dir, "user"))
    assert entry(file, tokenizer_dir) == plain
    assert len({plain, *entries}) == 5


def test_an_entry_that_was_damaged_is_made_again(file: Path, tokenizer_dir: Path) -> None:
    made = entry(file, tokenizer_dir, "author")
    groups = open_tokens(made).train.groups
    assert groups is not None
    expected = groups.tolist()
    for damage in (
        lambda: (made / "train.groups.npy").unlink(),
        lambda: np.save(made / "train.groups.npy", np.zeros(3, np.int64)),
        lambda: np.save(made / "train.groups.npy", np.full(30, 3, np.int64)),
        lambda: np.save(made / "train.groups.npy", np.zeros(30, np.int32)),
        lambda: shutil.rmtree(made),
    ):
        damage()
        again = open_tokens(entry(file, tokenizer_dir, "author"))
        assert again.directory == made
        assert again.train.groups is not None
        assert again.train.groups.tolist() == expected


def test_a_tokens_directory_carries_them(file: Path, tokenizer_dir: Path, tmp_path: Path) -> None:
    made = write_tokens(
        str(file), tokenizer_dir, tmp_path / "made", max_length=8, client_column="author"
    )
    assert entry(made, tokenizer_dir, "author") == entry(made, tokenizer_dir) == made
    tokens = open_tokens(made)
    assert (tokens.client_column, tokens.group_names) == ("author", ("Ann", "Bo", "Cy"))
    with pytest.raises(BadInput, match=r"hold the column 'author'; .*--client-column site"):
        entry(made, tokenizer_dir, "site")
    bare = write_tokens(str(file), tokenizer_dir, tmp_path / "bare", max_length=8)
    with pytest.raises(BadInput, match=r"hold no such column; .*--client-column author"):
        entry(bare, tokenizer_dir, "author")


# What is drawn of it


def named(split: Split | None, tokens: Tokens) -> list[tuple[list[int], str]]:
    """Each example's tokens, and whose it is."""
    assert split is not None
    assert split.groups is not None
    ends = split.offsets
    return [
        (split.token_ids[ends[i] : ends[i + 1]].tolist(), tokens.group_names[split.groups[i]])
        for i in range(len(split))
    ]


@pytest.mark.parametrize("amounts", [{}, {"train_examples": 9}, {"balance_classes": True}])
def test_every_example_that_is_drawn_keeps_its_group(
    amounts: dict[str, Any], file: Path, tokenizer_dir: Path
) -> None:
    tokens = open_tokens(entry(file, tokenizer_dir, "author"))
    whole = named(tokens.train, tokens)
    asked = {"train_examples": "all", "test_examples": 4, "validation_examples": 5, "data_seed": 3}
    drawn = select_examples(tokens, **asked | amounts)  # type: ignore[arg-type]
    for split in (drawn.train, drawn.validation, drawn.test):
        # texts differ in their number alone, so that each is found by its tokens
        assert all(example in whole for example in named(split, tokens))
    assert len(drawn.test) == 4


def examples(train: Sequence[int], test: Sequence[int] | None, names: Sequence[str]) -> Examples:
    def split(groups: Sequence[int] | None, number: int) -> Split:
        ids = np.arange(number, dtype=np.int32)
        known = None if groups is None else np.asarray(groups, np.int64)
        return Split(ids, np.arange(number + 1), ids.astype(np.int64) % 2, None, known)

    tested = split(test, 3)
    return Examples(split(train, len(train)), None, tested, 2, ("a", "b"), None, tuple(names))


def test_the_hash_of_the_groups_is_that_of_who_is_where() -> None:
    first = examples([0, 2, 2], [0, 1, 2], "abcd")
    same = [
        examples([1, 3, 3], [1, 0, 3], "_a?c"),  # a name that no training example has
        examples([0, 1, 1], [0, 2, 1], "acb"),
        examples([0, 2, 2], [0, 3, 2], "abcd"),
    ]
    assert {other.groups_hash for other in same} == {first.groups_hash}
    others = [
        examples([0, 0, 2], [0, 1, 2], "abcd"),
        examples([2, 0, 0], [0, 1, 2], "abcd"),
        examples([0, 2, 2], [0, 2, 2], "abcd"),
        examples([0, 2, 2], None, "abcd"),
        examples([0, 2, 2], [0, 1, 2], "abed"),
    ]
    assert len({other.groups_hash for other in [first, *others]}) == 6
    assert {other.content_hash for other in [*same, *others]} == {first.content_hash}
