"""A data set's tokens: those that it has, those in the cache, or new ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedtune.config import TrialConfig
from fedtune.data.lookup import TOKENS_FILE, resolve
from fedtune.data.token_arrays import FILES, open_tokens
from fedtune.data.token_cache import cached, with_groups
from fedtune.data.token_folders import discard, unfinished, write_about
from fedtune.data.tokenizer import gives_types, load_tokenizer, tokenizer_hash
from fedtune.errors import BadInput
from fedtune.paths import expanded


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
    entry = cached(dataset, texts, tokenizer_dir, max_length, _unusual(source), progress)
    return entry if client_column == "none" else with_groups(entry, texts, client_column)


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
    return cached(dataset, texts, tokenizer_dir, max_length, about, progress)


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
        discard(out)
        with unfinished(out, "out") as folder:
            shutil.copytree(made, folder, dirs_exist_ok=True)
    if test_fraction is not None and open_tokens(out).test is None:
        about = json.loads((out / TOKENS_FILE).read_text(encoding="utf-8"))
        write_about(out, about | {"test_fraction": test_fraction})
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


def _unusual(source: Mapping[str, str]) -> dict[str, Any]:
    """The part of a data set that the tokens are of, where it is not the usual one."""
    fields = TrialConfig.model_fields
    return {field: value for field, value in source.items() if value != fields[field].default}
