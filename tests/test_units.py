"""Numbers with a unit, as people read them."""

from __future__ import annotations

from fedtune.units import size


def test_sizes_are_written_for_people() -> None:
    assert [size(n) for n in (0, 999, 12_345, 3.4e8, 2.26e9, 4e12)] == [
        "0 B", "999 B", "12.3 kB", "340 MB", "2.26 GB", "4 TB",
    ]  # fmt: skip


def test_what_would_be_rounded_to_a_thousand_has_the_next_unit() -> None:
    assert [size(n) for n in (999.6, 999_700, 999_950_000)] == ["1 kB", "1 MB", "1 GB"]
