"""Tokens equal the tokenizer's own, are made once, and survive whatever happens to the cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from fedtune.data import token_cache
from fedtune.data.sources import load_texts
from fedtune.data.token_arrays import open_tokens
from fedtune.data.tokenization import tokenize, write_tokens
from fedtune.data.tokenizer import tokenizer_hash
from fedtune.errors import BadInput

Write = Callable[..., Path]


@pytest.fixture
def texts_dir(tmp_path: Path, write_json: Write) -> Path:
    return write_json(tmp_path / "texts")


@pytest.fixture
def tokenizer_copy(tmp_path: Path, tokenizer_dir: Path) -> Path:
    return Path(shutil.copytree(tokenizer_dir, tmp_path / "tokenizer"))


def no_tokenising(*_: object) -> None:
    pytest.fail("tokenised again")


def change_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("max_length", [3, 9, 64])
@pytest.mark.parametrize("dataset", ["toy", "folder"])
def test_ids_are_those_of_the_tokenizer(
    dataset: str, max_length: int, texts_dir: Path, tokenizer_dir: Path
) -> None:
    """The oracle: the tokenizer called on one text at a time."""
    name = str(texts_dir) if dataset == "folder" else dataset
    made = open_tokens(tokenize(name, tokenizer_dir, max_length=max_length))
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_dir))
    texts = load_texts(name)
    for split, source in ((made.train, texts.train), (made.test, texts.test)):
        assert len(split) == len(source)
        assert split.labels.tolist() == source.labels.tolist()
        for i, text in enumerate(source.texts):
            expected = tokenizer(text, truncation=True, max_length=max_length)["input_ids"]
            assert split.token_ids[split.offsets[i] : split.offsets[i + 1]].tolist() == expected
            assert split.lengths[i] == len(expected) <= max_length


def test_what_is_known_about_the_tokens(tokenizer_dir: Path) -> None:
    made = open_tokens(tokenize("toy", tokenizer_dir, max_length=16))
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_dir))
    assert (made.num_classes, made.label_names) == (2, ("weather", "cooking"))
    assert (made.text_column, made.label_column) == ("text", "label")
    assert (made.max_length, made.pad_token_id) == (16, tokenizer.pad_token_id)
    assert made.vocab_size == len(tokenizer)
    assert made.tokenizer_hash == tokenizer_hash(tokenizer_dir)
    arrays = (made.train.token_ids, made.train.offsets, made.train.labels)
    assert [array.dtype for array in arrays] == [np.int32, np.int64, np.int64]
    assert all(isinstance(array, np.memmap) for array in arrays)


def test_more_texts_than_a_batch(
    texts_dir: Path, tokenizer_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_tokens(tokenize(str(texts_dir), tokenizer_dir, max_length=8))
    monkeypatch.setattr("fedtune.data.tokenizer.BATCH", 2)
    shutil.rmtree(whole.directory)
    parts = open_tokens(tokenize(str(texts_dir), tokenizer_dir, max_length=8))
    assert parts.train.token_ids.tolist() == whole.train.token_ids.tolist()
    assert parts.train.offsets.tolist() == whole.train.offsets.tolist()


def test_a_second_time_nothing_is_tokenised(
    texts_dir: Path, tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tokenize(str(texts_dir), tokenizer_dir, max_length=8)
    monkeypatch.setattr(token_cache, "_make", no_tokenising)
    assert tokenize(str(texts_dir), tokenizer_dir, max_length=8) == first
    moved = shutil.copytree(texts_dir, tmp_path / "elsewhere" / "texts")
    assert tokenize(str(moved), tokenizer_dir, max_length=8) == first, "content counts, not place"


def test_whatever_changes_the_tokens_makes_a_new_entry(
    texts_dir: Path, tokenizer_copy: Path, tmp_path: Path, write_json: Write
) -> None:
    def entry(folder: Path = texts_dir, max_length: int = 8) -> Path:
        return tokenize(str(folder), tokenizer_copy, max_length=max_length)

    rows = [("a b", 0), ("c", 1)]
    entries = [
        entry(),
        entry(max_length=9),
        entry(write_json(tmp_path / "other", rows, rows)),
        entry(write_json(tmp_path / "moved border", [("a", 0), ("bc", 1)], rows)),
        entry(write_json(tmp_path / "moved border 2", [("ab", 0), ("c", 1)], rows)),
        entry(write_json(tmp_path / "relabelled", [("ab", 1), ("c", 0)], rows)),
    ]
    change_json(tokenizer_copy / "tokenizer_config.json", truncation_side="left")
    entries.append(entry())
    assert len(set(entries)) == len(entries)


def test_a_changed_file_is_noticed(texts_dir: Path, tokenizer_dir: Path, write_json: Write) -> None:
    first = tokenize(str(texts_dir), tokenizer_dir, max_length=8)
    write_json(texts_dir, [("the rain", 1), ("bread", 0)])
    second = tokenize(str(texts_dir), tokenizer_dir, max_length=8)
    assert first != second
    assert open_tokens(second).train.labels.tolist() == [1, 0]


def test_makers_at_the_same_time_all_succeed(
    texts_dir: Path, tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, all_begun = token_cache._make, threading.Barrier(4)

    def make_together(*arguments: object) -> None:
        all_begun.wait(30)
        make(*arguments)  # type: ignore[arg-type]

    load_texts(str(texts_dir))
    monkeypatch.setattr(token_cache, "_make", make_together)
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(tokenize, str(texts_dir), tokenizer_dir, max_length=8) for _ in range(4)
        ]
        entries = {job.result() for job in jobs}
    assert len(entries) == 1
    assert list((tmp_path / "cache" / "tokens").iterdir()) == list(entries), "nothing is left over"
    open_tokens(entries.pop())


def cut_short(entry: Path) -> None:
    with (entry / "train.token_ids.npy").open("r+b") as file:
        file.truncate(140)


def without_labels(entry: Path) -> None:
    (entry / "test.labels.npy").unlink()


def not_json(entry: Path) -> None:
    (entry / "tokens.json").write_text("{")


def other_format(entry: Path) -> None:
    change_json(entry / "tokens.json", format=0)


def label_out_of_range(entry: Path) -> None:
    np.save(entry / "train.labels.npy", np.full(5, 9))


def ids_out_of_range(entry: Path) -> None:
    change_json(entry / "tokens.json", vocab_size=3)


def of_another_split(entry: Path) -> None:
    shutil.copy(entry / "test.offsets.npy", entry / "train.offsets.npy")


def pickled(entry: Path) -> None:
    np.save(entry / "train.labels.npy", np.array([{}] * 5, dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        without_labels,
        not_json,
        other_format,
        label_out_of_range,
        ids_out_of_range,
        of_another_split,
        pickled,
    ],
)
def test_damage_is_found_and_a_cache_entry_made_again(
    damage: Callable[[Path], None], texts_dir: Path, tokenizer_dir: Path
) -> None:
    entry = tokenize(str(texts_dir), tokenizer_dir, max_length=8)
    whole = open_tokens(entry).train.token_ids.tolist()
    damage(entry)
    with pytest.raises(BadInput, match="no usable tokens directory"):
        open_tokens(entry)
    assert tokenize(str(texts_dir), tokenizer_dir, max_length=8) == entry
    assert open_tokens(entry).train.token_ids.tolist() == whole


def test_a_failure_leaves_nothing_behind(
    texts_dir: Path, tokenizer_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="max_length=2: allowed is at least 3"):
        tokenize(str(texts_dir), tokenizer_dir, max_length=2)
    assert list((tmp_path / "cache" / "tokens").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(
    tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDTUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(BadInput, match=r"FEDTUNE_CACHE=.*is no folder to write to"):
        tokenize("toy", tokenizer_dir, max_length=8)


def test_a_tokens_directory_is_a_data_set(
    texts_dir: Path, tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_tokens(str(texts_dir), tokenizer_dir, tmp_path / "out", max_length=8)
    shutil.rmtree(texts_dir)
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert tokenize(str(out), tokenizer_dir, max_length=8) == out
    assert tokenize(str(out), tokenizer_dir, max_length=8, text_column="text") == out
    monkeypatch.setenv("FEDTUNE_DATA", str(tmp_path))
    assert tokenize("out", tokenizer_dir, max_length=8) == out


@pytest.mark.parametrize(
    ("field", "changed"),
    [("max_length", {"max_length": 9}), ("text_column", {"text_column": "body"})],
)
def test_a_tokens_directory_that_does_not_fit_is_refused(
    field: str, changed: dict[str, object], texts_dir: Path, tokenizer_dir: Path, tmp_path: Path
) -> None:
    out = write_tokens(str(texts_dir), tokenizer_dir, tmp_path / "out", max_length=8)
    arguments: dict[str, object] = {"max_length": 8, **changed}
    with pytest.raises(BadInput) as caught:
        tokenize(str(out), tokenizer_dir, **arguments)  # type: ignore[arg-type]
    assert [fault.field for fault in caught.value.faults] == [field]


def test_tokens_of_another_tokenizer_are_refused(
    texts_dir: Path, tokenizer_copy: Path, tmp_path: Path
) -> None:
    out = write_tokens(str(texts_dir), tokenizer_copy, tmp_path / "out", max_length=8)
    change_json(tokenizer_copy / "tokenizer_config.json", do_lower_case=True)
    with pytest.raises(BadInput, match="made with another tokenizer"):
        tokenize(str(out), tokenizer_copy, max_length=8)
    with pytest.raises(BadInput, match="holds tokens, not texts"):
        load_texts(str(out))


def test_writing_tokens_again_replaces_them_and_nothing_else(
    texts_dir: Path, tokenizer_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_tokens(str(texts_dir), tokenizer_dir, out, max_length=8)
    write_tokens(str(out), tokenizer_dir, out, max_length=8)
    write_tokens(str(texts_dir), tokenizer_dir, out, max_length=9)
    assert open_tokens(out).max_length == 9
    (out / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="holds other things"):
        write_tokens(str(texts_dir), tokenizer_dir, out, max_length=8)
    assert (out / "notes.txt").read_text() == "mine"


OPEN_WITHOUT_LIBRARIES = """
import sys
from pathlib import Path
sys.modules["datasets"] = sys.modules["transformers"] = sys.modules["torch"] = None
from fedtune.data.token_arrays import open_tokens
from fedtune.data.tokenization import tokenize
from fedtune.data.splits import select_examples
out, tokenizer_dir = map(Path, sys.argv[1:])
tokens = open_tokens(tokenize(str(out), tokenizer_dir, max_length=8))
select_examples(tokens, train_examples=4, validation_examples=1, test_examples=1, data_seed=0)
print(len(tokens.train), tokens.train.lengths.tolist())
"""


def test_opening_tokens_takes_neither_datasets_nor_transformers(
    texts_dir: Path, tokenizer_dir: Path, tmp_path: Path
) -> None:
    out = write_tokens(str(texts_dir), tokenizer_dir, tmp_path / "out", max_length=8)
    command = [sys.executable, "-c", OPEN_WITHOUT_LIBRARIES, str(out), str(tokenizer_dir)]
    ran = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"5 {open_tokens(out).train.lengths.tolist()}\n"


def test_the_hash_is_that_of_the_tokenizer_alone(tokenizer_copy: Path) -> None:
    before = tokenizer_hash(tokenizer_copy)
    (tokenizer_copy / "model.safetensors").write_bytes(b"weights")
    (tokenizer_copy / "config.json").write_text("{}")
    config = tokenizer_copy / "tokenizer_config.json"
    change_json(config, name_or_path="elsewhere", model_max_length=7)
    change_json(tokenizer_copy / "tokenizer.json", truncation=None, padding=None)
    assert tokenizer_hash(tokenizer_copy) == before
    change_json(config, tokenizer_class="BertTokenizerFast")
    bert = tokenizer_hash(tokenizer_copy)
    change_json(config, tokenizer_class="DistilBertTokenizer")
    assert tokenizer_hash(tokenizer_copy) == bert != before
    change_json(config, strip_accents=True)
    assert tokenizer_hash(tokenizer_copy) != bert


def test_older_vocabulary_files_count_too(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no tokenizer"):
        tokenizer_hash(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\na\n")
    first = tokenizer_hash(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\nb\n")
    assert tokenizer_hash(tmp_path) != first


def test_unusable_tokenizers_are_refused(tokenizer_copy: Path, texts_dir: Path) -> None:
    change_json(tokenizer_copy / "tokenizer_config.json", pad_token=None)
    with pytest.raises(BadInput, match="has no padding token") as caught:
        tokenize(str(texts_dir), tokenizer_copy, max_length=8)
    assert caught.value.faults[0].field == "model"
    (tokenizer_copy / "tokenizer.json").write_text("{")
    with pytest.raises(BadInput, match=r"tokenizer.json is damaged"):
        tokenize(str(texts_dir), tokenizer_copy, max_length=8)
