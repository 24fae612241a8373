"""The predictions on clients that differ, judged on worlds with a known answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fedtune.analysis.samples import Sample
from fedtune.errors import BadInput
from tools import heterogeneity
from tools.heterogeneity import CLIENTS, SPREADS, STRATEGIES, Cell, Difference, judge

TEXTS = 1000


def sample(*accuracies: float) -> Sample:
    """Seeds whose first texts are right: what two samples differ in is discordant one way."""
    rows = np.stack([np.arange(TEXTS) < round(TEXTS * each) for each in accuracies])
    return Sample(dict(enumerate(accuracies)), examples=rows.astype(float), test_set="test")


def world(**changed: tuple[float, ...]) -> dict[tuple[str, str, int], Cell]:
    """As was predicted, but for the cells named: ``alike_scaffold_8=(.8, .81, .8)``."""
    lost = dict(zip(SPREADS, (0.0, 0.02, 0.10), strict=True))
    cells = {}
    for spread, word in zip(SPREADS, ("alike", "some", "much"), strict=True):
        for name in STRATEGIES:
            for clients in CLIENTS:
                mean = 0.80 - lost[spread] - (0.03 if clients == 32 else 0.0)
                mean += 0.02 if (word, name, clients) == ("some", "scaffold", 8) else 0.0
                mean += 0.02 if (word, name) == ("much", "fedadam") else 0.0
                seeds = (mean, mean + 0.001, mean + 0.002)
                accuracy = sample(*changed.get(f"{word}_{name}_{clients}", seeds))
                worst = accuracy.mean - 0.16 if word == "much" else None
                cells[spread, name, clients] = Cell(accuracy, accuracy.mean, worst)
    return cells


def verdicts(**changed: tuple[float, ...]) -> dict[str, str]:
    return {each.name: each.verdict for each in judge(world(**changed))}


def test_a_world_as_predicted_holds_in_all_eight() -> None:
    assert verdicts() == {f"P{number}": "holds" for number in range(1, 9)}


@pytest.mark.parametrize(
    ("name", "changed", "verdict"),
    [
        ("P1", {"alike_scaffold_8": (0.82, 0.82, 0.82)}, "fails"),
        ("P1", {"alike_fedadam_32": (0.82, 0.82, 0.82)}, "holds"),
        ("P1", {"alike_fedadam_32": (0.72, 0.72, 0.72)}, "fails"),
        ("P2", {"much_fedprox_8": (0.65, 0.66, 0.67)}, "fails"),
        ("P3", {"some_fedavg_8": (0.75, 0.75, 0.75)}, "fails"),
        ("P4", {"some_scaffold_8": (0.78, 0.781, 0.782)}, "open"),
        ("P4", {"some_scaffold_8": (0.74, 0.74, 0.74)}, "fails"),
        ("P5", {"much_scaffold_32": (0.71, 0.72, 0.73)}, "fails"),
        ("P5", {"much_scaffold_32": (0.51, 0.52, 0.53)}, "holds"),
        ("P6", {"much_fedadam_8": (0.70, 0.701, 0.702)}, "open"),
        ("P6", {"much_fedadam_8": (0.6, 0.6, 0.6), "much_fedavgm_8": (0.6, 0.6, 0.6)}, "fails"),
        ("P7", {"much_fedavg_8": (0.74, 0.74, 0.74)}, "holds"),
        ("P8", {"much_scaffold_32": (0.75, 0.75, 0.75)}, "fails"),
        ("P8", {"much_scaffold_32": (0.699, 0.702, 0.701)}, "open"),
    ],
)
def test_one_cell_that_is_otherwise_is_noticed(
    name: str, changed: dict[str, tuple[float, ...]], verdict: str
) -> None:
    assert verdicts(**changed)[name] == verdict


@pytest.mark.parametrize(
    ("strategy", "worst", "verdict"),
    [("fedavgm", 0.54, "holds"), ("scaffold", 0.69, "fails"), ("fedadam", 0.55, "holds")],
)
def test_a_strategy_that_serves_the_worst_client_better_has_to_be_as_good(
    strategy: str, worst: float, verdict: str
) -> None:
    cells = world()
    other = cells["α = 0.1", strategy, 8]
    cells["α = 0.1", strategy, 8] = Cell(other.accuracy, other.mean_client, worst)
    assert judge(cells)[6].verdict == verdict


def test_of_strategies_that_are_alike_none_is_wrong_to_be_the_kindest() -> None:
    cells = world(much_fedprox_8=(0.718, 0.722, 0.719))
    alike = cells["α = 0.1", "fedprox", 8]
    cells["α = 0.1", "fedprox", 8] = Cell(alike.accuracy, alike.mean_client, 0.69)
    assert judge(cells)[6].verdict == "open"
    cells["α = 0.1", "fedavg", 8] = Cell(alike.accuracy, 0.70, 0.60)
    assert judge(cells)[6].verdict == "fails", "the number is missed"


def test_a_difference_needs_every_seed_and_more_than_the_texts_leave_open() -> None:
    def sign(one: Sample, other: Sample) -> int:
        return Difference(heterogeneity.difference(one, other)).sign

    plain = sample(0.5, 0.5, 0.5)
    assert sign(sample(0.53, 0.53, 0.53), plain) == 1
    assert sign(sample(0.47, 0.47, 0.47), plain) == -1
    assert sign(sample(0.55, 0.55, 0.499), plain) == 0, "one seed has the other sign"
    assert sign(sample(0.502, 0.502, 0.502), plain) == 0, "two texts of a thousand"


def test_a_sweep_that_is_not_at_its_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        heterogeneity.read(tmp_path)
    shutil.rmtree(tmp_path)
    with pytest.raises(BadInput):
        heterogeneity.read(tmp_path)
