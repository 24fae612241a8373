"""Verdicts on histories whose answers are known."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from synthetic import (
    TOP,
    Curve,
    in_memory,
    make_trial,
    paper_like,
    run_all,
    upside_down,
    whole_grid,
)

from fedtune.analysis import numbers
from fedtune.analysis.cell import Series
from fedtune.analysis.expected import Expected
from fedtune.analysis.grid import Grid
from fedtune.analysis.paper.claims import STATEMENTS, Claim
from fedtune.analysis.paper.evidence import needs_more, stretch_at_chance
from fedtune.analysis.paper.judging import as_data, judge
from fedtune.analysis.paper.verdicts import all_of, decide, decide_truths, most_of
from fedtune.analysis.quantities import area
from fedtune.analysis.roles import role_of
from fedtune.analysis.samples import Sample
from fedtune.analysis.summary import sentences
from fedtune.analysis.tables import per_cell
from fedtune.analysis.tracked import TrackedTrial
from fedtune.trial.identity import Trial

NUMBERS = [statement.number for statement in STATEMENTS]


def judged(grid: Grid) -> dict[str, Claim]:
    return {claim.statement.number: claim for claim in judge(grid)}


def verdicts(grid: Grid) -> dict[str, str]:
    return {number: claim.verdict for number, claim in judged(grid).items()}


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2), (0, 1, 2, 3, 4)], ids=len)
def test_in_the_papers_world_every_claim_holds(seeds: tuple[int, ...]) -> None:
    grid = in_memory(run_all(whole_grid(seeds=seeds), paper_like))

    found = verdicts(grid)

    assert found.pop("C12") == "not applicable"  # sizes of the originals, on miniatures
    assert found == dict.fromkeys(found, "holds")
    assert len(found) == 12


def test_in_the_opposite_world_the_claims_about_distilbert_do_not_hold() -> None:
    found = verdicts(in_memory(run_all(whole_grid(), upside_down)))

    true = {"C4": "holds", "C5": "holds", "C12": "not applicable"}
    assert found == dict.fromkeys(NUMBERS, "does not hold") | true


def test_a_claim_about_what_the_sweep_has_not_is_not_run() -> None:
    trials = whole_grid(("mini-bert", "mini-albert"), ("ag-news",))

    found = verdicts(in_memory(run_all(trials, paper_like)))

    about_distilbert = ("C2", "C3", "C6", "C7", "C8", "C11", "C13")
    assert {found[number] for number in (*about_distilbert, "C9")} == {"not run"}
    assert {found[number] for number in ("C1", "C5", "C10")} == {"holds"}
    assert found["C4"] == "not run", "every model, and one of the three is not there"


def test_a_part_that_contradicts_a_claim_is_enough_however_much_is_missing() -> None:
    trials = whole_grid(("mini-bert",), ("imdb",))

    assert verdicts(in_memory(run_all(trials, upside_down)))["C1"] == "does not hold"
    assert verdicts(in_memory(run_all(trials, paper_like)))["C1"] == "not run"


def test_a_fall_to_chance_that_may_come_at_more_clients_is_not_denied() -> None:
    trials = whole_grid(datasets=("imdb", "yelp", "ag-news"), clients=(1, 2))

    found = verdicts(in_memory(run_all(trials, paper_like)))

    assert {found[number] for number in ("C3", "C5", "C6", "C7", "C8", "C10")} == {"not run"}


def test_a_trend_with_a_gap_is_not_known_to_hold_but_may_be_known_to_break() -> None:
    def without_bert_at_8(curve: Curve) -> dict[str, str]:
        results = run_all(whole_grid(), curve)
        gap = ("mini-bert", 8)
        kept = [r for r in results if (r.trial.config.model, r.trial.config.clients) != gap]
        return verdicts(in_memory(kept))

    whole, broken = without_bert_at_8(paper_like), without_bert_at_8(upside_down)

    assert {whole[number] for number in ("C1", "C4", "C9")} == {"not run"}
    assert broken["C1"] == "does not hold"


def kept_at_32(by_seed: dict[int, float]) -> Curve:
    """BERT and ALBERT with this retention at K = 32, by seed."""

    def curve(trial: Trial, step: int) -> float:
        share = 1.0 if trial.config.clients == 1 else by_seed[trial.config.seed]
        return 0.5 + (TOP - 0.5) * (share if step else 0.0)

    return curve


@pytest.mark.parametrize(
    ("by_seed", "verdict"),
    [
        ({0: 0.6}, "holds"),
        ({0: 0.4}, "does not hold"),
        ({0: 0.52}, "inconclusive"),  # 0.8 points of accuracy, where 2 are noise
        ({0: 0.6, 1: 0.62, 2: 0.65}, "holds"),
        ({0: 0.7, 1: 0.7, 2: 0.45}, "inconclusive"),  # the sign varies
        ({0: 0.51, 1: 0.52, 2: 0.51}, "inconclusive"),
        ({0: 0.53, 1: 0.55, 2: 0.54, 3: 0.53, 4: 0.54}, "holds"),  # an interval that is small
        ({0: 0.4, 1: 0.7, 2: 0.5, 3: 0.6, 4: 0.45}, "inconclusive"),
        ({0: 0.47, 1: 0.46, 2: 0.48, 3: 0.45, 4: 0.47}, "does not hold"),
    ],
    ids=str,
)
def test_a_difference_within_the_noise_is_inconclusive(
    by_seed: dict[int, float], verdict: str
) -> None:
    trials = whole_grid(("mini-bert", "mini-albert"), ("imdb",), (1, 32), by_seed)

    claim = judged(in_memory(run_all(trials, kept_at_32(by_seed))))["C10"]

    assert claim.verdict == verdict
    for part in claim.parts:
        assert part.per_seed == pytest.approx(by_seed if "retention" in part.what else {}, abs=1e-3)


def test_fewer_rounds_with_more_clients_contradict_c4() -> None:
    def curve(trial: Trial, step: int) -> float:
        return 0.5 + 0.4 * min(1.0, step * trial.config.clients / 16)

    trials = whole_grid(datasets=("imdb",), clients=(1, 2, 4), budget_rounds=16, max_rounds=16)

    assert verdicts(in_memory(run_all(trials, curve)))["C4"] == "does not hold"


def test_a_sweep_over_another_setting_is_judged_once_for_each_of_its_values() -> None:
    trials = [t for rate in (0.05, 0.1) for t in whole_grid(learning_rate=rate)]

    def curve(trial: Trial, step: int) -> float:
        return (paper_like if trial.config.learning_rate == 0.05 else upside_down)(trial, step)

    claims = judge(in_memory(run_all(trials, curve)))

    found = {(c.statement.number, c.variant): c.verdict for c in claims}
    assert len(claims) == len(found) == 26
    assert found["C2", "learning_rate=0.05"] == "holds"
    assert found["C2", "learning_rate=0.1"] == "does not hold"


def test_claims_as_data_are_strict_json_with_numbers_and_thresholds() -> None:
    claims = judge(in_memory(run_all(whole_grid(), paper_like)))

    data = json.loads(json.dumps(as_data("sweep", claims), allow_nan=False))

    assert [claim["id"] for claim in data["claims"]] == NUMBERS
    assert data["thresholds"]["doubling_loss"] == pytest.approx(1 / 3)
    assert data["thresholds"]["kept"] == 0.5
    for claim in data["claims"]:
        assert claim["parts"]
        assert claim["source"]
        assert all(part["numbers"] for part in claim["parts"])


def test_the_originals_are_judged_by_their_sizes_and_their_own_numbers_of_clients() -> None:
    trials = whole_grid(("bert", "albert", "distilbert"))

    found = judged(in_memory(run_all(trials, paper_like)))

    assert found["C12"].verdict == "does not hold", "these have a million parameters"
    assert found["C6"].verdict == found["C7"].verdict == "holds"
    assert "at 8, not at 16" in found["C6"].parts[0].what
    assert "at 2, not at 4" in found["C7"].parts[0].what


# What is missing


def test_what_is_planned_and_has_not_begun_is_missing_in_the_claims() -> None:
    results = run_all(whole_grid(("mini-bert", "mini-albert"), ("ag-news",)), paper_like)
    clients = (1, 2, 4, 8, 16, 32)
    expected = Expected(("mini-bert", "mini-albert"), ("ag-news", "yelp"), clients, (0,))

    begun, whole = verdicts(in_memory(results)), verdicts(in_memory(results, expected))

    assert {begun[number] for number in ("C1", "C5", "C10")} == {"holds"}
    assert {whole[number] for number in ("C1", "C5", "C9", "C10")} == {"not run"}


def test_a_planned_number_of_clients_that_has_not_begun_leaves_trends_open() -> None:
    results = run_all(whole_grid(clients=(1, 2, 4, 8, 16)), paper_like)
    expected = Expected(clients=(1, 2, 4, 8, 16, 32))

    found = verdicts(in_memory(results, expected))

    open_still = ("C1", "C2", "C3", "C4", "C5", "C8", "C9", "C10", "C11")
    assert {number: found[number] for number in open_still} == dict.fromkeys(open_still, "not run")
    assert found["C6"] == found["C7"] == found["C13"] == "holds", "seen already"


def test_a_trial_that_diverged_keeps_nothing() -> None:
    trials = whole_grid(("mini-bert", "mini-albert"), ("yelp",), seeds=range(3))
    wrecked = [
        replace(r, records=r.records[:3], diverged="round 3, client 0", summary=None)
        if (r.trial.config.clients, r.trial.config.seed) == (32, 1)
        else r
        for r in run_all(trials, paper_like)
    ]
    grid = in_memory(wrecked)

    found = judged(grid)

    assert found["C10"].verdict == "inconclusive"
    assert found["C10"].parts[0].per_seed == pytest.approx({0: 0.6, 1: 0.0, 2: 0.6}, abs=1e-3)
    cell = grid.cell(Series("mini-bert", "yelp"), 32)
    areas = {seed: area(trial) for seed, trial in cell.trials.items()}
    start, before = (cell.trials[1].curve[at] for at in (0, 2))
    at_chance_from_2_on = 2 * (start + before) / 2 / 10 + 8 * 0.2 / 10
    assert areas[1] == pytest.approx(at_chance_from_2_on, abs=0.03)
    assert set(found["C9"].parts[0].per_seed) == {0, 1, 2}
    table = per_cell(grid)
    (row,) = (row for row in table.rows if row[:3] == ["mini-bert", "yelp", 32])
    assert row[table.header.index("retention")] == pytest.approx(0.4, abs=1e-3)


def test_who_never_learned_does_not_fall_to_chance() -> None:
    found = judged(in_memory(run_all(whole_grid(seeds=range(2)), lambda trial, _: 0.0)))

    assert found["C3"].verdict == "inconclusive"
    assert all(truth is None for part in found["C3"].parts for truth in part.per_seed.values())


def test_rounds_to_a_validation_accuracy_are_as_sure_as_its_split_is_large() -> None:
    accuracies = [0.5, 0.80, 0.83, 0.86, 0.90]

    def needs(num_validation: int) -> bool | None:
        def of(clients: int, late: int) -> TrackedTrial:
            (trial,) = in_memory(
                run_all([make_trial("mini-bert", "imdb", clients)], lambda *_: 0.5)
            ).trials
            records = [
                {"round": at + late, "validation/accuracy": accuracy}
                for at, accuracy in enumerate(accuracies)
            ]
            facts = trial.facts | {"data/validation_examples": num_validation}
            rule = replace(trial.rule, metric="validation/accuracy")
            return replace(trial, records=records, facts=facts, rule=rule)

        return needs_more((of(2, late=1), 0.82), (of(1, late=0), 0.82), alone=True)

    assert needs(25_000) is True
    assert needs(200) is None


@pytest.mark.parametrize(
    ("growth", "verdict"), [(1.0, "holds"), (1.05, "holds"), (2.0, "does not hold")]
)
def test_peak_memory_is_part_of_scaling_well_where_it_is_tracked(
    growth: float, verdict: str
) -> None:
    results = [
        replace(r, peak_memory_mb=500.0 if r.trial.config.clients == 1 else 500.0 * growth)
        for r in run_all(whole_grid(seeds=range(2)), paper_like)
    ]

    claim = judged(in_memory(results))["C10"]

    assert claim.verdict == verdict
    memory = [part for part in claim.parts if "peak memory" in part.what]
    assert {part.verdict for part in memory} == {verdict}
    assert len(memory) == 6


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ({"imdb": 0.81, "yelp": 0.75}, "between 1.0 points more (imdb) and 5.0 points less (yelp)"),
        ({"imdb": 0.79, "yelp": 0.75}, "1.0 (imdb) to 5.0 (yelp) points less"),
        ({"imdb": 0.85, "yelp": 0.81}, "1.0 (yelp) to 5.0 (imdb) points more"),
    ],
)
def test_a_sentence_says_what_the_most_clients_cost(ends: dict[str, float], told: str) -> None:
    def curve(trial: Trial, step: int) -> float:
        return 0.8 if trial.config.clients == 1 else ends[trial.config.dataset]

    grid = in_memory(run_all(whole_grid(("mini-bert",), ends, (1, 8)), curve))

    (sentence,) = sentences(grid)

    start = f"Spread over 8 clients, mini-bert is {told} accurate at the budget than one client"
    assert sentence == f"{start}, and reaches its target in 2 of 2 trials."


# The rules by themselves


def test_margins_by_seed() -> None:
    assert decide(Sample({}, 0.1)) == "not run"
    assert decide(Sample({0: 0.3}, 0.1)) == "holds"
    assert decide(Sample({0: 0.19}, 0.1)) == "inconclusive"
    assert decide(Sample({0: -0.3, 1: -0.1}, 0.01)) == "does not hold"
    assert decide(Sample({0: 0.3, 1: -0.1}, 0.01)) == "inconclusive"
    assert decide(Sample(dict(enumerate([1, 2, 3, 4, 5])), 9)) == "holds"
    assert decide(Sample(dict(enumerate([-3, 2, 3, 4, 5])))) == "inconclusive"


def test_answers_by_seed() -> None:
    assert decide_truths({0: True}) == "holds"
    assert decide_truths({0: False, 1: False}) == "does not hold"
    assert decide_truths({0: True, 1: None}) == "inconclusive"
    assert decide_truths(dict.fromkeys(range(5), True)) == "holds"
    assert decide_truths(dict.fromkeys(range(4), True) | {4: False}) == "inconclusive"


def test_parts_together() -> None:
    assert all_of(["holds", "not run", "does not hold"]) == "does not hold"
    assert all_of(["holds", "inconclusive", "not run"]) == "not run"
    assert all_of(["holds", "not applicable"]) == "holds"
    assert most_of(["holds", "holds", "does not hold"]) == "holds"
    assert most_of(["holds", "does not hold"]) == "does not hold"
    assert most_of(["holds", "inconclusive"]) == "inconclusive"


def test_numbers_against_values_from_tables() -> None:
    low, high = numbers.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (low, high) == pytest.approx((3 - 1.9632, 3 + 1.9632), abs=1e-3)
    assert numbers.wilson(5, 5) == pytest.approx((0.5655, 1.0), abs=1e-3)
    assert numbers.median([1, math.inf, 3]) == 3
    assert numbers.median([1, math.inf, math.inf]) == math.inf
    assert numbers.slope_weights([0.0, 1.0, 2.0]) == pytest.approx([-0.5, 0.0, 0.5])
    assert numbers.binomial_se(0.5, 100) == 0.05


def test_area_and_stretch_at_chance_of_a_drawn_curve() -> None:
    accuracies = [0.5, 0.5, 0.5, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5, 0.9, 0.9]
    trial = make_trial("mini-bert", "imdb", 1)
    (drawn,) = in_memory(run_all([trial], lambda _, step: accuracies[step])).trials

    assert stretch_at_chance(drawn) == (0.4, True)
    assert area(drawn) == pytest.approx(0.5 + 0.4 * 3.5 / 10)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("mini-bert", "bert"),
        ("google-bert/bert-base-cased", "bert"),
        ("/models/mini-albert", "albert"),
        ("distilbert-base-cased", "distilbert"),
        ("roberta", None),
        ("ag_news", "ag-news"),
        ("Yelp/yelp_review_full", "yelp"),
        ("stanfordnlp/imdb", "imdb"),
        ("bbc-news", None),
    ],
)
def test_which_of_the_papers_models_and_data_sets_a_name_stands_for(
    name: str, role: str | None
) -> None:
    assert role_of(name) == role
