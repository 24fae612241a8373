"""Which models have a short name; imports nothing, so that a shell can complete them at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ShortName:
    """A model that fedtune knows by a name of its own."""

    hub_id: str | None
    description: str


NAMES: Mapping[str, ShortName] = {
    "mini-bert": ShortName(None, "4 layers, width 128, pretrained pooler"),
    "mini-albert": ShortName(None, "one layer applied 4 times, width 128"),
    "mini-distilbert": ShortName(None, "2 layers, distilled from mini-bert"),
    "bert": ShortName("google-bert/bert-base-cased", "12 layers, 110 M parameters"),
    # v1, which the paper's code used: v2's encoder has no dropout, unlike the other two models'.
    "albert": ShortName("albert/albert-base-v1", "12 layers sharing 11 M parameters"),
    "distilbert": ShortName("distilbert/distilbert-base-cased", "6 layers, 65 M parameters"),
}
