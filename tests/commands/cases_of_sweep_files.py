"""Sweep files that cannot be read, or that ask for what there is not."""

from __future__ import annotations

from pathlib import Path

from cases import Case, sweep_case

#: 321 letters that amount to a hundred million values.
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


def damaged_yaml(here: Path, bert: Path) -> None:
    (here / "grid.yaml").write_text("axes: {clients: [1, 2\n")


GRID = "axes: {{model: ['{{bert}}'], dataset: [toy], clients: [2]{axes}}}\n{rest}"


def grid(rest: str = "", axes: str = "") -> str:
    return GRID.format(rest=rest, axes=axes)


SWEEP_FILES = [
    Case("absent sweep file", ["sweep", "absent.yaml"], [["config='absent.yaml'", "no such file"]]),
    Case(
        "YAML that is cut off",
        ["sweep", "grid.yaml"],
        [["grid.yaml: is not valid YAML: line 2, column 1: expected ',' or ']'"]],
        damaged_yaml,
    ),
    Case("a name close to that of a shipped file", ["sweep", "smok"], [["did you mean 'smoke'"]]),
    sweep_case("no mapping", "- 1\n- 2\n", ["grid.yaml", "no mapping", "axes"]),
    sweep_case("key that stands twice", grid("set: {seed: 1, seed: 2}\n"), ["'seed' stands twice"]),
    sweep_case(
        "unknown top-level keys",
        grid("axis: {}\nlearning_rate: 0.1\n"),
        ["axis", "did you mean 'axes'"],
        ["learning_rate", "under 'set'"],
    ),
    sweep_case("axis that is no list", grid(axes=", seed: 1"), ["axes.seed=1", "list"]),
    sweep_case("axis without values", grid(axes=", seed: []"), ["axes.seed=[]", "at least one"]),
    sweep_case("axes that are no mapping", "axes: [clients]\n", ["axes=", "mapping"]),
    sweep_case("settings that are no mapping", grid("set: []\n"), ["set=[]", "mapping"]),
    sweep_case(
        "numbers that are strings",
        grid("set: {max_rounds: '10', learning_rate: '2e-5'}\n", axes=", seed: ['0']"),
        ["axes.seed[0]='0'", "integer of at least 0"],
        ["set.max_rounds='10'", "integer of at least 1"],
        ["set.learning_rate='2e-5'", "number above 0"],
    ),
    sweep_case("truth value for a number", grid("set: {seed: true}\n"), ["set.seed=True"]),
    sweep_case("setting that is empty", grid("set: {seed: }\n"), ["set.seed", "at least 0"]),
    sweep_case(
        "unknown settings",
        grid("set: {learning_rat: 1}\n", axes=", client: [1]"),
        ["axes.client[0]", "did you mean 'clients'"],
        ["set.learning_rat", "did you mean 'learning_rate'"],
    ),
    sweep_case("axis that is set too", grid("set: {clients: 2}\n"), ["set.clients=2", "axis"]),
    sweep_case("override without when", grid("overrides: [{set: {seed: 1}}]\n"), ["overrides[0]="]),
    sweep_case(
        "override of an unknown setting",
        grid("overrides: [{when: {clients: 2}, set: {sede: 1}}]\n"),
        ["overrides[0].set.sede", "did you mean 'seed'"],
    ),
    sweep_case("overrides that are no list", grid("overrides: {}\n"), ["overrides={}", "list"]),
    sweep_case("bad name in the file", grid("name: 'my sweep'\n"), ["name='my sweep'", "letters"]),
    sweep_case("empty file", "", ["grid.yaml", "no mapping"]),
    sweep_case(
        "override that gives a bad combination",
        grid("set: {budget_rounds: 2}\noverrides: [{when: {clients: 2}, set: {max_rounds: 1}}]\n"),
        ["max_rounds=1", "at least budget_rounds, which is 2"],
    ),
    sweep_case(
        "grid of 32 million points",
        grid(axes=f", seed: {list(range(4000))}, data_seed: {list(range(8000))}"),
        ["axes: make 32,000,000 combinations", "allowed are 20,000", "several sweeps"],
    ),
    sweep_case("few letters that stand for millions", BOMB, ["aliases stand for 123,456,797 val"]),
    sweep_case("alias of itself", grid("set: &a [*a]\n"), ["holds an alias of itself"]),
    sweep_case("nested too deeply", "axes: " + "[" * 50_000, ["nested too deeply"]),
    sweep_case("nested too deeply without brackets", "- " * 5_000, ["nested too deeply"]),
    sweep_case("number of 5,000 digits", grid(f"set: {{seed: {'9' * 5000}}}\n"), ["5000 digits"]),
    sweep_case("number that would hang", grid(f"set: {{max_rounds: 1{'0' * 30}}}\n"), ["at most"]),
    sweep_case("day that is none", grid("set: {seed: 2026-02-30}\n"), ["not valid YAML", "day"]),
    sweep_case(
        "command line on top of a file", grid(), ["seed='x'", "at least 0"], args=["--seed", "x"]
    ),
]
