"""Texts to tokens, once: the result is cached by content and shared by every trial of a machine."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedtune.bars import new_bar
from fedtune.data.lookup import TOKENS_FILE
from fedtune.data.token_arrays import FORMAT, FORMAT_WITH_PARTS, open_tokens
from fedtune.data.token_folders import discard, unfinished, write_about
from fedtune.data.tokenizer import (
    BATCH,
    Encoded,
    encode,
    gives_types,
    load_tokenizer,
    tokenizer_hash,
)
from fedtune.errors import BadInput, readable
from fedtune.paths import cache_root

if TYPE_CHECKING:
    from fedtune.data.sources import Texts


def cached(
    dataset: str,
    texts: Texts,
    tokenizer_dir: Path,
    max_length: int,
    unusual: Mapping[str, Any],
    progress: bool,
) -> Path:
    """The cache entry with the tokens of ``texts``, made unless it is there.

    ``unusual`` is what ``tokens.json`` says of them that is not said of every data set. Raises
    BadInput.
    """
    from fedtune.data.library_calls import told_apart

    with readable("model", str(tokenizer_dir)):
        identity = tokenizer_hash(tokenizer_dir)
    about = dict(unusual)
    if texts.train.seconds is not None:  # models that share a tokenizer may differ in this
        about |= {"pairs": True, "token_types": gives_types(load_tokenizer(tokenizer_dir))}
    if texts.test is None:
        about["has_test"] = False
    with told_apart(dataset, "is a file damaged?"):  # texts are read from disk here
        key = _content_key(texts, identity, max_length, about)
    entry = cache_root() / "tokens" / key
    if not _is_whole(entry):
        with unfinished(entry, "FEDTUNE_CACHE") as made:
            _make(made, dataset, texts, tokenizer_dir, identity, max_length, about, progress)
    return entry


def with_groups(entry: Path, texts: Texts, client_column: str) -> Path:
    """The cache entry that has ``entry``'s tokens, and whose each example is.

    Its own, so that the tokens of one data set are made once, whichever column is read beside them.
    """
    splits = {"train": texts.train, "test": texts.test}
    groups = {n: s.groups for n, s in splits.items() if s is not None and s.groups is not None}
    about = {
        "client_column": client_column,
        "group_names": texts.group_names,
        "grouped_splits": list(groups),
    }
    digest = hashlib.sha256(json.dumps([entry.name, about]).encode())
    for array in groups.values():
        digest.update(array.tobytes())
    grouped = entry.with_name(digest.hexdigest())
    if not _is_whole(grouped):
        with unfinished(grouped, "FEDTUNE_CACHE") as folder:
            shutil.copytree(entry, folder, dirs_exist_ok=True)
            for name, array in groups.items():
                np.save(folder / f"{name}.groups.npy", array)
            tokens = json.loads((folder / TOKENS_FILE).read_text(encoding="utf-8"))
            write_about(folder, tokens | about)
    return grouped


def _content_key(texts: Texts, identity: str, max_length: int, unusual: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    columns = [texts.text_column, texts.label_column, texts.label_names]
    # the version, because how a tokenizer's files are read has changed before
    about = [FORMAT, version("transformers"), identity, max_length, *columns]
    digest.update(json.dumps(about).encode())
    if unusual:
        digest.update(json.dumps(unusual).encode())
    for split in (texts.train, texts.test):
        if split is None:
            continue
        digest.update(f"/{len(split)}/".encode() + split.labels.tobytes())
        for column in [split.texts, *([] if split.seconds is None else [split.seconds])]:
            for start in range(0, len(split), BATCH):
                batch = column[start : start + BATCH]
                # the lengths say where one text ends and the next begins
                digest.update(np.fromiter(map(len, batch), np.int64, len(batch)).tobytes())
                digest.update("".join(batch).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _is_whole(entry: Path) -> bool:
    if not entry.exists():
        return False
    try:
        open_tokens(entry)
    except BadInput:  # a disk that was full, a file that somebody removed: it is made again
        discard(entry)
        return False
    return True


def _make(
    folder: Path,
    dataset: str,
    texts: Texts,
    tokenizer_dir: Path,
    identity: str,
    max_length: int,
    unusual: Mapping[str, Any],
    progress: bool,
) -> None:
    tokenizer = load_tokenizer(tokenizer_dir)
    pairs = texts.train.seconds is not None
    least = tokenizer.num_special_tokens_to_add(pair=pairs) + 1 + pairs
    if max_length < least:
        what = f"with this model{' and pairs of texts' if pairs else ''}"
        raise BadInput.of("max_length", max_length, f"allowed is at least {least} {what}")
    splits = {"train": texts.train} | ({"test": texts.test} if texts.test else {})
    with new_bar("tokenises", sum(map(len, splits.values())), progress) as bar:
        for name, split in splits.items():
            encoded = encode(tokenizer, split.texts, split.seconds, max_length, bar)
            _check_tokens(dataset, name, encoded)
            for part, array in (*vars(encoded).items(), ("labels", split.labels)):
                if array is not None:
                    np.save(folder / f"{name}.{part}.npy", array)
    has_parts = unusual.get("token_types") or texts.test is None
    about: dict[str, Any] = {
        "format": FORMAT_WITH_PARTS if has_parts else FORMAT,
        "num_classes": len(texts.label_names),
        "label_names": texts.label_names,
        "text_column": texts.text_column,
        "label_column": texts.label_column,
        "tokenizer_hash": identity,
        "max_length": max_length,
        "pad_token_id": int(tokenizer.pad_token_id),
        "vocab_size": max(tokenizer.get_vocab().values()) + 1,  # a vocabulary may have gaps
        **unusual,
    }
    write_about(folder, about)


def _check_tokens(dataset: str, split: str, encoded: Encoded) -> None:
    """Raise BadInput where a text became no token at all."""
    without = np.flatnonzero(np.diff(encoded.offsets) == 0)
    if len(without):
        raise BadInput.of(
            "dataset",
            dataset,
            f"{len(without)} of {len(encoded.offsets) - 1} texts of the {split} split become no "
            f"token with this model's tokenizer, as an empty text does where it adds no special "
            f"tokens (first in row {without[0]}, counted from 0); take them out of the files",
        )
