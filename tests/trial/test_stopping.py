"""When a trial ends and what it amounts to, as tables of cases."""

from __future__ import annotations

from typing import Any

import pytest

from fedtune.trial.stopping import (
    Baseline,
    StopRule,
    Summary,
    Target,
    accuracy_at,
    clearly_above_chance,
    first_round_at,
    read_baseline,
    summarize,
)

METRIC = "test/accuracy"
FACTS = {
    "summary/chance": 0.5,
    "data/test_examples": 400,  # three standard errors above chance: 0.575
    "steps/per_round": 7,
    "summary/clients": 8,
}
GOOD = Baseline(accuracy=0.9, above_chance=True)


def log(*accuracies: float | None, metric: str = METRIC) -> list[dict[str, Any]]:
    """Rounds 0, 1, … with these accuracies; None is a round that was not evaluated."""
    return [
        {"round": n, "steps/sequential": 7 * n} | ({} if accuracy is None else {metric: accuracy})
        for n, accuracy in enumerate(accuracies)
    ]


def rule(**changes: Any) -> StopRule:
    values: dict[str, Any] = {
        "is_baseline": False,
        "budget": 3,
        "cap": 5,
        "eval_every": 1,
        "stop": "target",
        "metric": METRIC,
    }
    return StopRule(**values | changes)


TARGET, STUDY = rule(), rule(stop="budget-then-target")
BASELINE = rule(is_baseline=True)


@pytest.mark.parametrize(
    ("stop_rule", "accuracies", "target", "ended"),
    [
        # an empty log has not even the untrained model
        (TARGET, [], 0.8, False),
        (BASELINE, [], None, False),
        # the default: the first round from 1 on that meets the target
        (TARGET, [0.5], 0.8, False),
        (TARGET, [0.9], 0.8, False),  # round 0 is nobody's achievement
        (TARGET, [0.9, 0.7], 0.8, False),
        (TARGET, [0.5, 0.8], 0.8, True),  # "at least"
        (TARGET, [0.5, 0.7999], 0.8, False),
        (TARGET, [0.5, 0.9, 0.6], 0.8, True),  # met before, though not now
        (TARGET, [0.5, 0.6, 0.6, 0.6], 0.8, False),  # the budget does not end it
        (TARGET, [0.5, 0.6, 0.6, 0.6, 0.6], 0.8, False),
        (TARGET, [0.5, 0.6, 0.6, 0.6, 0.6, 0.6], 0.8, True),  # the cap does
        (TARGET, [0.5, None, None], 0.8, False),  # nothing is known of rounds not evaluated
        # without a target, to the cap
        (TARGET, [0.5, 0.9, 0.9, 0.9, 0.9], None, False),
        (TARGET, [0.5, 0.9, 0.9, 0.9, 0.9, 0.9], None, True),
        # a target that becomes known late ends it at once when it has been met
        (TARGET, [0.5, 0.6, 0.9, 0.6], None, False),
        (TARGET, [0.5, 0.6, 0.9, 0.6], 0.8, True),
        # the paper's study: the budget in any case
        (STUDY, [0.5, 0.9], 0.8, False),
        (STUDY, [0.5, 0.9, 0.9], 0.8, False),
        (STUDY, [0.5, 0.9, 0.6, 0.6], 0.8, True),  # met at some round
        (STUDY, [0.5, 0.6, 0.6, 0.6], 0.8, False),  # then on until it is
        (STUDY, [0.5, 0.6, 0.6, 0.6, 0.9], 0.8, True),
        (STUDY, [0.5, 0.6, 0.6, 0.6, 0.6, 0.6], 0.8, True),
        (STUDY, [0.9, 0.6, 0.6, 0.6], 0.8, False),  # not by round 0
        # without a target, its budget
        (STUDY, [0.5, 0.6, 0.6], None, False),
        (STUDY, [0.5, 0.6, 0.6, 0.6], None, True),
        # a baseline runs its budget, whatever it reaches, and no more
        (BASELINE, [0.5, 0.9, 0.9], 0.8, False),
        (BASELINE, [0.5, 0.6, 0.6, 0.6], 0.8, True),
        (rule(is_baseline=True, stop="budget-then-target"), [0.5, 0.6, 0.6], 0.5, False),
        # a log that is longer than the cap
        (TARGET, [0.5] * 9, 0.8, True),
        (STUDY, [0.5] * 9, 0.8, True),
        (BASELINE, [0.5] * 9, None, True),
    ],
)
def test_when_a_trial_ends(
    stop_rule: StopRule, accuracies: list[float | None], target: float | None, ended: bool
) -> None:
    assert stop_rule.ended(log(*accuracies), Target(target)) is ended


def test_the_target_is_held_against_the_split_that_was_asked_for() -> None:
    validation = rule(metric="validation/accuracy")
    assert not validation.ended(log(0.5, 0.9), Target(0.8))
    assert validation.ended(log(0.5, 0.9, metric="validation/accuracy"), Target(0.8))


@pytest.mark.parametrize(
    ("stop_rule", "evaluated"),
    [
        (rule(), [0, 1, 2, 3, 4, 5]),
        (rule(eval_every=2), [0, 2, 3, 4, 5]),  # 3 is the budget, 5 the cap
        (rule(eval_every=100), [0, 3, 5]),
        (rule(eval_every=2, is_baseline=True), [0, 2, 3, 4]),  # its last round is the budget
        (rule(eval_every=4, budget=4, cap=8), [0, 4]),
    ],
)
def test_which_rounds_are_evaluated(stop_rule: StopRule, evaluated: list[int]) -> None:
    assert [n for n in range(6) if stop_rule.evaluates(n)] == evaluated
    for first in range(6):
        for last in range(6):
            between = [n for n in evaluated if first <= n <= min(last, stop_rule.last)]
            assert stop_rule.evaluations(first, min(last, stop_rule.last)) == len(between)


def test_a_longer_log_is_read_only_up_to_the_cap() -> None:
    records = log(*[0.5] * 9)
    assert [record["round"] for record in TARGET.read(records)] == [0, 1, 2, 3, 4, 5]
    assert [record["round"] for record in BASELINE.read(records)] == [0, 1, 2, 3]
    assert list(TARGET.read(records[:2])) == records[:2]


@pytest.mark.parametrize(
    ("accuracies", "first"),
    [
        ([], None),
        ([0.9], None),
        ([0.9, 0.7], None),
        ([0.5, 0.8], 1),
        ([0.5, None, 0.8, 0.9], 2),
        ([0.5, 0.9, 0.5, 0.9], 1),
        ([0.5, None, None], None),
    ],
)
def test_the_first_round_at_the_target(accuracies: list[float | None], first: int | None) -> None:
    assert first_round_at(log(*accuracies), 0.8, METRIC) == first


def test_the_accuracy_at_a_round_is_absent_where_it_was_not_measured() -> None:
    records = log(0.5, None, 0.7)
    assert [accuracy_at(records, n, METRIC) for n in range(4)] == [0.5, None, 0.7, None]


@pytest.mark.parametrize(
    ("accuracy", "above"), [(0.5, False), (0.575, False), (0.5751, True), (0.2, False)]
)
def test_above_chance_means_by_more_than_three_standard_errors(
    accuracy: float, above: bool
) -> None:
    assert clearly_above_chance(accuracy, 0.5, 400) is above


def test_with_fewer_examples_more_is_needed_to_be_above_chance() -> None:
    assert clearly_above_chance(0.6, 0.5, 400)
    assert not clearly_above_chance(0.6, 0.5, 100)


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.5, 0.9], None),  # not at its budget yet
        ([0.5, 0.6, 0.7, 0.8], Baseline(0.8, True)),
        ([0.5, 0.6, 0.7, 0.8, 0.95], Baseline(0.8, True)),  # what it did later is not asked
        ([0.5, 0.9, 0.9, 0.55], Baseline(0.55, False)),  # its accuracy at the budget counts
        ([0.5, 0.6, 0.7, None], None),
    ],
)
def test_what_a_baseline_tells_its_siblings(
    accuracies: list[float | None], expected: Baseline | None
) -> None:
    assert read_baseline(log(*accuracies), BASELINE, FACTS) == expected


def test_a_baseline_on_validation_is_judged_by_the_number_of_validation_examples() -> None:
    validation = rule(is_baseline=True, metric="validation/accuracy")
    records = log(0.5, 0.6, 0.6, 0.6, metric="validation/accuracy")
    few, many = ({"data/validation_examples": n} for n in (100, 400))
    assert read_baseline(records, validation, FACTS | few) == Baseline(0.6, False)
    assert read_baseline(records, validation, FACTS | many) == Baseline(0.6, True)


def test_the_target_is_a_fraction_of_the_baseline_and_undefined_without_learning() -> None:
    assert GOOD.target(0.9).accuracy == pytest.approx(0.81)
    assert Baseline(0.55, above_chance=False).target(0.9) == Target(None, undefined=True)


def summary(
    accuracies: list[float | None], stop_rule: StopRule = TARGET, **changes: Any
) -> Summary:
    values: dict[str, Any] = {"baseline": GOOD} | changes
    return summarize(log(*accuracies), stop_rule, FACTS, **values)


AT_CHANCE = Baseline(accuracy=0.55, above_chance=False)


@pytest.mark.parametrize(
    ("accuracies", "changes", "expected"),
    [
        pytest.param(
            [0.5, 0.7, 0.85],
            {},
            {
                "outcome": "reached",
                "rounds_to_target": 2,
                "steps_to_target": 14,
                "target_accuracy": 0.81,
                "baseline_accuracy": 0.9,
                "accuracy_at_budget": None,  # stopped before the budget
                "relative_accuracy": None,
                "final_accuracy": 0.85,
            },
            id="reached before the budget",
        ),
        pytest.param(
            [0.5, 0.6, 0.6, 0.63, 0.6, 0.7],
            {},
            {
                "outcome": "not_reached",
                "rounds_to_target": None,  # never the cap's number
                "steps_to_target": None,
                "accuracy_at_budget": 0.63,
                "relative_accuracy": 0.7,
                "final_accuracy": 0.7,
            },
            id="not reached",
        ),
        pytest.param(
            [0.5, 0.85, 0.6, 0.72],
            {"stop_rule": STUDY},
            {
                "outcome": "reached",
                "rounds_to_target": 1,
                "accuracy_at_budget": 0.72,
                "relative_accuracy": 0.8,
                "final_accuracy": 0.72,
            },
            id="the study runs its budget",
        ),
        pytest.param(
            [0.5, 0.6, 0.6, 0.6, 0.85],
            {"stop_rule": STUDY},
            {"outcome": "reached", "rounds_to_target": 4},
            id="the study goes on until it reaches",
        ),
        pytest.param(
            [0.9, 0.6], {}, {"outcome": None, "rounds_to_target": None}, id="still running"
        ),
        pytest.param(
            [0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.85],
            {},
            {"outcome": "not_reached", "rounds_to_target": None, "final_accuracy": 0.6},
            id="reached after the cap that is asked for",
        ),
        pytest.param(
            [0.5, 0.6, 0.85, 0.6, 0.6, 0.7],
            {"own_target": 0.69},
            {"outcome": "reached", "target_accuracy": 0.69, "rounds_to_target": 2},
            id="own target",
        ),
        pytest.param(
            [0.5, 0.6, 0.85],
            {"own_target": 0.69, "baseline": None},
            {
                "outcome": "reached",
                "target_accuracy": 0.69,
                "baseline_accuracy": None,
                "relative_accuracy": None,
            },
            id="own target without a baseline",
        ),
        pytest.param(
            [0.5, 0.6, 0.85, 0.85, 0.85],
            {"own_target": 0.69, "baseline": AT_CHANCE},
            {"outcome": "target_undefined", "target_accuracy": None, "rounds_to_target": None},
            id="own target beside a baseline at chance",
        ),
        pytest.param(
            [0.5, 0.6, 0.72, 0.8],
            {"fraction": 0.8},
            {"outcome": "reached", "target_accuracy": 0.72, "rounds_to_target": 2},
            id="another fraction",
        ),
        pytest.param(
            [0.5, 0.9, 0.9, 0.9],
            {"baseline": AT_CHANCE},
            {
                "outcome": "target_undefined",
                "target_accuracy": None,
                "rounds_to_target": None,
                "baseline_accuracy": 0.55,
            },
            id="a baseline at chance: no K can reach",
        ),
        pytest.param(
            [0.5, 0.9],
            {"baseline": AT_CHANCE},
            {"outcome": None},
            id="a baseline at chance, still running",
        ),
        pytest.param(
            [0.5, 0.9, 0.9, 0.9, 0.9, 0.9],
            {"baseline": None},
            {"outcome": None, "target_accuracy": None, "rounds_to_target": None},
            id="nothing to hold it against",
        ),
        pytest.param(
            [0.5, 0.6],
            {"diverged": True},
            {"outcome": "diverged", "final_accuracy": 0.6, "rounds_to_target": None},
            id="diverged",
        ),
        pytest.param(
            [0.5, 0.8, 0.85, 0.9],
            {"stop_rule": BASELINE},
            {"outcome": "baseline", "rounds_to_target": 2, "relative_accuracy": 1.0},
            id="baselines have rounds to target too",
        ),
        pytest.param(
            [0.5, 0.8],
            {"stop_rule": BASELINE, "baseline": None},
            {"outcome": None, "baseline_accuracy": None},
            id="a baseline still running",
        ),
        pytest.param(
            [0.5, None, 0.6, None, 0.85, 0.8],
            {},
            {
                "outcome": "reached",
                "rounds_to_target": 4,
                "accuracy_at_budget": None,
                "relative_accuracy": None,
            },
            id="the budget was not evaluated",
        ),
    ],
)
def test_what_a_trial_amounts_to(
    accuracies: list[float | None], changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    made = vars(summary(accuracies, **changes))
    for name, value in expected.items():
        assert made[name] == (pytest.approx(value) if isinstance(value, float) else value), name


@pytest.mark.parametrize(
    ("accuracies", "collapsed"),
    [
        ([0.5], False),  # nothing has been trained yet
        ([0.9, 0.5], True),  # round 0 does not count
        ([0.5, 0.575, 0.57], True),
        ([0.5, 0.58, 0.5, 0.5], False),  # above chance once is not collapsed
        ([0.5, None, None], False),
        ([0.5, None, 0.5], True),
    ],
)
def test_collapsed_is_never_having_been_above_chance(
    accuracies: list[float | None], collapsed: bool
) -> None:
    assert summary(accuracies).collapsed is collapsed


def test_numbers_that_do_not_exist_are_no_metrics() -> None:
    assert summary([0.5, 0.6, 0.6, 0.63, 0.6, 0.7]).metrics() == pytest.approx(
        {
            "summary/baseline_accuracy": 0.9,
            "summary/target_accuracy": 0.81,
            "summary/accuracy_at_budget": 0.63,
            "summary/relative_accuracy": 0.7,
            "summary/final_accuracy": 0.7,
            "summary/chance": 0.5,
            "summary/clients": 8.0,
        }
    )
    reached = summary([0.5, 0.85]).metrics()
    assert reached["summary/rounds_to_target"] == 1
    assert reached["summary/steps_to_target"] == 7


def test_on_validation_the_final_accuracy_is_still_that_of_the_test_set() -> None:
    records = [
        {"round": n, METRIC: test, "validation/accuracy": validation}
        for n, (test, validation) in enumerate([(0.5, 0.5), (0.9, 0.6), (0.7, 0.85)])
    ]
    made = summarize(records, rule(metric="validation/accuracy"), FACTS, baseline=GOOD)
    assert (made.rounds_to_target, made.final_accuracy) == (2, 0.7)


def test_steps_to_a_target_are_those_that_were_taken() -> None:
    """Not a number of rounds times a constant: another cohort takes other steps."""
    records = log(0.5, 0.6, 0.95)
    records[1]["steps/sequential"], records[2]["steps/sequential"] = 3, 50
    told = summarize(records, rule(), FACTS, baseline=None, own_target=0.9)
    assert (told.rounds_to_target, told.steps_to_target) == (2, 50)
