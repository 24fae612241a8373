"""Which files are a tokenizer, what it has to have, and texts that become no token at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import transformers
from transformers import CanineTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from fedtune.data.token_arrays import open_tokens
from fedtune.data.tokenization import tokenize
from fedtune.data.tokenizer import TOKENIZER_FILES, has_tokenizer, pads_left, tokenizer_hash
from fedtune.errors import BadInput
from fedtune.models.configuration import REFUSED

Write = Callable[..., Path]


@pytest.fixture
def copy(tmp_path: Path, tokenizer_dir: Path) -> Path:
    return Path(shutil.copytree(tokenizer_dir, tmp_path / "tokenizer"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def vocabularies() -> Iterator[tuple[str, str]]:
    """The files of each tokenizer of a model that can be trained, by the kind of that model."""
    for kind in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        name = TOKENIZER_MAPPING_NAMES.get(kind)
        if kind in REFUSED or name is None:
            continue
        try:
            files = getattr(transformers, name).vocab_files_names
        except ImportError:  # it needs sentencepiece
            continue
        yield from ((kind, name) for name in files.values())


def test_the_files_of_every_tokenizer_are_known() -> None:
    found = set(vocabularies())
    assert {("deberta-v2", "spm.model"), ("xlm-roberta", "sentencepiece.bpe.model")} <= found
    unknown = [(kind, name) for kind, name in found if name not in TOKENIZER_FILES]
    assert not unknown


@pytest.mark.parametrize("name", ["spm.model", "sentencepiece.bpe.model", "sentencepiece.model"])
def test_any_of_them_is_a_tokenizer_and_counts(name: str, tmp_path: Path) -> None:
    assert not has_tokenizer(tmp_path)
    (tmp_path / name).write_bytes(b"pieces")
    assert has_tokenizer(tmp_path)
    first = tokenizer_hash(tmp_path)
    (tmp_path / name).write_bytes(b"other pieces")
    assert tokenizer_hash(tmp_path) != first


def test_a_tokenizer_of_characters_needs_no_vocabulary(tmp_path: Path, write_json: Write) -> None:
    CanineTokenizer().save_pretrained(tmp_path / "canine")
    assert {path.suffix for path in (tmp_path / "canine").iterdir()} == {".json"}
    assert has_tokenizer(tmp_path / "canine")
    made = tokenize(str(write_json(tmp_path / "texts")), tmp_path / "canine", max_length=32)
    tokens = open_tokens(made)
    assert "".join(map(chr, tokens.train.token_ids[1:9])) == "the rain"


def test_a_missing_padding_token_is_told_with_what_mends_it(copy: Path, write_json: Write) -> None:
    edit(copy / "tokenizer_config.json", pad_token=None)
    texts = str(write_json(copy.parent / "texts"))
    with pytest.raises(BadInput, match=r"no padding token; .*pad_token = .*eos_token.*save") as bad:
        tokenize(texts, copy, max_length=8)
    assert [fault.field for fault in bad.value.faults] == ["model"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(copy)
    tokenizer.eos_token = tokenizer.sep_token
    tokenizer.pad_token = tokenizer.eos_token  # as told
    tokenizer.save_pretrained(copy)
    assert open_tokens(tokenize(texts, copy, max_length=8)).pad_token_id == tokenizer.sep_token_id


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_of_padding_is_the_tokenizers(side: str, copy: Path) -> None:
    edit(copy / "tokenizer_config.json", padding_side=side)
    assert pads_left(copy) is (side == "left")


SOUND = [("the rain", 0), ("bread and salt", 1), ("wind", 0)]


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([*SOUND, ("", 0)], SOUND, r"1 of 4 texts of the train split .*first in row 3, counted"),
        ([("", 0), *SOUND, ("", 1)], SOUND, r"2 of 5 texts of the train split .*first in row 0"),
        (SOUND, [*SOUND, (" \t ", 1)], r"1 of 4 texts of the test split .*first in row 3"),
    ],
)
def test_a_text_without_a_token_is_told_and_where(
    train: object, test: object, words: str, copy: Path, write_json: Write
) -> None:
    edit(copy / "tokenizer.json", post_processor=None)  # such as GPT-2's, which adds no tokens
    texts = write_json(copy.parent / "my texts", train, test)
    for _ in range(2):  # nothing of the first time is left that could be met
        with pytest.raises(BadInput, match=words) as bad:
            tokenize(str(texts), copy, max_length=8)
        assert [(f.field, f.value) for f in bad.value.faults] == [("dataset", str(texts))]
    assert not list((copy.parent / "cache").rglob("*.npy"))


def test_where_special_tokens_are_added_an_empty_text_is_a_text(
    copy: Path, write_json: Write
) -> None:
    texts = write_json(copy.parent / "texts", [*SOUND, ("", 0)], SOUND)
    assert open_tokens(tokenize(str(texts), copy, max_length=8)).train.lengths[3] == 2
