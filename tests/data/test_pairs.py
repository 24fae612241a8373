"""Pairs of texts: the tokenizer's own pairing, kept token by token."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from fedtune.data.batches import DeviceSplit
from fedtune.data.sources import load_texts
from fedtune.data.splits import select_examples
from fedtune.data.token_arrays import Tokens, open_tokens
from fedtune.data.tokenization import tokenize, write_tokens
from fedtune.data.tokenizer import tokenizer_hash
from fedtune.errors import BadInput

TRAIN = [
    ("the rain and the wind", "more snow", 0),
    ("bread", "salt and butter and soup and rice and meat", 1),
    ("", "sun", 1),
    ("cold sky", "", 0),
]
TEST = [("wind", "cloud and storm", 0), ("the oven " * 9, "the sugar " * 9, 1)]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name, rows in (("train", TRAIN), ("test", TEST)):
        records = [{"first": a, "second": b, "label": label} for a, b, label in rows]
        (folder / f"{name}.json").write_text(json.dumps(records))
    return folder


def made(pairs: Path, tokenizer_dir: Path, max_length: int = 12, columns: str = "") -> Tokens:
    text_column = columns or "first,second"
    return open_tokens(
        tokenize(str(pairs), tokenizer_dir, max_length=max_length, text_column=text_column)
    )


@pytest.mark.parametrize("max_length", [5, 8, 12, 64])
def test_ids_and_segments_are_those_of_the_tokenizer(
    max_length: int, pairs: Path, tokenizer_dir: Path
) -> None:
    """The oracle: the tokenizer called on one pair at a time, its way of truncating included.

    In lists: without them it takes an empty second text for none.
    """
    how = {"truncation": True, "max_length": max_length}
    tokens = made(pairs, tokenizer_dir, max_length)
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_dir))
    for split, rows in ((tokens.train, TRAIN), (tokens.test, TEST)):
        assert split is not None
        assert split.token_types is not None
        for i, (first, second, label) in enumerate(rows):
            expected = tokenizer([first], [second], **how)
            own = slice(split.offsets[i], split.offsets[i + 1])
            assert [split.token_ids[own].tolist()] == expected["input_ids"]
            assert [split.token_types[own].tolist()] == expected["token_type_ids"]
            assert split.labels[i] == label
    assert tokens.text_column == "first,second"
    assert tokens.train.token_types is not None
    assert set(tokens.train.token_types) == {0, 1}


def test_pairs_need_room_for_a_token_of_each(pairs: Path, tokenizer_dir: Path) -> None:
    with pytest.raises(BadInput, match=r"max_length=4: allowed is at least 5 .* pairs of texts"):
        made(pairs, tokenizer_dir, 4)


def test_the_order_of_the_columns_counts(pairs: Path, tokenizer_dir: Path) -> None:
    there, back = (made(pairs, tokenizer_dir, columns=c) for c in ("first,second", "second,first"))
    assert there.directory != back.directory
    assert back.text_column == "second,first"
    assert there.train.token_ids.tolist() != back.train.token_ids.tolist()


def content_hash(tokens: Tokens) -> str:
    return select_examples(
        tokens, train_examples="all", validation_examples=0, test_examples="all", data_seed=0
    ).content_hash


def test_where_the_texts_meet_is_part_of_the_content(pairs: Path, tokenizer_dir: Path) -> None:
    tokens = made(pairs, tokenizer_dir)
    before = content_hash(tokens)
    assert tokens.train.token_types is not None
    moved = np.array(tokens.train.token_types)
    moved[2] ^= 1
    tokens.train.__dict__["token_types"] = moved
    assert content_hash(tokens) != before


def test_segments_go_with_the_tokens(pairs: Path, tokenizer_dir: Path) -> None:
    """Through a selection, a batch, and padding, whether attended to or not."""
    split = made(pairs, tokenizer_dir).train
    chosen = split.select(np.array([3, 0, 1]))
    for i, row in enumerate((3, 0, 1)):
        for part in ("token_ids", "token_types"):
            mine = getattr(chosen, part)[chosen.offsets[i] : chosen.offsets[i + 1]]
            theirs = getattr(split, part)[split.offsets[row] : split.offsets[row + 1]]
            assert mine.tolist() == theirs.tolist()
    cpu = torch.device("cpu")
    for pad_to in (None, 12):
        whole = DeviceSplit(chosen, num_classes=2, pad_token_id=0, pad_to=pad_to, device=cpu)
        batch = whole.batch(torch.tensor([0, 1, 2]))
        assert batch.token_types is not None
        assert len(batch.token_types) == len(batch.token_ids)
        types = batch.padded_types()
        assert types is not None
        for row, example in enumerate(np.argsort(chosen.lengths, kind="stable")):
            own = slice(chosen.offsets[example], chosen.offsets[example + 1])
            assert chosen.token_types is not None
            expected = chosen.token_types[own].tolist()
            assert types[row].tolist() == expected + [0] * (types.shape[1] - len(expected))


def test_pairs_survive_as_a_tokens_directory(
    pairs: Path, tokenizer_dir: Path, tmp_path: Path
) -> None:
    columns = {"text_column": "first, second"}
    out = write_tokens(str(pairs), tokenizer_dir, tmp_path / "out", max_length=12, **columns)
    expected = made(pairs, tokenizer_dir)
    shutil.rmtree(pairs)
    for asked in ("auto", "first,second", "first, second"):
        tokens = made(out, tokenizer_dir, columns=asked)
        assert tokens.directory == out
        assert content_hash(tokens) == content_hash(expected)
    with pytest.raises(BadInput, match="were made from 'first,second'"):
        made(out, tokenizer_dir, columns="second,first")
    np.save(out / "test.token_types.npy", np.zeros(3, np.uint8))
    with pytest.raises(BadInput, match="its test files do not belong together"):
        open_tokens(out)


def test_texts_that_are_no_pairs_are_cached_as_ever(
    tokenizer_dir: Path, tmp_path: Path, write_json: Callable[..., Path]
) -> None:
    """Entries from before are found: the key, the format and the files are what they were."""
    folder = write_json(tmp_path / "d")
    entry = tokenize(str(folder), tokenizer_dir, max_length=8)
    texts = load_texts(str(folder))
    assert texts.test is not None
    about = [1, version("transformers"), tokenizer_hash(tokenizer_dir), 8]
    digest = hashlib.sha256(json.dumps([*about, "text", "label", ["0", "1"]]).encode())
    for split in (texts.train, texts.test):
        words = list(split.texts)
        digest.update(f"/{len(words)}/".encode() + split.labels.tobytes())
        digest.update(np.array([len(text) for text in words], np.int64).tobytes())
        digest.update("".join(words).encode())
    assert entry.name == digest.hexdigest()
    names = {f"{s}.{part}.npy" for s in ("train", "test") for part in ("token_ids", "offsets")}
    names |= {"train.labels.npy", "test.labels.npy", "tokens.json"}
    assert {path.name for path in entry.iterdir()} == names
    told = json.loads((entry / "tokens.json").read_text())
    assert told["format"] == 1
    assert set(told) == {
        *("format", "num_classes", "label_names", "text_column", "label_column"),
        *("tokenizer_hash", "max_length", "pad_token_id", "vocab_size"),
    }


def test_tokenizers_that_tell_no_texts_apart(
    pairs: Path, tokenizer_dir: Path, tmp_path: Path
) -> None:
    """Such as DistilBERT's, which is BERT's but for this: the two must not share their tokens."""
    silent = Path(shutil.copytree(tokenizer_dir, tmp_path / "silent"))
    config = json.loads((silent / "tokenizer_config.json").read_text())
    config["model_input_names"] = ["input_ids", "attention_mask"]
    (silent / "tokenizer_config.json").write_text(json.dumps(config))
    assert tokenizer_hash(silent) == tokenizer_hash(tokenizer_dir)
    telling, untold = made(pairs, tokenizer_dir), made(pairs, silent)
    assert telling.directory != untold.directory
    assert telling.train.token_ids.tolist() == untold.train.token_ids.tolist()
    assert telling.train.token_types is not None
    assert untold.train.token_types is None
    columns = {"text_column": "first,second"}
    out = write_tokens(str(pairs), silent, tmp_path / "out", max_length=12, **columns)
    assert made(out, silent).directory == out
    with pytest.raises(BadInput, match="do not tell the texts of a pair apart"):
        made(out, tokenizer_dir)
