"""The rules of the experiment on the collapse, in worlds where the answer is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.collapse import figures, rules
from tools.collapse.__main__ import write
from tools.collapse.seen import Point, Seen, Trials
from tools.step_law import CLIENTS, RATES, Curve, Law

CHANCE, TOP = 0.25, 0.85
#: The sum of rates that a model needs to get most of the way.
SCALE = {"mini-bert": 0.35, "mini-distilbert": 0.35 * 2.4}
WITHIN = [8, 16, 32, 64, 128, 256]


def accuracy(path: float, scale: float) -> float:
    return CHANCE + (TOP - CHANCE) * (1 - math.exp(-((path / scale) ** 1.5)))


def steps_of(clients: int, batch: int = 8) -> int:
    return 2 * math.ceil(math.ceil(2048 / clients) / batch)


def trial(
    model: str,
    rate: float,
    clients: int,
    seed: int,
    *,
    batch: int = 8,
    lost: float = 0.0,
    slower: float = 1.0,
    noise: float = 0.004,
    **other: Any,
) -> Seen:
    """A trial of the step law; ``lost`` accuracy and steps that are worth less where asked."""
    rng = np.random.default_rng([seed, clients, batch, round(1e7 * rate), len(model)])
    per_round = steps_of(clients, batch)
    ends = {r * per_round for r in range(1, 17)}
    steps = sorted(ends | ({*WITHIN} if clients == 1 else set()))
    scale = SCALE[model] * slower * (1 + 0.02 * rng.standard_normal())

    def point(step: int) -> Point:
        value = accuracy(rate * step, scale) - lost + noise * rng.standard_normal()
        return Point(step, value, 1.4 - 1.3 * value)

    points = [point(step) for step in steps]
    by_steps = {p.steps: p for p in points}
    return Seen(
        **{"model": model, "dataset": "ag_news_14k", "rate": rate, "batch_size": batch}
        | {"clients": clients, "head": "own", "head_init": "shared", "seed": seed}
        | other,
        budget=8,
        cap=16,
        steps_per_round=per_round,
        chance=CHANCE,
        points=points,
        ends={number: by_steps[number * per_round] for number in range(1, 17)},
    )


def world(slower: dict[int, float] | None = None, **how: Any) -> Trials:
    """The phase diagram, with steps of K clients worth less by the factor asked for."""
    factors = slower or {}
    return Trials(
        trial(model, rate, clients, seed, slower=factors.get(clients, 1.0), **how)
        for model in SCALE
        for rate in RATES
        for clients in CLIENTS
        for seed in range(5)
    )


def expected() -> rules.Predicted:
    """What the law says, from trials without noise at one rate."""
    laws = {}
    for model, scale in SCALE.items():
        curves = {}
        for clients in (1, 8, 32):
            path = [RATES[0] * steps_of(clients) * r / 8 for r in range(1 + 8 * 16)]
            curves[clients] = Curve(path, [accuracy(u, scale) for u in path])
        laws[model] = {0: Law(curves, 2048, 8, 2)}
    return rules.predictions(laws)


def verdicts(trials: Trials) -> dict[str, str]:
    found = rules.step_law(rules.cells(trials, "ag_news_14k", expected()))
    return {each.rule.split()[0]: each.verdict for each in found}


def test_in_a_world_of_steps_alone_every_rule_holds() -> None:
    trials = world()
    found = rules.cells(trials, "ag_news_14k", expected())
    assert len(found) == 2 * 4 * 6
    assert any(not cell.reached for cell in found), "some collapse"
    assert any(cell.reached and cell.clients == 32 for cell in found)
    assert verdicts(trials) == {"1a": "holds", "1b": "holds", "1c": "holds", "1d": "holds"} | {
        "1": "holds"
    }


def test_where_many_clients_need_more_steps_the_law_is_refuted() -> None:
    told = verdicts(world(slower={k: k**0.35 for k in CLIENTS}))
    assert told["1"] == "refuted"
    assert told["1c"] == "refuted"


def test_where_all_trials_are_slower_but_the_predictions_rounds_are_off() -> None:
    told = verdicts(world(slower=dict.fromkeys(CLIENTS, 2.0)))
    assert told["1a"] == "refuted"
    assert told["1c"] == "holds", "as much at every K"


@pytest.mark.parametrize(("lost", "verdict"), [(0.0, "holds"), (0.03, "refuted"), (-0.03, "open")])
def test_the_control_tells_drift_from_steps(lost: float, verdict: str) -> None:
    trials = Trials(
        each
        for model in SCALE
        for seed in range(10)
        for each in (
            *(trial(model, RATES[0], k, seed, lost=lost, noise=0.005) for k in (8, 32)),
            *(trial(model, RATES[0], 1, seed, batch=8 * k, noise=0.005) for k in (8, 32)),
        )
    )
    found = rules.drift(trials, "ag_news_14k")
    assert {(d.clients, d.steps) for d in found} == {
        (8, 64),
        (8, 128),
        (32, 32),
        (32, 64),
        (32, 128),
    }
    assert all(d.seeds == 10 for d in found)
    told = [d.verdict for d in found]
    assert told.count(verdict) >= len(told) - 2


def test_two_seeds_decide_little_about_drift() -> None:
    trials = Trials(
        each
        for seed in range(2)
        for each in (
            trial("mini-bert", RATES[0], 32, seed, noise=0.01),
            trial("mini-bert", RATES[0], 1, seed, batch=256, noise=0.01),
        )
    )
    told = [d.verdict for d in rules.drift(trials, "ag_news_14k")]
    assert told.count("open") >= 2
    assert "refuted" not in told


def test_the_ratio_of_the_models_is_that_of_their_needs() -> None:
    found = rules.models(world(), "ag_news_14k")
    assert len(found) == len(RATES)
    for each in found[:3]:  # at the smallest rate the targets differ too
        assert each.factor[0] == pytest.approx(2.4, rel=0.12)
        assert each.as_published == "holds"


@pytest.mark.parametrize(("factor", "told"), [(1.0, "does not matter"), (1.6, "matters")])
def test_a_head_matters_by_its_need(factor: float, told: str) -> None:
    arm = {"head": "relu"}
    trials = Trials(
        each
        for seed in range(5)
        for clients in (1, 32)
        for each in (
            trial("mini-bert", RATES[1], clients, seed),
            trial("mini-bert", RATES[1], clients, seed, slower=factor, **arm),
        )
    )
    found = rules.heads(trials, "ag_news_14k")
    assert [each.of for each in found] == ["K = 1", "K = 32"]
    assert [each.matters for each in found] == [told] * 2


def test_a_trial_is_held_against_one_client_of_its_own_settings() -> None:
    alone = trial("mini-bert", RATES[0], 1, 0)
    other = trial("mini-bert", RATES[0], 1, 0, batch=256)
    many = trial("mini-bert", RATES[0], 32, 0)
    trials = Trials([alone, other, many])
    assert trials.baseline(many) is alone
    assert trials.target(many) == pytest.approx(
        0.9 * np.mean([alone.ends[r].accuracy for r in (6, 7, 8)])
    )
    assert Trials([many]).rounds(many) is None


def test_what_is_not_there_gives_no_figure_and_no_verdict(tmp_path: Path) -> None:
    nothing = Trials([])
    assert rules.step_law([]) == []
    assert rules.drift(nothing, "imdb") == []
    assert figures.one_curve(nothing, "imdb", RATES[0]) is None
    assert figures.phases([]) is None
    assert figures.retention(nothing, {}) is None
    (tmp_path / "trials").mkdir()
    with pytest.raises(Exception, match="no trial"):
        write(tmp_path, tmp_path / "trials", tmp_path / "out")


def test_every_figure_is_drawn_of_a_whole_experiment() -> None:
    trials = world()
    found = rules.cells(trials, "ag_news_14k", expected())
    needs = {("mini-bert", "ag_news_14k", rate): 0.6 for rate in RATES}
    for figure in (
        figures.one_curve(trials, "ag_news_14k", RATES[0]),
        figures.against_prediction(found),
        figures.phases(found),
        figures.noise(trials, "ag_news_14k"),
        figures.retention(trials, needs),
    ):
        assert figure is not None
        assert figure.axes
