"""What trials amount to, counted once more from settings and round logs in plain loops.

Written from the definitions in the paper and in the documentation alone; it shares no code with
what it is held against.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

#: Settings (flat keys, with the facts that are tracked once) and rounds of a trial, by trial.
Trials = Mapping[str, tuple[Mapping[str, Any], list[Mapping[str, Any]]]]


def recount(trials: Trials) -> dict[str, dict[str, Any]]:
    """For each trial what ``tables/trials.csv`` has to say of it."""
    answers = {}
    for name, (config, rounds) in trials.items():
        for other, log in trials.values():
            same = all(other[key] == config[key] for key in ("model", "dataset", "seed"))
            if same and other["clients"] == 1:
                baseline = log
        answers[name] = _one(config, rounds, baseline)
    return answers


def _one(
    config: Mapping[str, Any], rounds: list[Mapping[str, Any]], baseline: list[Mapping[str, Any]]
) -> dict[str, Any]:
    budget = config["budget_rounds"]
    last = budget if config["clients"] == 1 else config["max_rounds"]
    chance, num_test = config["summary/chance"], config["data/test_examples"]
    limit = chance + 3 * math.sqrt(chance * (1 - chance) / num_test)

    base = at_budget = None
    late = []
    for record in baseline:
        if record["round"] == budget:
            base = record["test/accuracy"]
        if budget / 2 < record["round"] <= budget and "test/accuracy" in record:
            late.append(record["test/accuracy"])
    assert base is not None
    in_the_end = sum(late[-3:]) / len(late[-3:])
    kept = None
    meaningful = base > limit

    reached_after = sent = None
    collapsed = True
    for record in rounds:
        if record["round"] > last or "test/accuracy" not in record:
            continue
        if record["round"] == budget:
            at_budget = record["test/accuracy"]
        if record["round"] == 0:
            continue
        if record["test/accuracy"] > limit:
            collapsed = False
        met = record["test/accuracy"] >= 0.9 * base - 1e-9
        if meaningful and met and reached_after is None:
            reached_after, sent = record["round"], record["comm/bytes"]

    if meaningful:
        kept = (at_budget - chance) / (in_the_end - chance) if config["clients"] > 1 else 1.0
    if config["clients"] == 1:
        outcome = "baseline"
    elif not meaningful:
        outcome = "target_undefined"
    elif reached_after is None:
        outcome = "not_reached"
    else:
        outcome = "reached"
    rounds_told = str(reached_after) if reached_after else (f"> {last}" if meaningful else "")
    return {
        "place": (config["model"], config["dataset"], str(config["clients"])),
        "outcome": outcome + (", collapsed" if collapsed else ""),
        "rounds": rounds_told,
        "order": reached_after if reached_after else math.inf,
        "has target": meaningful,
        "steps": str(reached_after * config["steps/per_round"]) if reached_after else "",
        "bytes": str(int(sent)) if sent is not None else "",
        "accuracy": at_budget,
        "retention": kept,
        "cap": last,
    }


def by_clients(answers: Iterable[Mapping[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    """The same for each model, data set and K, over seeds."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for answer in answers:
        groups.setdefault(answer["place"], []).append(answer)
    told = {}
    for place, group in groups.items():
        total = 0.0
        for answer in group:
            total += answer["accuracy"]
        with_target = sorted(a["order"] for a in group if a["has target"])
        count, met = len(with_target), sum(order < math.inf for order in with_target)
        median = ""
        if count:
            low, high = with_target[(count - 1) // 2], with_target[count // 2]
            cap = group[0]["cap"]
            median = f"> {cap}" if high == math.inf else f"{(low + high) / 2:g}"
        told[place] = {
            "accuracy": total / len(group),
            "median": median,
            "reached": f"{met} of {count}" if count else "",
        }
    return told
