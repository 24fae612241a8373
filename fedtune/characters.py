"""Characters that an output does not have are written as others, so that no command dies of one.

``PYTHONIOENCODING=ascii``, ``LC_ALL=C`` and terminals in Latin-1 have no ``≤`` and no ``…``. One
error handler, at the two streams, serves whatever is printed: tables, errors, help, progress bars.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from pathlib import Path

#: What stands for a character that fedtune itself prints. Others lose their accents, or become "?".
_INSTEAD = {
    **dict.fromkeys("–—−·━─╸╺", "-"),
    **dict.fromkeys("┃│", "|"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("×✗", "x"),
    **dict(zip("≤≥…±✓→", ("<=", ">=", "...", "+-", "+", "->"), strict=True)),
}

#: The name of the error handler, and of ASCII under another name than its own: into a stream that
#: says it is ASCII click writes UTF-8.
_HANDLER = "fedtune"
_ASCII = "fedtune_ascii"


def plain(text: str, encoding: str) -> str:
    """The text with nothing in it that ``encoding`` lacks.

    >>> plain("≤ 3 s …", "ascii")
    '<= 3 s ...'
    """
    return text.encode(encoding, _HANDLER).decode(encoding)


def make_printable() -> None:
    """From now on standard output and error write other characters for those that they lack."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before the command began (>&-)
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):  # none at all, or a test's
            continue
        lacks = _is_ascii(stream.encoding) or _asks_for_ascii()
        stream.reconfigure(encoding=_ASCII if lacks else stream.encoding, errors=_HANDLER)


def _is_ascii(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "ascii"


def _asks_for_ascii() -> bool:
    """Is the locale C by the user's will? Python would write UTF-8 all the same."""
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    locale = next((value for name in names if (value := os.environ.get(name))), "")
    told = {"PYTHONIOENCODING", "PYTHONUTF8"} & os.environ.keys()
    return locale in ("C", "POSIX") and not told


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_instead(character, error.encoding) for character in lacking), error.end


def _instead(character: str, encoding: str) -> str:
    told = _INSTEAD.get(character) or unicodedata.normalize("NFKD", character)
    return told.encode(encoding, "ignore").decode(encoding) or "?"


def _find(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    ascii_ = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_.encode,
        ascii_.decode,
        ascii_.streamreader,
        ascii_.streamwriter,
        ascii_.incrementalencoder,
        ascii_.incrementaldecoder,
        _ASCII,
    )


codecs.register_error(_HANDLER, _replace)
codecs.register(_find)
