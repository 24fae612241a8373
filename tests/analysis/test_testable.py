"""Whether a claim can be tested at all in a regime."""

from __future__ import annotations

from dataclasses import replace

import pytest
from as_tracked import in_memory
from claims_of import judged
from grids import whole_grid
from synthetic import Curve, run_all, sizes_of
from worlds import TOP, paper_like

from fedtune.analysis.grid import Grid
from fedtune.analysis.paper.judging import judge
from fedtune.trial.identity import Trial


def quickly(share: float) -> Curve:
    """Everything is learned in this part of one client's first round, by steps alone."""

    def curve(trial: Trial, step: int) -> float:
        chance = 1 / sizes_of(trial.config.dataset)[2]
        learned = min(1.0, step / (share * trial.config.clients))
        return chance + (TOP - chance) * learned

    return curve


def test_where_steps_alone_suffice_no_failure_is_no_evidence() -> None:
    """All K get there in a few rounds; one client is first looked at after hundreds of steps."""
    found = judged(in_memory(run_all(whole_grid(seeds=range(6)), quickly(0.2))))

    for number in ("C3", "C5", "C6", "C7", "C8", "C10"):
        assert found[number].verdict == "not testable", number
        assert {part.verdict for part in found[number].parts} == {"not testable"}
    assert "one client takes up to 512 steps, K = 32 has 320" in found["C6"].parts[0].numbers


@pytest.mark.parametrize(
    ("kept", "verdict"), [(0.95, "not testable"), (0.55, "not testable"), (0.3, "does not hold")]
)
def test_what_nobody_had_to_lose_is_no_evidence_and_what_is_lost_is(
    kept: float, verdict: str
) -> None:
    """One client has learned everything when it is first looked at."""

    def curve(trial: Trial, step: int) -> float:
        return 0.5 + (TOP - 0.5) * (0.0 if not step else kept if trial.config.clients > 1 else 1.0)

    trials = whole_grid(("mini-bert", "mini-albert"), ("imdb",), (1, 32), range(3))

    claim = judged(in_memory(run_all(trials, curve)))["C10"]

    assert claim.verdict == verdict
    assert "one client takes up to 512 steps to that, K = 32 has 160" in claim.parts[0].numbers


def test_steps_are_whole_numbers_although_mlflow_has_them_as_floats() -> None:
    grid = in_memory(run_all(whole_grid(seeds=range(2)), quickly(0.2)))
    tracked = [
        replace(
            t, records=[r | {"steps/sequential": float(r["steps/sequential"])} for r in t.records]
        )
        for t in grid.trials
    ]

    parts = [part for claim in judge(Grid(tuple(tracked))) for part in claim.parts]

    assert any("up to 512 steps" in part.numbers for part in parts)
    assert not any("512.0" in part.numbers for part in parts)


def test_a_series_of_ones_is_a_lack_of_resolution_until_steps_say_otherwise() -> None:
    """Six numbers of clients that all get there in their first round: nothing can be told apart,
    whatever a single trial does more or less.
    """
    at_once = quickly(0.01)

    def but_one(trial: Trial, step: int) -> float:
        config = trial.config
        late = (config.model, config.dataset, config.clients, config.seed) == (
            *("mini-albert", "ag-news", 32),
            2,
        )
        return at_once(trial, step) if not late or step > 1 else 0.5

    for curve in (at_once, but_one):
        claim = judged(in_memory(run_all(whole_grid(seeds=range(3)), curve)))["C4"]
        assert claim.verdict == "not testable"


def test_rounds_that_do_not_rise_where_steps_say_they_must_contradict_c4() -> None:
    """One client needs three rounds of 512 steps, and K clients no more rounds than that."""

    def curve(trial: Trial, step: int) -> float:
        return 0.5 + 0.4 * min(1.0, step / 3)

    trials = whole_grid(datasets=("imdb",), seeds=range(3))

    claim = judged(in_memory(run_all(trials, curve)))["C4"]

    assert claim.verdict == "does not hold"
    assert "by steps alone 65 to 96 at K = 32" in claim.parts[0].numbers


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({}, "does not hold"),
        ({"max_rounds": 102}, "not testable"),
        ({"local_epochs": 1}, "not testable"),
        ({"learning_rate": 1e-5}, "not testable"),
    ],
    ids=str,
)
def test_in_the_papers_own_setting_what_is_not_seen_is_denied(
    settings: dict[str, float], verdict: str
) -> None:
    """The originals, for as long as in the paper: at a smaller cap all would miss it."""
    papers = {"learning_rate": 2e-5, "batch_size": 32, "budget_rounds": 100, "max_rounds": 200}
    trials = whole_grid(
        ("distilbert",), ("imdb",), (1, 2, 4), range(5), **papers | settings, eval_every=20
    )
    grid = in_memory(run_all(trials, quickly(0.2)))
    whole = [replace(t, facts=t.facts | {"data/train_examples": 25_000.0}) for t in grid.trials]

    assert judged(Grid(tuple(whole)))["C7"].verdict == verdict
    assert judged(grid)["C7"].verdict == "not testable", "on a part of the data"


def test_chance_is_that_of_the_test_texts_whatever_trials_stop_by() -> None:
    """On other texts one client is slower: what counts is where it leaves chance on those on which
    many clients are said to be at chance.
    """
    grid = in_memory(run_all(whole_grid(seeds=range(6)), quickly(0.2)))
    by_others = [
        replace(
            t,
            rule=replace(t.rule, metric="validation/accuracy"),
            baseline_levels=t.baseline_levels | {"validation/accuracy": 0.9},
            records=[
                r | {"validation/accuracy": r["test/accuracy"] if r["round"] > 8 else 0.0}
                for r in t.records
            ],
        )
        for t in grid.trials
    ]

    one, other = (judged(each)["C3"] for each in (grid, Grid(tuple(by_others))))

    assert [p.numbers for p in other.parts] == [p.numbers for p in one.parts]
    assert "one client leaves chance after up to 512 steps" in one.parts[0].numbers


def test_no_verdict_turns_with_the_size_of_the_test_set_at_chance() -> None:
    """A tenth of what the baseline is above chance, whatever the error of a measurement."""
    grid = in_memory(run_all(whole_grid(seeds=range(3)), paper_like))
    larger = Grid(
        tuple(replace(t, facts=t.facts | {"data/test_examples": 25_000}) for t in grid.trials)
    )

    one, other = (judged(each)["C3"] for each in (grid, larger))

    assert [part.threshold for part in one.parts] == [part.threshold for part in other.parts]
    assert one.parts[0].threshold == "retention of at most 0.10"
    assert "50% of the texts get the same answer" in one.parts[0].numbers
