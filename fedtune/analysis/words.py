"""Texts that somebody else wrote, on one line and short."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping


def on_one_line(text: str) -> str:
    """Line breaks and other control characters, and halves of a pair, become �."""
    return "".join("�" if _category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


def with_shapes(text: str) -> str:
    """Without what has no shape, such as joiners and marks of direction."""
    return "".join(letter for letter in text if _category(letter) != "Cf")


def _category(letter: str) -> str:
    return unicodedata.category(letter)


def width(text: str) -> int:
    """How many letters wide a text is: Chinese, Japanese and Korean characters count two."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide


def shortened(names: Iterable[str], limit: int) -> dict[str, str]:
    """Each name, cut in the middle where it is wider than ``limit``; no two become the same."""
    return apart({name: name for name in names}, limit)


def apart(texts: Mapping[str, str], limit: int) -> dict[str, str]:
    """The same with texts that are at most ``limit`` wide and differ: a second one has a ``#2``."""
    short: dict[str, str] = {}
    taken: set[str] = set()
    for key, text in texts.items():
        found, number = _cut(text, limit), 1
        while found in taken:
            number += 1
            found = _cut(text, limit, f" #{number}")
        short[key] = found
        taken.add(found)
    return short


def _cut(name: str, limit: int, mark: str = "") -> str:
    """``beginning…end``, followed by a mark, together at most so wide."""
    if width(name) + width(mark) <= limit:
        return name + mark
    room = limit - width(mark) - 1
    tail = _taken(reversed(name), room // 2)[::-1]
    return _taken(name, room - width(tail)) + "…" + tail + mark


def _taken(letters: Iterable[str], room: int) -> str:
    kept = ""
    for letter in letters:
        if width(kept + letter) > room:
            break
        kept += letter
    return kept
