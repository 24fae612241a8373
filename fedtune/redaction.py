"""Passwords in addresses are shown as ``***``, in whatever is printed, raised, logged or stored."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import Any

#: ``://user:password@``: up to the last @ of the word, since passwords hold @ and / too.
_PASSWORD = re.compile(r"(://[^\s:/@]*):\S*@")

#: The same in a query: ``?password=…``.
_IN_QUERY = re.compile(
    r"([?&][\w-]*(?:password|passwd|pwd|token|secret|api_?key)=)[^&#\s'\"]*", re.IGNORECASE
)

#: Addresses as they were given, which may hold blanks, each as it is shown.
_shown: dict[str, str] = {}


def remember(address: str) -> None:
    """From now on this very text is shown without its password, whatever that is made of."""
    scheme, mark, rest = address.partition("://")
    user, at, place = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = f"{scheme}{mark}{name}:***@{place}" if at and colon and "/" not in name else address
    if redacted(shown) != address:
        _shown[address] = redacted(shown)


def redacted(text: str) -> str:
    """The text without the passwords of the addresses in it.

    >>> redacted("postgresql://ada:l0velace@host/db does not answer")
    'postgresql://ada:***@host/db does not answer'
    """
    if "://" not in text:
        return text
    for address, shown in _shown.items():
        text = text.replace(address, shown)
    return _IN_QUERY.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def redact_words(words: Iterable[str]) -> list[str]:
    """The words of a command, as they can be shown."""
    return [redacted(word) for word in words]


def redact_logs() -> None:
    """From now on no library of this process logs a password, and no traceback shows one."""
    make = logging.getLogRecordFactory()
    if make is not _make_record:
        _makers.append(make)
        logging.setLogRecordFactory(_make_record)
    sys.excepthook = _print_traceback


#: What made log records before.
_makers: list[Any] = []


def _make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record: logging.LogRecord = _makers[-1](*args, **kwargs)
    if record.exc_info and record.exc_info[0]:  # what a formatter would make of it later
        record.exc_text = redacted("".join(traceback.format_exception(*record.exc_info)).rstrip())
    try:
        text = record.getMessage()
    except Exception:  # of a wrong number of arguments logging itself tells
        return record
    if redacted(text) != text:
        record.msg, record.args = redacted(text), ()
    return record


def _print_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))
