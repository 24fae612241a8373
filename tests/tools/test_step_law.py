"""What steps alone say, on curves with a known answer and on the published logs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from support import unpack

from tools import step_law
from tools.step_law import FOREVER, Curve, Law

ROOT = Path(__file__).parents[2]
PREDICTIONS = ROOT / "docs" / "results" / "collapse" / "predictions.md"


def saturating(path: float) -> float:
    return 0.25 + 0.6 * (1 - math.exp(-path / 2))


def law(clients: tuple[int, ...] = (1, 4, 32), rate: float = 0.025) -> Law:
    """A model whose accuracy is a function of the sum of its rates alone."""
    curves = {}
    for k in clients:
        steps = 2 * math.ceil(math.ceil(2048 / k) / 8)
        rounds = range(17)
        curves[k] = Curve(
            [rate * steps * r for r in rounds], [saturating(rate * steps * r) for r in rounds]
        )
    return Law(curves, 2048, 8, 2)


@pytest.mark.parametrize("rate", step_law.RATES)
@pytest.mark.parametrize("clients", step_law.CLIENTS)
def test_rounds_are_those_that_the_law_needs(rate: float, clients: int) -> None:
    known = law()
    step = rate * known.steps(clients)
    target = 0.9 * saturating(rate * 8 * 512)
    needed = -2 * math.log(1 - (target - 0.25) / 0.6)
    exact = math.ceil(needed / step)
    assert abs(known.rounds(rate, clients) - exact) <= max(1, 0.02 * exact)


def test_the_most_clients_that_go_so_far_are_asked() -> None:
    known = law()
    wrong = Curve(known.curves[1].path, [0.0] * 17)
    mixed = Law({**known.curves, 1: wrong}, 2048, 8, 2)
    assert mixed.at(5.0) == known.at(5.0) > 0
    assert mixed.at(100.0) == 0.0, "as far as one client alone has come"


def test_what_never_gets_there_is_forever() -> None:
    flat = Curve([0.0, 0.4, 0.8], [0.25, 0.3, 0.3])
    alone = Curve([0.0, 12.8, 102.4], [0.25, 0.5, 0.9])
    found = Law({1: alone, 32: flat}, 2048, 8, 2)
    assert found.rounds(1e-6, 32) == 1, "of what it has at chance everything is reached at once"
    assert Law({32: flat, 1: alone}, 2048, 8, 2).rounds(0.025, 32) < FOREVER


def test_a_curve_rises_whatever_the_log_does() -> None:
    records = [
        {"round": n, "steps/sequential": 16 * n, "test/accuracy": a}
        for n, a in enumerate([0.2, 0.5, 0.4, 0.6])
    ]
    curve = Curve.of(records, 0.025)
    np.testing.assert_allclose(curve.accuracy, [0.2, 0.45, 0.45, 0.6])
    np.testing.assert_allclose(curve.path, [0.0, 0.4, 0.8, 1.2])
    assert curve.at(0.2) == pytest.approx(0.325)


def test_the_page_has_what_the_published_logs_say(tmp_path: Path) -> None:
    """By hand from the lines of the files, for one model, rate and K; and all rows of the page."""
    unpack(ROOT / "docs" / "results" / "mini-study" / "rounds.tar.gz", tmp_path)
    found = step_law.laws(tmp_path, "ag_news_14k")
    curve = found["mini-bert"][0].curves[32]
    (log,) = (
        path.parent
        for path in tmp_path.glob("*/config.yaml")
        if all(
            line in path.read_text().splitlines()
            for line in ("model: mini-bert", "dataset: ag_news_14k", "clients: 32", "seed: 0")
        )
    )
    lines = (log / "rounds.jsonl").read_text().splitlines()
    steps = [json.loads(line)["steps/sequential"] for line in lines]
    np.testing.assert_allclose(curve.path, 0.025 * np.array(steps))
    page = PREDICTIONS.read_text()
    for dataset in ("ag_news_14k", "imdb"):
        rows = [*step_law.table(step_law.laws(tmp_path, dataset), 16)]
        asked = ("0.00625", "0.0015625") if dataset == "imdb" else tuple(map(str, step_law.RATES))
        for row in rows[2:]:
            if "albert" not in row and row.split()[1] in asked:
                assert row in page
