"""How a report writes names that somebody else chose: short, apart, and in letters there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fedtune.analysis.cell import Series
from fedtune.analysis.fonts import BASE, Fonts, fonts_for
from fedtune.analysis.grid import Grid
from fedtune.analysis.words import apart, shortened, with_shapes

#: Longer names of models and data sets are shortened in the middle; a Chinese character is as wide
#: as two letters.
LIMIT = 28
#: The same for the settings that tell variants of a model apart.
VARIANT_LIMIT = 44


class Renaming(NamedTuple):
    """What stands for each model, data set and variant."""

    models: Mapping[str, str]
    datasets: Mapping[str, str]
    variants: Mapping[str, str]


@dataclass(frozen=True)
class Names:
    """The names of a sweep on its page (``shown``) and in its figures (``drawn``).

    ``families`` are the fonts for the figures, ``stand_ins`` what figures call that which no font
    can write.
    """

    shown: Renaming
    drawn: Renaming
    families: tuple[str, ...] = (BASE,)
    stand_ins: Mapping[str, str] = field(default_factory=dict)

    def in_tables(self, grid: Grid) -> dict[str, str]:
        """What stands in a table for each label and data set that is too long for it."""
        models, datasets, variants = self.shown
        short = dict(datasets)
        for series in grid.series:
            new = Series(models[series.model], series.dataset, variants[series.variant])
            short[series.label] = new.label
        return {old: new for old, new in short.items() if old != new}

    def notes(self) -> list[str]:
        """A sentence on every name that figures cannot have."""
        return [
            f"In the figures “{stand_in}” is {name}: no font on this machine has all its letters."
            for stand_in, name in self.stand_ins.items()
        ]


def names_of(grid: Grid) -> Names:
    """Short names for all that the grid has."""
    kinds: list[tuple[str, list[str], int]] = [
        ("model", grid.models, LIMIT),
        ("data set", grid.datasets, LIMIT),
        ("variant", grid.variants, VARIANT_LIMIT),
    ]
    fonts = fonts_for(with_shapes(name) for _, names, _ in kinds for name in names)
    shown, drawn = [], []
    stand_ins: dict[str, str] = {}
    for kind, names, limit in kinds:
        short = shortened(names, limit)
        written = {name: with_shapes(text) for name, text in short.items()}
        unwritten = {n: f"{kind} {i}" for i, n in enumerate(names, 1) if _lacks(fonts, n)}
        shown.append(short)
        drawn.append(apart(written | unwritten, limit))
        stand_ins |= {drawn[-1][name]: short[name] for name in unwritten}
    return Names(Renaming(*shown), Renaming(*drawn), fonts.families, stand_ins)


def _lacks(fonts: Fonts, text: str) -> bool:
    return not fonts.lacking.isdisjoint(text)
