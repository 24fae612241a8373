"""Texts to tokens, once: the result is cached by content and shared by every trial of a machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedtune.data.lookup import TOKENS_FILE, resolve
from fedtune.data.token_arrays import FILES, FORMAT, open_tokens
from fedtune.data.tokenizer import BATCH, encode, load_tokenizer, progress_bar, tokenizer_hash
from fedtune.errors import BadInput
from fedtune.paths import expanded

if TYPE_CHECKING:
    from fedtune.data.sources import Texts


def tokenize(
    dataset: str,
    tokenizer_dir: Path,
    *,
    max_length: int,
    text_column: str = "auto",
    label_column: str = "auto",
    progress: bool = False,
) -> Path:
    """Return a directory with the tokens of ``dataset``, made in the cache unless it is there.

    A tokens directory as ``dataset`` is checked against tokenizer and ``max_length`` and returned
    as it is. Otherwise the texts are read (to see whether they changed) and looked up in the cache
    by content; two processes may make the same entry at once. Raises BadInput.
    """
    folder = resolve(dataset).folder
    if folder is not None and (folder / TOKENS_FILE).exists():
        _check_fits(dataset, folder, tokenizer_dir, max_length, text_column, label_column)
        return folder
    from fedtune.data.sources import cache_root, load_texts

    texts = load_texts(dataset, text_column, label_column)
    identity = tokenizer_hash(tokenizer_dir)
    key = _content_key(texts, identity, max_length)
    entry = cache_root() / "tokens" / key
    if _is_whole(entry):
        return entry
    with _unfinished(entry, "FEDTUNE_CACHE") as folder:
        _make(folder, texts, tokenizer_dir, identity, max_length, progress)
    return entry


def write_tokens(
    dataset: str,
    tokenizer_dir: Path,
    out: Path,
    *,
    max_length: int,
    text_column: str = "auto",
    label_column: str = "auto",
    progress: bool = False,
) -> Path:
    """Write the tokens of ``dataset`` to ``out``, which then serves as a data set anywhere.

    ``out`` may be missing, empty, or an older tokens directory, which is replaced. Raises BadInput.
    """
    out = expanded(out).absolute()
    if out.is_file() or (out.is_dir() and {path.name for path in out.iterdir()} - FILES):
        raise BadInput.of("out", str(out), "exists and holds other things; name a new folder")
    made = tokenize(
        dataset,
        tokenizer_dir,
        max_length=max_length,
        text_column=text_column,
        label_column=label_column,
        progress=progress,
    )
    if made != out.resolve():
        _discard(out)
        with _unfinished(out, "out") as folder:
            shutil.copytree(made, folder, dirs_exist_ok=True)
    return out


def _check_fits(
    dataset: str, folder: Path, tokenizer_dir: Path, max_length: int, text: str, label: str
) -> None:
    tokens = open_tokens(folder)
    if tokens.tokenizer_hash != tokenizer_hash(tokenizer_dir):
        raise BadInput.of(
            "dataset",
            dataset,
            f"its tokens were made with another tokenizer than that of {tokenizer_dir}; "
            "make them again with `fedtune tokens --model`",
        )
    if tokens.max_length != max_length:
        raise BadInput.of(
            "max_length",
            max_length,
            f"the tokens in {folder} were cut to {tokens.max_length}; allowed is that, or make "
            "them again with `fedtune tokens --max-length`",
        )
    columns = {"text_column": (text, tokens.text_column)}
    columns["label_column"] = (label, tokens.label_column)
    for field, (asked, used) in columns.items():
        if asked not in ("auto", used):
            raise BadInput.of(field, asked, f"the tokens in {folder} were made from '{used}'")


def _content_key(texts: Texts, identity: str, max_length: int) -> str:
    digest = hashlib.sha256()
    columns = [texts.text_column, texts.label_column, texts.label_names]
    # the version, because how a tokenizer's files are read has changed before
    about = [FORMAT, version("transformers"), identity, max_length, *columns]
    digest.update(json.dumps(about).encode())
    for split in (texts.train, texts.test):
        digest.update(f"/{len(split)}/".encode() + split.labels.tobytes())
        for start in range(0, len(split), BATCH):
            batch = split.texts[start : start + BATCH]
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
        _discard(entry)
        return False
    return True


def _make(
    folder: Path,
    texts: Texts,
    tokenizer_dir: Path,
    identity: str,
    max_length: int,
    progress: bool,
) -> None:
    tokenizer = load_tokenizer(tokenizer_dir)
    least = tokenizer.num_special_tokens_to_add() + 1
    if max_length < least:
        raise BadInput.of("max_length", max_length, f"allowed is at least {least} with this model")
    with progress_bar(len(texts.train) + len(texts.test), progress) as bar:
        for name, split in (("train", texts.train), ("test", texts.test)):
            token_ids, offsets = encode(tokenizer, split.texts, max_length, bar)
            np.save(folder / f"{name}.token_ids.npy", token_ids)
            np.save(folder / f"{name}.offsets.npy", offsets)
            np.save(folder / f"{name}.labels.npy", split.labels)
    about: dict[str, Any] = {
        "format": FORMAT,
        "num_classes": len(texts.label_names),
        "label_names": texts.label_names,
        "text_column": texts.text_column,
        "label_column": texts.label_column,
        "tokenizer_hash": identity,
        "max_length": max_length,
        "pad_token_id": int(tokenizer.pad_token_id),
        "vocab_size": max(tokenizer.get_vocab().values()) + 1,  # a vocabulary may have gaps
    }
    (folder / TOKENS_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _unfinished(target: Path, field: str) -> Iterator[Path]:
    """A new folder beside ``target`` that takes its name once it is complete, or is removed.

    Raises BadInput, blaming ``field``, where no folder can be made.
    """
    folder = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise BadInput.of(
            field, str(target.parent), f"is no folder to write to ({error.strerror})"
        ) from error
    try:
        yield folder
        try:
            folder.rename(target)
        except OSError:
            if not (target / TOKENS_FILE).is_file():
                raise
            # somebody else was faster; what they made has the same content
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _discard(entry: Path) -> None:
    """Remove a folder so that nobody sees it half removed; one that is gone already is fine."""
    doomed = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        entry.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
