"""Texts to tokens, once: the result is cached by content and shared by every trial of a machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedtune.bars import new_bar
from fedtune.config import TrialConfig
from fedtune.data.lookup import TOKENS_FILE, resolve
from fedtune.data.token_arrays import FILES, FORMAT, FORMAT_WITH_PARTS, open_tokens
from fedtune.data.tokenizer import (
    BATCH,
    Encoded,
    encode,
    gives_types,
    load_tokenizer,
    tokenizer_hash,
)
from fedtune.errors import BadInput, first_line, readable
from fedtune.paths import cache_root, expanded

if TYPE_CHECKING:
    from fedtune.data.sources import Texts


def tokenize(
    dataset: str,
    tokenizer_dir: Path,
    *,
    max_length: int,
    text_column: str = "auto",
    label_column: str = "auto",
    client_column: str = "none",
    dataset_config: str = "none",
    test_split: str = "test",
    may_lack_test: bool = False,
    progress: bool = False,
) -> Path:
    """Return a directory with the tokens of ``dataset``, made in the cache unless it is there.

    A tokens directory as ``dataset`` is checked against tokenizer and ``max_length`` and returned
    as it is. Otherwise the texts are read (to see whether they changed) and looked up in the cache
    by content; two processes may make the same entry at once. With a ``client_column`` the entry
    is a copy of the one without, and groups. Raises BadInput, also for a data set that lacks a test
    split (a single file aside), unless it ``may_lack_test``.
    """
    columns = {"text_column": text_column, "label_column": label_column}
    source = {"dataset_config": dataset_config, "test_split": test_split}
    folder = resolve(dataset).folder
    if folder is not None and (folder / TOKENS_FILE).is_file():
        _check_fits(dataset, folder, tokenizer_dir, max_length, columns | source, client_column)
        return folder
    from fedtune.data.sources import load_texts

    asked = columns | source | {"client_column": client_column}
    texts = load_texts(dataset, **asked, may_lack_test=may_lack_test)
    entry = _cached(dataset, texts, tokenizer_dir, max_length, _unusual(source), progress)
    return entry if client_column == "none" else _with_groups(entry, texts, client_column)


def tokenize_unlabelled(
    dataset: str,
    tokenizer_dir: Path,
    *,
    max_length: int,
    usual_columns: str,
    progress: bool = False,
) -> Path:
    """Like :func:`tokenize`, for texts whose labels nobody looks at, and which may lack them.

    Of the split ``train`` alone; see :func:`fedtune.data.sources.load_unlabelled`.
    """
    folder = resolve(dataset).folder
    if folder is not None and (folder / TOKENS_FILE).is_file():
        _check_fits(dataset, folder, tokenizer_dir, max_length, {}, "none")
        return folder
    from fedtune.data.sources import load_unlabelled

    texts = load_unlabelled(dataset, usual_columns)
    about = {"unlabelled": True}
    return _cached(dataset, texts, tokenizer_dir, max_length, about, progress)


def _cached(
    dataset: str,
    texts: Texts,
    tokenizer_dir: Path,
    max_length: int,
    unusual: Mapping[str, Any],
    progress: bool,
) -> Path:
    """The cache entry with the tokens of ``texts``, made unless it is there."""
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
        with _unfinished(entry, "FEDTUNE_CACHE") as made:
            _make(made, dataset, texts, tokenizer_dir, identity, max_length, about, progress)
    return entry


def _with_groups(entry: Path, texts: Texts, client_column: str) -> Path:
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
        with _unfinished(grouped, "FEDTUNE_CACHE") as folder:
            shutil.copytree(entry, folder, dirs_exist_ok=True)
            for name, array in groups.items():
                np.save(folder / f"{name}.groups.npy", array)
            tokens = json.loads((folder / TOKENS_FILE).read_text(encoding="utf-8"))
            _write_about(folder, tokens | about)
    return grouped


def write_tokens(
    dataset: str,
    tokenizer_dir: Path,
    out: Path,
    *,
    max_length: int,
    test_fraction: float | None = None,
    **options: Any,
) -> Path:
    """Write the tokens of ``dataset`` to ``out``, which then serves as a data set anywhere.

    ``out`` may be missing, empty, or an older tokens directory, which is replaced. ``options`` are
    those of :func:`tokenize`. What has no test split gets none here: trials on ``out`` draw theirs,
    ``test_fraction`` of it unless they are told otherwise. Raises BadInput.
    """
    out = expanded(out).absolute()
    if out.is_file() or (out.is_dir() and {path.name for path in out.iterdir()} - FILES):
        raise BadInput.of("out", str(out), "exists and holds other things; name a new folder")
    options["may_lack_test"] = test_fraction is not None
    made = tokenize(dataset, tokenizer_dir, max_length=max_length, **options)
    if made != out.resolve():
        _discard(out)
        with _unfinished(out, "out") as folder:
            shutil.copytree(made, folder, dirs_exist_ok=True)
    if test_fraction is not None and open_tokens(out).test is None:
        about = json.loads((out / TOKENS_FILE).read_text(encoding="utf-8"))
        _write_about(out, about | {"test_fraction": test_fraction})
    return out


def _check_fits(
    dataset: str,
    folder: Path,
    tokenizer_dir: Path,
    max_length: int,
    asked: Mapping[str, str],
    client_column: str,
) -> None:
    tokens = open_tokens(folder)
    if tokens.unlabelled and asked:
        raise BadInput.of(
            "dataset", dataset, "holds texts without labels; name one that has labels"
        )
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
    untold = tokens.pairs and tokens.train.token_types is None
    if untold and gives_types(load_tokenizer(tokenizer_dir)):
        raise BadInput.of(
            "dataset",
            dataset,
            "its tokens do not tell the texts of a pair apart, and this model is told; make them "
            "again with `fedtune tokens --model`",
        )
    for field, value in asked.items():
        made_from = getattr(tokens, field)
        usual = TrialConfig.model_fields[field].default
        tidy = ",".join(map(str.strip, value.split(",")))
        if not {value, tidy} & {usual, made_from}:
            raise BadInput.of(field, value, f"the tokens in {folder} were made from '{made_from}'")
    if client_column not in ("none", tokens.client_column):
        raise BadInput.of(
            "client_column",
            client_column,
            f"the tokens in {folder} "
            + (
                "hold no such column"
                if tokens.client_column == "none"
                else f"hold the column '{tokens.client_column}'"
            )
            + f"; make them again with `fedtune tokens --client-column {client_column}`",
        )


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


def _unusual(source: Mapping[str, str]) -> dict[str, Any]:
    """The part of a data set that the tokens are of, where it is not the usual one."""
    fields = TrialConfig.model_fields
    return {field: value for field, value in source.items() if value != fields[field].default}


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
    _write_about(folder, about)


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


def _write_about(folder: Path, about: Mapping[str, Any]) -> None:
    (folder / TOKENS_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _unfinished(target: Path, field: str) -> Iterator[Path]:
    """A new folder beside ``target`` that takes its name once it is complete, or is removed.

    Raises BadInput, blaming ``field``, where no folder can be made or a file not be written.
    """
    folder = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise BadInput.of(
            field, str(target.parent), f"is no folder to write to ({error.strerror})"
        ) from error
    try:
        try:
            yield folder
        except OSError as error:  # a disk that is full
            why = error.strerror or first_line(error)
            raise BadInput.of(field, str(target.parent), f"cannot be written to ({why})") from error
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
