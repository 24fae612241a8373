"""The first sentences and the first table: no holes, and nothing learned is said so."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pytest
from as_tracked import in_memory
from grids import whole_grid
from synthetic import make_trial, result_of, run_all
from worlds import paper_like

from fedtune.analysis import tables
from fedtune.analysis.cell import Series
from fedtune.analysis.grid import Grid
from fedtune.analysis.levels import Reached
from fedtune.analysis.paper.judging import judge
from fedtune.analysis.summary import caveats, cost, sentences
from fedtune.trial.identity import Trial

DATASET = "reviews.csv"  # 4 classes, 2,000 test texts
THREE_ERRORS = 3 * math.sqrt(0.25 * 0.75 / 2000)


def rising(trial: Trial, step: int) -> float:
    """0.88 with one client, and more slowly to less with more."""
    doublings = math.log2(trial.config.clients)
    top = 0.88 - 0.02 * doublings - 0.01 * trial.config.seed * (trial.config.clients > 1)
    return 0.25 + (top - 0.25) * (1 - math.exp(-1.2 * step / 2 ** (doublings / 2)))


def constant(one: float, many: float) -> Grid:
    """K = 1 and K = 8 with these accuracies from the first round on."""
    trials = whole_grid(("mini-bert",), (DATASET,), (1, 8))
    levels = {1: one, 8: many}
    return in_memory(run_all(trials, lambda t, step: levels[t.config.clients] if step else 0.25))


def first_row(grid: Grid) -> dict[str, str]:
    table = cost(grid)
    return dict(zip(table.header, table.shown()[0], strict=True))


def test_what_stopped_at_its_target_has_its_last_accuracy_with_its_round() -> None:
    grid = in_memory(run_all(whole_grid(("mini-bert",), (DATASET,), (1, 8), stop="target"), rising))

    (sentence,) = sentences(grid)

    assert list(first_row(grid).values()) == [
        *("mini-bert", DATASET, "8", "0.880", "0.801 (round 8)", "7.9 ± 2.3", "2", "8", "1 of 1")
    ]
    assert sentence == (
        "Spread over 8 clients, mini-bert ends 7.9 points less accurate (reviews.csv, round 8) "
        "than one client at its budget, and reaches its target after 8 rounds (one client: 2)."
    )
    assert any("stopped before the budget" in line for line in caveats(grid))


def test_the_other_tables_show_it_to_people_and_leave_it_out_of_the_csv() -> None:
    grid = in_memory(run_all(whole_grid(("mini-bert",), (DATASET,), (1, 8), stop="target"), rising))
    of_trials, of_cells = tables.per_trial(grid), tables.per_cell(grid)

    (_, trial), (_, cell) = of_trials.shown(), of_cells.shown()

    assert trial[of_trials.header.index("accuracy at budget")] == "0.801 (round 8)"
    assert trial[of_trials.header.index("of baseline")] == "0.910 (round 8)"
    assert cell[of_cells.header.index("accuracy at budget")] == "0.801 (round 8)"
    assert cell[of_cells.header.index("lost to K = 1")] == "0.079 (round 8)"
    (_, plain), (_, means) = (
        csv.DictReader(io.StringIO(table.as_csv())) for table in (of_trials, of_cells)
    )
    assert (plain["accuracy at budget"], plain["of baseline"]) == ("", "")
    assert (plain["final accuracy"], plain["rounds run"]) == ("0.801", "8")
    assert (means["accuracy at budget"], means["lost to K = 1"]) == ("", "")


@pytest.mark.parametrize(
    ("seeds", "told"), [(1, "At the budget."), (3, "the range over seeds"), (5, "95 % interval")]
)
def test_the_note_says_what_stands_in_brackets(seeds: int, told: str) -> None:
    trials = whole_grid(("mini-bert",), (DATASET,), (1, 8), range(seeds))

    table = cost(in_memory(run_all(trials, rising)))

    lost = table.shown()[0][table.header.index("points lost")]
    assert told in table.note
    assert ("(" in lost, "[" in lost) == (seeds == 3, seeds == 5)


def test_seeds_that_ended_in_different_rounds_say_which() -> None:
    trials = whole_grid(("mini-bert",), (DATASET,), (1, 8), (0, 1, 2), stop="target")

    row = first_row(in_memory(run_all(trials, rising)))

    assert row["accuracy, this K"].endswith("(rounds 8 to 10)")


def test_claims_rest_on_the_budget_alone() -> None:
    models, sets = ("mini-bert", "mini-albert"), ("ag-news",)
    grid = in_memory(run_all(whole_grid(models, sets, stop="target"), paper_like))

    claims = {claim.statement.number: claim for claim in judge(grid)}

    many = grid.cell(Series("mini-bert", "ag-news"), 4)
    assert Reached(many).rounds
    assert not many.accuracies
    assert claims["C1"].verdict == "not run"
    assert {part.verdict for part in claims["C1"].parts} == {"not run"}


@pytest.mark.parametrize(
    ("above", "told"), [(0.001, "{}"), (-0.001, "{}, which is chance")], ids=("above", "within")
)
def test_chance_is_within_three_binomial_standard_errors(above: float, told: str) -> None:
    accuracy = round((0.25 + THREE_ERRORS + above) * 2000) / 2000

    row = first_row(constant(0.9, accuracy))

    assert row["accuracy, this K"] == told.format(f"{accuracy:.3f}")


def test_a_model_that_learned_nothing_is_said_to_have_learned_nothing() -> None:
    grid = constant(0.9, 0.25)

    assert sentences(grid) == [
        "Spread over 8 clients, mini-bert learns nothing on reviews.csv (0.250, which is chance), "
        "and does not reach its target within 20 rounds (one client: 1)."
    ]
    assert first_row(grid)["points lost"].startswith("65.0")


def test_where_one_client_learned_nothing_nothing_is_compared() -> None:
    grid = constant(0.26, 0.25)

    row = first_row(grid)

    assert sentences(grid) == [
        "With one client, mini-bert learns nothing on reviews.csv (0.260, which is chance; spread "
        "over 8 0.250), so there is no target to reach."
    ]
    assert row["accuracy, K = 1"] == "0.260, which is chance"
    assert row["accuracy, this K"] == "0.250, which is chance"
    assert row["points lost"] == "nothing learned"
    assert "" not in row.values()


def test_chance_is_told_of_each_data_set_in_one_sentence_for_a_model() -> None:
    levels = {("imdb", 8): 0.5, ("yelp", 1): 0.2, ("yelp", 8): 0.2}

    def curve(trial: Trial, step: int) -> float:
        return levels.get((trial.config.dataset, trial.config.clients), 0.8)

    grid = in_memory(run_all(whole_grid(("m",), ("imdb", "yelp", DATASET), (1, 8)), curve))

    (sentence,) = sentences(grid)

    assert sentence == (
        "Spread over 8 clients, m is as accurate at the budget as one client "
        "(reviews.csv), learns nothing on imdb (0.500, which is chance), and reaches its target "
        "in 1 of 2 trials; with one client it learns nothing on yelp (0.200, which is chance; "
        "spread over 8 0.200), so there is no target to reach."
    )


def test_a_model_that_fell_back_to_chance_did_learn_something() -> None:
    def curve(trial: Trial, step: int) -> float:
        return 0.7 if 1 <= step <= 3 or trial.config.clients == 1 else 0.25

    (sentence,) = sentences(
        in_memory(run_all(whole_grid(("mini-bert",), (DATASET,), (1, 8)), curve))
    )

    assert "ends at chance on reviews.csv (0.250)" in sentence


def test_some_seeds_at_chance_are_counted() -> None:
    def curve(trial: Trial, step: int) -> float:
        lost = trial.config.clients == 8 and trial.config.seed == 1
        return 0.25 if lost or not step else 0.8

    grid = in_memory(run_all(whole_grid(("m",), (DATASET,), (1, 8), (0, 1, 2)), curve))

    assert first_row(grid)["accuracy, this K"] == "0.617, 1 of 3 at chance"


def test_a_model_that_diverged_is_said_to_have_diverged() -> None:
    one, many = run_all(whole_grid(("mini-bert",), (DATASET,), (1, 8)), rising)
    wrecked = replace(many, records=many.records[:3], diverged="round 3, client 0", summary=None)
    grid = in_memory([one, wrecked])

    row = first_row(grid)

    assert row["accuracy, this K"] == "diverged (after round 2)"
    assert row["points lost"] == "diverged"
    assert "diverges on reviews.csv (after round 2)" in sentences(grid)[0]


def test_a_trial_on_its_way_has_no_level_yet() -> None:
    one = result_of(make_trial("mini-bert", DATASET, 1), rising)
    begun = result_of(make_trial("mini-bert", DATASET, 8), rising, one, last=4)

    grid = in_memory([one, begun])

    assert not Reached(grid.cell(Series("mini-bert", DATASET), 8)).known
    assert sentences(grid) == []


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
