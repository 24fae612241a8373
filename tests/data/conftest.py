"""Fixtures of the data tests: a cache of their own, a tokenizer, folders of texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tokenizers import normalizers, pre_tokenizers
from word_pieces import tokenizer_of

from fedtune.data import toy
from fedtune.data.token_arrays import Split, Tokens
from fedtune.hub import is_reachable

TRAIN = [("the rain", 0), ("bread and salt", 1), ("", 0), ("wind Wind unknown", 1), ("NA", 1)]
TEST = [("more rain today", 0), ("butter", 1)]


@pytest.fixture(autouse=True)
def hermetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches in the test's own folder, no data home, no network."""
    monkeypatch.setenv("FEDTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("FEDTUNE_DATA", "HF_DATASETS_CACHE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    is_reachable.cache_clear()


def save_tokenizer(directory: Path, words: Sequence[str]) -> Path:
    """A cased WordPiece tokenizer that knows ``words`` and single lower-case letters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*letters, *(f"##{letter}" for letter in letters), *words]
    cased = normalizers.BertNormalizer(lowercase=False)
    tokenizer = tokenizer_of(pieces, pre_tokenizers.BertPreTokenizer(), cased)
    tokenizer.save_pretrained(str(directory))
    return directory


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = sorted({word for text, _ in toy.load()[0] for word in text.split()})
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"), words)


@pytest.fixture(scope="session")
def write_json() -> Callable[..., Path]:
    """Writes train.jsonl and test.jsonl (the latter unless ``test`` is None) into a folder."""

    def write(
        folder: Path,
        train: Sequence[tuple[object, object]] = TRAIN,
        test: Sequence[tuple[object, object]] | None = TEST,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in (("train", train), ("test", test)):
            if rows is not None:
                lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
                (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        return folder

    return write


@pytest.fixture
def make_tokens(tmp_path: Path) -> Callable[..., Tokens]:
    """Tokens in memory; example i of a split has the ids i, i, ... (1 + i % 4 of them)."""

    def make(train_labels: Sequence[int], test_labels: Sequence[int], classes: int = 2) -> Tokens:
        def split(labels: Sequence[int]) -> Split:
            lengths = 1 + np.arange(len(labels)) % 4
            ids = np.repeat(np.arange(len(labels)), lengths).astype(np.int32)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            return Split(ids, offsets, np.asarray(labels, dtype=np.int64))

        names = tuple(f"class {label}" for label in range(classes))
        train, test = split(train_labels), split(test_labels)
        return Tokens(train, test, classes, names, "text", "label", "", 8, 0, 10_000, tmp_path)

    return make
