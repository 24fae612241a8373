"""Text out of files whose encoding nobody has told: recognised where it is certain, else refused.

A wrong guess would train on ``cafÃ©``. So UTF-8 has to be right in every byte, other encodings
need a byte-order mark, and the rest is refused with the command that converts it.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import shlex
import zlib
from collections.abc import Callable
from pathlib import Path

from fedtune.errors import BadInput, first_line

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_UNPACK: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    ".gz": (gzip.decompress, "gzip"),
    ".bz2": (bz2.decompress, "bzip2"),
    ".xz": (lzma.decompress, "xz"),
}


def read_text(dataset: str, path: Path, *, only_utf8: bool = False) -> str:
    """The text of a file, unpacked where its name ends in .gz, .bz2 or .xz, without its mark.

    Raises BadInput, blaming ``dataset``, where the file cannot be read, is empty, or is in an
    encoding that cannot be told, or (``only_utf8``) in another one than UTF-8.
    """
    raw = _bytes(dataset, path)
    if not raw.strip():
        raise BadInput.of("dataset", dataset, f"{path.name} is empty")
    for mark, encoding, name in _MARKS:
        if raw.startswith(mark):
            if only_utf8 and name != "UTF-8":
                message = f"{path.name} is in {name}, and has to be in UTF-8; use what this writes "
                message += f"in its place: {_conversion(path, name)}"
                raise BadInput.of("dataset", dataset, message)
            try:
                return raw.decode(encoding)
            except UnicodeDecodeError as error:
                message = f"{path.name} begins with the mark of {name}, but is none: {error.reason}"
                raise BadInput.of("dataset", dataset, message) from None
    if b"\0" in raw:
        order = "LE" if raw[1::2].count(0) >= raw[::2].count(0) else "BE"
        raise BadInput.of(
            "dataset",
            dataset,
            f"{path.name} has bytes that are 0, which no text in UTF-8 has; if it is UTF-16, use "
            f"what this writes in its place: {_conversion(path, f'UTF-16{order}')}",
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = (
            f"{path.name} is not in UTF-8 (byte {raw[error.start]:#04x} in line {line}, which "
            f"Windows-1252 reads as {_around(raw, error.start)!r}); if that is right, use what "
            f"this writes in its place: {_conversion(path, 'WINDOWS-1252')}"
        )
        raise BadInput.of("dataset", dataset, message) from None


def _bytes(dataset: str, path: Path) -> bytes:
    unpack, name = _UNPACK.get(path.suffix.lower(), (None, ""))
    try:
        raw = path.read_bytes()
        return unpack(raw) if unpack else raw
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        what = f"{path.name} cannot be read{f' as {name}' if name else ''} ({why})"
        raise BadInput.of("dataset", dataset, what) from None


def _around(raw: bytes, place: int) -> str:
    """The word at ``place``, as Windows-1252 would have it."""
    start = max(raw.rfind(b"\n", 0, place) + 1, place - 20)
    text = raw[start : place + 20].decode("cp1252", "replace")
    before, after = text[: place - start], text[place - start :]
    return re.split(r"[\s,;|]", before)[-1] + re.split(r"[\s,;|]", after)[0]


def _conversion(path: Path, encoding: str) -> str:
    """The command that writes the file in UTF-8 beside itself."""
    if path.absolute().is_relative_to(Path.cwd()):
        path = path.absolute().relative_to(Path.cwd())
    stem = path.with_suffix("") if path.suffix.lower() in _UNPACK else path
    out = shlex.quote(str(stem.with_name(f"{stem.stem}-utf8{stem.suffix}")))
    name = shlex.quote(str(path))
    if stem == path:
        return f"iconv -f {encoding} -t UTF-8 {name} > {out}"
    tool = _UNPACK[path.suffix.lower()][1]
    return f"{tool} -dc {name} | iconv -f {encoding} -t UTF-8 > {out}"
