"""The page on models names every architecture, and how it is computed or why it is refused."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from fedtune.models.configuration import REFUSED, WITHOUT_BF16, padding_of
from fedtune.models.packed import PACKED

PAGE = Path(__file__).parents[2] / "docs/how-to/own-model.md"
HOW = {
    "packed": "without padding, real tokens only",
    "right": "padded after the text, to the longest of the batch",
    "left": "padded before the text, since the last position is read",
    "none": "texts of one length at a time, since padding would change their scores",
}


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def test_the_page_has_a_row_for_every_way_and_every_refusal() -> None:
    """Made anew by hand where transformers changes: the failure shows the rows."""
    ways: dict[str, list[str]] = {way: [] for way in HOW}
    for kind in sorted(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES):
        if kind in PACKED:
            ways["packed"].append(f"`{kind}`")
        elif kind not in REFUSED:
            ways[padding_of(AutoConfig.for_model(kind))].append(f"`{kind}`")
    rows = [row(HOW[way], ", ".join(kinds)) for way, kinds in ways.items()]
    rows += [row(f"`{kind}`", f"refused: {why}") for kind, why in sorted(REFUSED.items())]
    page = PAGE.read_text(encoding="utf-8").splitlines()
    absent = [line for line in rows if line not in page]
    assert not absent, "rows that the page lacks:\n" + "\n".join(absent)


def test_the_page_names_those_that_fail_in_bf16() -> None:
    named = " and ".join(f"`{kind}`" for kind in sorted(WITHOUT_BF16))
    assert f"{named} fail in bf16" in PAGE.read_text(encoding="utf-8")
