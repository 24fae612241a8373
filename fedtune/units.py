"""Numbers as people read them, most with a unit."""

from __future__ import annotations


def size(num_bytes: float) -> str:
    """Bytes to three digits, in powers of 1000: ``0 B``, ``12.3 kB``, ``345 MB``, ``6.78 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 999.5:  # what would be rounded to 1000 is one of the next unit
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def number(value: float | None) -> str:
    """An accuracy as people read it; nothing where there is none."""
    return "" if value is None else f"{value:.3f}"


def counted(amount: int, what: str) -> str:
    """``1 text``, ``2,345 texts``."""
    return f"{amount:,} {what}{'s' * (amount != 1)}"
