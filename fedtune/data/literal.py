"""Paths that a library would not take at their word, under names that it does."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path

#: What `datasets` and fsspec read as a pattern, as a chain of file systems or as an address.
_SPECIAL = ("*", "?", "[", "]", "::", "://")


def taken_literally(folder: Path, files: Iterable[Path], cache: Path) -> Path:
    """``folder``, or where its name would be misread one of links to ``files`` in it.

    Misread are ``[v1]`` (a pattern) and a folder with a script of its own name, for which
    `datasets` would refuse the data beside it. The links are kept in ``cache``, which has to be
    this state's own. Raises OSError where the system makes no links.
    """
    script = folder / f"{folder.name}.py"
    files = list(files)
    plain = not any("::" in file.name for file in files)
    if plain and not (_is_special(folder) or script.is_file()):
        return folder
    home = cache if not _is_special(cache) else Path(tempfile.mkdtemp(prefix="fedtune-"))
    links = home / "files"
    if links.is_dir():
        return links
    made = home / f".files.{uuid.uuid4().hex}"
    for file in files:
        link = made / plain_name(str(file.relative_to(folder)))
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.absolute())
    try:
        made.rename(links)
    except OSError:
        if not links.is_dir():
            raise
        shutil.rmtree(made)  # somebody else was faster
    return links


def plain_name(name: str) -> str:
    """The name of the link to a file of this name."""
    return name.replace("::", "__")


def _is_special(path: Path) -> bool:
    return any(part in str(path) for part in _SPECIAL)
