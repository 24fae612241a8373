"""A client for each author, by the command: what is said, kept, refused and tracked."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support import (
    SHORT,
    Done,
    call,
    folder_of,
    log,
    logs,
    new_database,
    options,
    trial_runs,
)

from fedtune.data import toy

AUTHORS = ("Ann", "Bo", "Cy", "Di")
LETTERS = {"name": "letters", "dataset": "letters.csv", **SHORT}
BY_AUTHOR = {"partition": "natural", "client_column": "author"}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with letters.csv: 80 of toy's sentences, half of them Ann's."""
    texts = toy.load()[0][:80]
    rows = [
        (text, ("weather", "cooking")[label], AUTHORS[max(number % 6 - 2, 0)])
        for number, (text, label) in enumerate(texts)
    ]
    with (tmp_path / "letters.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label", "author"), *rows])
    new_database(tmp_path)
    return tmp_path


def run(model: str, folder: Path, *more: str, **settings: object) -> Done:
    return call(
        "run", *options(model=model, **LETTERS | settings), "--no-ray", *more, folder=folder
    )


def test_a_comparison_with_a_client_for_each_author(bert: str, desk: Path) -> None:
    done = run(bert, desk, clients="2,all", **BY_AUTHOR)
    assert done.code == 0, done.everything
    assert "1 baseline (K = 1) and 2 federated trials" in done.out
    assert "no effect" not in done.out
    store = desk / "trials"
    told = {
        clients: json.loads((folder_of(store, clients) / "partition.json").read_text())["clients"]
        for clients in (1, 2, 4)
    }
    assert [client["groups"] for client in told[4]] == [[name] for name in AUTHORS]
    assert sorted(name for client in told[2] for name in client["groups"]) == sorted(AUTHORS)
    sizes = [client["num_examples"] for client in told[4]]
    said = f"letters.csv by author: 4 values with {min(sizes)} to {max(sizes)} training texts each"
    assert said in " ".join(done.out.split())
    assert min(sizes) < 15 < max(sizes)
    assert "groups" not in told[1][0]
    for clients in (2, 4):
        assert sum(client["num_examples"] for client in told[clients]) == 64
        assert sum(client["num_test_examples"] for client in told[clients]) == 16
        assert "clients/accuracy_worst" in log(folder_of(store, clients))[-1]
    client = MlflowClient(f"sqlite:///{desk / 'mlflow.db'}")
    for clients, found in trial_runs(client, "letters").items():
        named = ("iid", "none") if clients == 1 else ("natural", "author")
        assert (found.data.params["partition"], found.data.params["client_column"]) == named

    before = logs(store)
    again = run(bert, desk, clients="4", **BY_AUTHOR)
    assert "Every trial has all its rounds already" in again.out, again.everything
    longer = run(bert, desk, clients="all", **BY_AUTHOR | {"budget_rounds": 2, "max_rounds": 2})
    assert longer.code == 0, longer.everything
    after = logs(store)
    assert set(after) == set(before), "they are the same trials, and go on"
    assert all(after[key][:2] == before[key] for key in before)


def test_a_sweep_file_has_the_same_words_and_one_baseline(bert: str, desk: Path) -> None:
    (desk / "grid.yaml").write_text(
        f"axes: {{model: ['{bert}'], dataset: [letters.csv], clients: [1, 2],\n"
        "  partition: [iid, natural]}\n"
        "set: {client_column: author, max_length: 32, threads: 1, learning_rate: 0.05}\n"
        "overrides: [{when: {partition: natural, clients: 2}, set: {clients: all}}]\n"
    )
    done = call("sweep", "grid.yaml", "--dry-run", "--no-ray", folder=desk)
    assert done.code == 0, done.everything
    assert "1 baseline (K = 1) and 2 federated trials" in done.out
    assert "K004" in done.out
    assert "K002" in done.out
    assert "client_column=author has no effect" not in done.out, "it has, in one of the trials"


def test_a_column_without_a_partition_to_use_it_has_no_effect(bert: str, desk: Path) -> None:
    plain = run(bert, desk, clients=2)
    assert plain.code == 0, plain.everything
    done = run(bert, desk, clients=2, client_column="author", partition="iid")
    assert done.code == 0, done.everything
    said = " ".join(done.out.split())
    assert said.count("client_column=author has no effect: it needs partition natural") == 1
    assert "Every trial has all its rounds already" in done.out, "it is one and the same trial"


def test_authors_that_may_be_one_are_told(bert: str, desk: Path) -> None:
    table = (desk / "letters.csv").read_text()
    (desk / "letters.csv").write_text(table.replace(",Bo", ",ann", 3).replace(",Cy", ",CY", 2))
    done = run(bert, desk, "--dry-run", clients="all", **BY_AUTHOR)
    assert done.code == 0, done.everything
    said = " ".join(done.out.split())
    alike = "letters.csv has values of author that differ in spaces or capitals alone:"
    assert f"{alike} 'Ann', 'ann'" in said
    assert f"{alike} 'CY', 'Cy'" in said
    assert said.count(alike) == 2


def test_tokens_that_are_taken_along_say_whose_they_are(bert: str, desk: Path) -> None:
    asked = options(dataset="letters.csv", model=bert, out="made", max_length=32)
    made = call("tokens", *asked, "--client-column", "author", folder=desk)
    assert made.code == 0, made.everything
    for dataset in ("letters.csv", "made"):
        done = run(bert, desk, clients="all", **BY_AUTHOR | {"dataset": dataset})
        assert done.code == 0, done.everything
    assert "Every trial has all its rounds already" in done.out
    other = run(bert, desk, clients="all", **BY_AUTHOR | {"dataset": "made", "client_column": "a"})
    assert other.code == 2
    assert "fedtune tokens --client-column a" in other.err


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        ({"client_column": None}, "client_column", ["missing", "partition=natural needs"]),
        (
            {"client_column": "auhtor"},
            "client_column='auhtor'",
            ["did you mean 'author'", "text (large_string), label (large_string), author"],
        ),
        ({"client_column": "label"}, "client_column='label'", ["is the label column too"]),
        ({"client_column": "text"}, "client_column='text'", ["is the text column too"]),
        ({"label_column": "author"}, "client_column='author'", ["is the label column too"]),
        ({"clients": 5}, "clients=5", ["'all' or at most 4", "client_column=author"]),
        ({"clients": "al"}, "clients='al'", ["integer of at least 1, or 'all'"]),
        ({"clients": "all", "partition": None, "client_column": None}, "clients='all'", ["iid"]),
        ({"partition": "dirichlet"}, "clients='all'", ["needs partition=natural"]),
        ({"dataset": "toy"}, "client_column='author'", ["columns of toy: text", "label"]),
        ({"dataset": "gaps.csv"}, "client_column='author'", ["1 of 80 examples have no value"]),
        ({"dataset": "one.csv"}, "client_column='author'", ["has one value", "'Ann'"]),
    ],
)
def test_what_cannot_be_is_a_line_and_nothing_starts(
    settings: dict[str, object], field: str, words: list[str], bert: str, desk: Path
) -> None:
    lines = (desk / "letters.csv").read_text().splitlines()
    gap = lines[7].rpartition(",")[0] + ","
    (desk / "gaps.csv").write_text("\n".join([*lines[:7], gap, *lines[8:]]))
    ann = [line.rpartition(",")[0] + ",Ann" for line in lines[1:]]
    (desk / "one.csv").write_text("\n".join([lines[0], *ann]))
    asked = {"clients": "all", **BY_AUTHOR, **settings}
    done = run(bert, desk, **{key: value for key, value in asked.items() if value is not None})
    assert done.code == 2, done.everything
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith(f"fedtune: {field}"), line
    assert all(word in line for word in words), line
    assert not (desk / "trials").exists()
