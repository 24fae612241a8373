"""Token ids on disk and in memory; to open them takes neither `datasets` nor `transformers`.

A tokens directory holds ``tokens.json`` and, for each split, three flat arrays (``.npy``); one more
where texts are pairs and the model is told which is which, and one more where it is known which
client each example comes from. It may lack the test split: test examples are then drawn from the
others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fedtune.data.lookup import TOKENS_FILE
from fedtune.errors import BadInput, readable

#: Raised whenever the same texts would give other files.
FORMAT = 1
#: Of a directory that has token types or lacks the test split; nothing else needs it.
FORMAT_WITH_PARTS = 2
#: The share that is drawn for testing from a data set that is a single file.
TEST_FRACTION = 0.2
_ARRAYS: dict[str, Any] = {"token_ids": np.int32, "offsets": np.int64, "labels": np.int64}
_TYPES: dict[str, Any] = {"token_types": np.uint8}
_GROUPS: dict[str, Any] = {"groups": np.int64}
_SPLITS = ("train", "test")
_PARTS = (*_ARRAYS, *_TYPES, *_GROUPS)
FILES = {TOKENS_FILE, *(f"{split}.{part}.npy" for split in _SPLITS for part in _PARTS)}
_NUMBERS = ("num_classes", "max_length", "pad_token_id", "vocab_size")
_WORDS = {
    **dict.fromkeys(("text_column", "label_column", "tokenizer_hash")),
    "dataset_config": "none",
    "test_split": "test",
    "client_column": "none",  # where the file does not say
}


class Hash(Protocol):
    """Of :mod:`hashlib`."""

    def update(self, data: Any, /) -> None: ...


@dataclass(frozen=True, eq=False)
class Split:
    """Ragged token ids of one split: example i is ``token_ids[offsets[i]:offsets[i + 1]]``.

    ``token_types`` says of every token of a pair to which of the two it belongs; None where an
    example is one text, and where the tokenizer does not tell. ``groups`` are indices of
    ``Tokens.group_names``; None where no column was read for them.
    """

    token_ids: np.ndarray  # (total,) int32
    offsets: np.ndarray  # (n + 1,) int64, from 0
    labels: np.ndarray  # (n,) int64
    token_types: np.ndarray | None = None  # (total,) uint8
    groups: np.ndarray | None = None  # (n,) int64

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, (n,) int64."""
        return np.diff(self.offsets)

    def select(self, indices: np.ndarray) -> Split:
        """Return the examples at ``indices`` (m,) in that order; only their tokens are copied."""
        indices = np.asarray(indices, dtype=np.int64)
        starts = self.offsets[indices]
        offsets = np.zeros(len(indices) + 1, dtype=np.int64)
        np.cumsum(self.offsets[indices + 1] - starts, out=offsets[1:])
        # Where each token comes from: its place in the new array, moved by its example's shift.
        shifts = np.repeat(starts - offsets[:-1], np.diff(offsets))
        take = np.arange(offsets[-1]) + shifts
        types = None if self.token_types is None else np.asarray(self.token_types[take])
        ids, labels = np.asarray(self.token_ids[take]), np.asarray(self.labels[indices])
        groups = None if self.groups is None else np.asarray(self.groups[indices])
        return Split(ids, offsets, labels, types, groups)

    def unlabelled(self) -> Split:
        """The texts alone: every label is 0, and nobody's group is known."""
        labels = np.zeros(len(self), np.int64)
        return Split(self.token_ids, self.offsets, labels, self.token_types)

    def add_to(self, digest: Hash, name: str) -> None:
        """Let ``digest`` tell token ids, offsets, labels and token types from any others."""
        digest.update(f"/{name}/{len(self)}/{len(self.token_ids)}/".encode())
        digest.update(np.ascontiguousarray(self.token_ids, dtype="<i4").data)
        digest.update(np.ascontiguousarray(self.offsets, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        if self.token_types is not None:
            digest.update(b"/types/")
            digest.update(np.ascontiguousarray(self.token_types).data)


@dataclass(frozen=True, eq=False)
class Tokens:
    """A tokenised data set in ``directory``, with what it takes to use it.

    Without ``test`` the examples to test on are drawn from ``train``: ``test_fraction`` of them
    where nothing else is asked for. Where texts are ``unlabelled`` there are no classes, and every
    label is 0.
    """

    train: Split
    test: Split | None
    num_classes: int
    label_names: tuple[str, ...]
    text_column: str
    label_column: str
    tokenizer_hash: str
    max_length: int
    pad_token_id: int
    vocab_size: int
    directory: Path
    dataset_config: str = "none"
    test_split: str = "test"
    test_fraction: float = TEST_FRACTION
    pairs: bool = False
    client_column: str = "none"
    group_names: tuple[str, ...] = ()
    unlabelled: bool = False


def open_tokens(directory: Path) -> Tokens:
    """Open a tokens directory; its arrays stay on disk and are paged in as they are read.

    Raises BadInput where a file is missing or cut short, or where files do not belong together.
    """
    directory = Path(directory)
    try:
        about = json.loads((directory / TOKENS_FILE).read_text(encoding="utf-8"))
        known = (FORMAT, FORMAT_WITH_PARTS)
        if not isinstance(about, dict) or about.get("format") not in known:
            raise _damaged(directory, f"{TOKENS_FILE} is not of format {FORMAT}")
        parts = _ARRAYS | (_TYPES if about.get("token_types") else {})
        fields: dict[str, Any] = {"test": None}
        for name in _SPLITS if about.get("has_test", True) else _SPLITS[:1]:
            grouped = name in about.get("grouped_splits", ())
            fields[name] = _open_split(directory, name, parts | (_GROUPS if grouped else {}))
        fields |= {name: int(about[name]) for name in _NUMBERS}
        fields |= {n: str(about[n] if d is None else about.get(n, d)) for n, d in _WORDS.items()}
        fields["pairs"] = bool(about.get("pairs", False))
        fields["unlabelled"] = bool(about.get("unlabelled", False))
        fields["test_fraction"] = float(about.get("test_fraction", TEST_FRACTION))
        fields["label_names"] = tuple(map(str, about["label_names"]))
        fields["group_names"] = tuple(map(str, about.get("group_names", ())))
    except BadInput:
        raise
    except PermissionError:
        with readable("dataset", str(directory)):
            raise
    except OSError as error:
        raise _damaged(directory, f"{error.filename}: {error.strerror}") from error
    except Exception as error:  # NumPy and json raise what they like over what is no file of theirs
        raise _damaged(directory, f"{type(error).__name__}: {error}") from error
    tokens = Tokens(**fields, directory=directory)
    _check(tokens)
    return tokens


def _open_split(directory: Path, name: str, parts: Mapping[str, Any]) -> Split:
    arrays = {}
    for part, dtype in parts.items():
        file = directory / f"{name}.{part}.npy"
        arrays[part] = np.load(file, mmap_mode="r", allow_pickle=False)
        if arrays[part].dtype != dtype or arrays[part].ndim != 1:
            raise _damaged(directory, f"{file.name} is no flat array of {np.dtype(dtype)}")
    return Split(**arrays)


def _check(tokens: Tokens) -> None:
    """Check what would otherwise surface as a crash deep in training. Reads all ids once."""
    has_classes = tokens.num_classes >= 2 or tokens.unlabelled
    if not has_classes or len(tokens.label_names) != tokens.num_classes:
        raise _damaged(tokens.directory, "num_classes and label_names differ")
    if not 0 <= tokens.pad_token_id < tokens.vocab_size < 2**31:
        raise _damaged(tokens.directory, "pad_token_id and vocab_size do not belong together")
    for name, split in (("train", tokens.train), ("test", tokens.test)):
        if split is None:
            continue
        ends = split.offsets
        sound = len(split) > 0 and len(ends) == len(split) + 1
        sound = sound and ends[0] == 0 and ends[-1] == len(split.token_ids)
        sound = sound and bool(np.all(split.lengths > 0))
        sound = sound and split.lengths.max() <= tokens.max_length
        sound = sound and _within(split.labels, tokens.num_classes or 1)
        types = split.token_types
        sound = sound and (types is None or len(types) == len(split.token_ids))
        sound = sound and _has_its_groups(name, split, tokens)
        if not (sound and _within(split.token_ids, tokens.vocab_size)):
            raise _damaged(tokens.directory, f"its {name} files do not belong together")


def _has_its_groups(name: str, split: Split, tokens: Tokens) -> bool:
    """Does the split say of each example whose it is, where it has to, and of no other?"""
    if split.groups is None:
        return name != "train" or tokens.client_column == "none"
    return len(split.groups) == len(split) and _within(split.groups, len(tokens.group_names))


def _within(array: np.ndarray, limit: int) -> bool:
    return bool(array.min() >= 0 and array.max() < limit)


def _damaged(directory: Path, why: str) -> BadInput:
    return BadInput.of(
        "dataset",
        str(directory),
        f"is no usable tokens directory ({why}); make it again with `fedtune tokens`",
    )
