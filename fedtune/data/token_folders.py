"""Writes folders of tokens, which are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedtune.data.lookup import TOKENS_FILE
from fedtune.errors import BadInput, first_line


@contextlib.contextmanager
def unfinished(target: Path, field: str) -> Iterator[Path]:
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


def discard(entry: Path) -> None:
    """Remove a folder so that nobody sees it half removed; one that is gone already is fine."""
    doomed = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        entry.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def write_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Write what is to be known of the tokens in ``folder`` beside their arrays."""
    (folder / TOKENS_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
