"""Fonts that have the letters of a sweep's names, out of those that this machine has."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from matplotlib import font_manager

#: Comes with matplotlib, so every machine draws the same figure where it has all the letters.
BASE = "DejaVu Sans"

#: Asked first: plain and upright, and found on Linux, macOS or Windows. The rest is asked by name.
_LIKED = (
    *("Noto Sans CJK SC", "Noto Sans CJK TC", "Source Han Sans SC", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "PingFang SC", "Heiti SC", "Microsoft YaHei", "SimHei"),
    *("Noto Sans", "Arial Unicode MS", "Segoe UI", "Helvetica Neue", "Arial"),
)
_LIKED_JAPANESE = (
    *("Noto Sans CJK JP", "Source Han Sans JP", "IPAexGothic", "IPAGothic", "TakaoGothic"),
    *("VL Gothic", "Hiragino Sans", "Yu Gothic", "Meiryo", "MS Gothic"),
)
_LIKED_KOREAN = (
    *("Noto Sans CJK KR", "Source Han Sans KR", "NanumGothic", "Apple SD Gothic Neo"),
    *("Malgun Gothic", "UnDotum"),
)
#: Fonts that have a box for every letter.
_EMPTY = ("lastresort", "last resort", "adobe blank", "adobeblank")


class Fonts(NamedTuple):
    """Families to draw with, the first that has a letter draws it; and letters that none has."""

    families: tuple[str, ...]
    lacking: frozenset[str]


def fonts_for(texts: Iterable[str]) -> Fonts:
    """The fewest fonts needed, always in the same order on the same machine."""
    wanted = {letter for text in texts for letter in text}
    lacking = wanted - _letters_of(BASE)
    families = [BASE]
    for family in _candidates(wanted) if lacking else ():
        found = lacking & _letters_of(family)
        if found:
            families.append(family)
            lacking -= found
        if not lacking:
            break
    return Fonts(tuple(families), frozenset(lacking))


def _candidates(letters: set[str]) -> Iterator[str]:
    """Families in the order in which they are asked, those that matplotlib has not seen yet last.

    Chinese, Japanese and Korean share characters that are drawn differently, so that Japanese and
    Korean letters bring their own fonts to the front.
    """
    scripts = {unicodedata.name(letter, "").split(" ")[0] for letter in letters}
    liked = [
        *(_LIKED_JAPANESE if scripts & {"HIRAGANA", "KATAKANA"} else ()),
        *(_LIKED_KOREAN if "HANGUL" in scripts else ()),
        *_LIKED,
        *_LIKED_JAPANESE,
        *_LIKED_KOREAN,
    ]
    known = _families()
    yield from (family for family in liked if family in known)
    yield from sorted(known - {BASE, *liked})
    _look_again()
    new = _families() - known
    yield from (family for family in liked if family in new)
    yield from sorted(new - set(liked))


def _families() -> set[str]:
    """Families with letters that are upright and of the usual weight and width."""
    return {
        entry.name
        for entry in font_manager.fontManager.ttflist
        if (entry.style, entry.variant, entry.stretch) == ("normal", "normal", "normal")
        and entry.weight in (400, "normal", "regular")
        and not entry.name.lower().startswith(_EMPTY)
    }


def _look_again() -> None:
    """Add the fonts that were installed after matplotlib made its list of them."""
    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            manager.addfont(path)
        except Exception:  # a file that is no font that matplotlib can read
            continue


def _letters_of(family: str) -> set[str]:
    """The letters that the font has which matplotlib takes for this family."""
    try:
        path = font_manager.findfont(
            font_manager.FontProperties(family=[family]), fallback_to_default=False
        )
        font = font_manager.get_font(path)
    except Exception:  # a font that was removed, or that cannot be read
        return set()
    if not font.scalable:  # made of pixels, as emoji are in colour
        return set()
    return {chr(code) for code in font.get_charmap()}
