"""Clients that are the authors of their texts, from the data to the record of a round."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick import folder_of, log_lines, quick, run, take

from fedtune import BadInput, TrialConfig, simulate
from fedtune.data import toy
from fedtune.data.partition import Partition, partition
from fedtune.federated.client_accuracy import client_accuracies
from fedtune.run.space import trial_of_space, trial_space
from fedtune.trial.federation import Federation
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import check_unchanged, open_examples, partition_of
from fedtune.trial.prepare import prepare

#: How many of 40 training texts each has; more than one of them has one alone.
SHARES = {"Ann": 14, "Bo": 10, "Cy": 7, "Di": 4, "Ed": 3, "Flo": 1, "Gus": 1}
TRAIN = [name for name, number in SHARES.items() for _ in range(number)]


def write(folder: Path, train: Sequence[str] = TRAIN, test: Sequence[str] | None = None) -> str:
    """Texts of toy with an author; of the test texts everybody has some unless it is said whose."""
    folder.mkdir(exist_ok=True)
    columns = ("text", "label", "author")
    whose = {"train": train, "test": test or sorted(SHARES) * 3}
    for name, examples in zip(whose, toy.load(), strict=True):
        rows = [(*examples[i], author) for i, author in enumerate(whose[name])]
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("letters"))


def natural(model: str, data: str, clients: object = "all", **changes: Any) -> TrialConfig:
    what = {"dataset": data, "train_examples": "all", "test_examples": "all"}
    who = {"partition": "natural", "client_column": "author", "clients": clients}
    return quick(model, **what | who | changes)


def authors_of(trial: Trial) -> list[list[str]]:
    """The author of every example of each client."""
    examples = open_examples(trial)[1]
    assert examples.train.groups is not None
    return [
        [examples.group_names[group] for group in examples.train.groups[own.numpy()]]
        for own in partition_of(trial).clients
    ]


# Who has what


def test_all_is_a_client_for_each_author(bert: str, data: str) -> None:
    trial = prepare(natural(bert, data))
    assert trial.config.clients == 7
    assert authors_of(trial) == [[name] * number for name, number in SHARES.items()]


@pytest.mark.parametrize("clients", [2, 3, 5, 6])
def test_fewer_clients_have_whole_authors_as_equally_as_that_goes(
    clients: int, bert: str, data: str
) -> None:
    trial = prepare(natural(bert, data, clients))
    found = authors_of(trial)
    assert trial.config.clients == len(found) == clients
    assert sorted(name for names in found for name in names) == sorted(TRAIN)
    assert sum(len(set(names)) for names in found) == len(SHARES), "nobody is divided"
    sizes = sorted(map(len, found))
    # Ann's 14 are the most that one has to have; else nobody is ahead by more than an author
    assert sizes[-1] - sizes[0] <= 14
    assert sizes[-1] == {2: 20}.get(clients, 14)


def test_a_seed_joins_equal_authors_and_has_no_say_where_all_stay_apart(
    bert: str, tmp_path: Path
) -> None:
    data = write(tmp_path / "letters", sorted(SHARES) * 6)
    joined, apart = (
        {str(authors_of(prepare(natural(bert, data, clients, seed=s)))) for s in range(6)}
        for clients in (3, "all")
    )
    assert len(joined) > 1
    assert len(apart) == 1


def test_all_counts_those_who_are_left_to_train_on(bert: str, data: str) -> None:
    for changes in ({"train_examples": 12}, {"validation_examples": 25}):
        trial = prepare(natural(bert, data, **changes))
        train = open_examples(trial)[1].train
        assert train.groups is not None
        assert trial.config.clients == len(np.unique(train.groups)) < 7
        assert sum(map(len, authors_of(trial))) == len(train)


def test_a_client_of_one_text_is_an_ordinary_one(bert: str, data: str) -> None:
    records = run(natural(bert, data))
    assert len(records) == 4
    assert all(np.isfinite(record["clients/drift"]) for record in records[1:])


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"clients": 8}, "clients", "allowed is 'all' or at most 7: so many values client_column="),
        ({"clients": 7, "train_examples": 12}, "clients", "at most [3-6]: .* 12 training examples"),
        ({"client_column": "auhtor"}, "client_column", "did you mean 'author'.*; columns of "),
        ({"client_column": "label"}, "client_column", "is the label column too"),
        ({"client_column": "text"}, "client_column", "is the text column too"),
        ({"participation": 0.01}, "participation", "of 7 clients is nobody"),
        ({"drop_last": True}, "drop_last", "its 1 examples do not fill one batch of 4"),
    ],
)
def test_what_the_column_does_not_allow_is_refused(
    changes: dict[str, Any], field: str, words: str, bert: str, data: str
) -> None:
    with pytest.raises(BadInput, match=words) as bad:
        prepare(natural(bert, data, **changes))
    assert [fault.field for fault in bad.value.faults] == [field]
    assert len(str(bad.value).splitlines()) == 1


def test_a_single_author_is_no_federation(bert: str, tmp_path: Path) -> None:
    alone = write(tmp_path / "alone", ["Ann"] * 40)
    with pytest.raises(BadInput, match="has one value in all training examples, 'Ann'"):
        prepare(natural(bert, alone))
    with pytest.raises(BadInput, match="clients=2: allowed is 'all' or at most 1"):
        prepare(natural(bert, alone, 2))
    assert prepare(natural(bert, alone, 1)).is_baseline


# Which trial it is


def test_all_is_the_trial_of_that_number(bert: str, data: str) -> None:
    assert prepare(natural(bert, data)).trial_id == prepare(natural(bert, data, 7)).trial_id


def test_the_baseline_is_that_of_every_other_partition(bert: str, data: str) -> None:
    trial = prepare(natural(bert, data))
    others = {"iid": {}, "dirichlet": {"partition_alpha": 1.0}}
    for name, more in others.items():
        sibling = prepare(natural(bert, data, 3, partition=name, client_column="none", **more))
        assert sibling.baseline_id == trial.baseline_id
        assert sibling.dataset_hash == trial.dataset_hash
        assert sibling.groups_hash == ""
        assert "groups_hash" not in sibling.to_dict()
    baseline = prepare(natural(bert, data).baseline())
    assert baseline.trial_id == trial.baseline_id
    assert baseline.config.client_column == "none"


def test_a_column_that_nothing_reads_makes_no_other_trial(bert: str, data: str) -> None:
    """It need not even be there."""
    plain = prepare(natural(bert, data, 3, partition="iid", client_column="none"))
    asked = prepare(natural(bert, data, 3, partition="iid", client_column="nobody"))
    assert asked == plain


def test_other_authors_of_the_same_texts_make_another_trial(bert: str, tmp_path: Path) -> None:
    here = tmp_path / "letters"
    first = prepare(natural(bert, write(here)))
    swapped = [*TRAIN[1:], TRAIN[0]]
    tested = [*sorted(SHARES)[1:], "Ann"] * 3
    others = [
        prepare(natural(bert, write(here, *whose)))
        for whose in ((swapped,), (TRAIN, tested), ([name.upper() for name in TRAIN],))
    ]
    assert len({trial.trial_id for trial in (first, *others)}) == 4
    assert {(trial.baseline_id, trial.dataset_hash) for trial in others} == {
        (first.baseline_id, first.dataset_hash)
    }
    again = prepare(natural(bert, write(here)))
    assert again.trial_id == first.trial_id


def test_a_trial_knows_its_authors_wherever_it_is_sent(
    bert: str, data: str, tmp_path: Path
) -> None:
    trial = prepare(natural(bert, data))
    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial
    assert trial_of_space(trial_space(trial, tmp_path)) == trial
    gone = replace(trial, tokens_dir=str(tmp_path / "of another machine"))
    anew = trial_of_space(trial_space(gone, tmp_path))
    assert isinstance(anew, TrialConfig)
    assert prepare(anew).trial_id == trial.trial_id


def test_authors_that_changed_since_the_plan_are_noticed(bert: str, data: str) -> None:
    trial = prepare(natural(bert, data))
    check_unchanged(trial)
    with pytest.raises(BadInput, match="has changed since this trial was planned"):
        check_unchanged(replace(trial, groups_hash="0" * 64))
    baseline = prepare(trial.config.baseline())
    with pytest.raises(BadInput, match="has changed since"):
        check_unchanged(replace(trial, tokens_dir=baseline.tokens_dir))


# What its rounds say


def test_the_partition_names_the_authors_of_each_client(bert: str, data: str) -> None:
    told = Federation(prepare(natural(bert, data))).partition
    assert [client["groups"] for client in told["clients"]] == [[name] for name in SHARES]
    assert [client["num_examples"] for client in told["clients"]] == [*SHARES.values()]
    assert [client["num_test_examples"] for client in told["clients"]] == [3] * 7
    joined = Federation(prepare(natural(bert, data, 2))).partition
    names = [client["groups"] for client in joined["clients"]]
    assert sorted(name for own in names for name in own) == sorted(SHARES)
    assert [client["num_test_examples"] for client in joined["clients"]] == [
        3 * len(own) for own in names
    ]
    plain = Federation(prepare(natural(bert, data, 2, partition="iid"))).partition
    assert set(plain["clients"][0]) == {"client_id", "num_examples", "labels"}


def judged(made: Federation, right: np.ndarray) -> dict[str, float]:
    """What is said of the clients where the model is ``right`` on some of the test texts."""
    labels = made.splits["test"].labels.numpy()
    return made._client_data.accuracies(labels, np.where(right, labels, 1 - labels))


def words(mean: float, worst: float, tenth: float) -> dict[str, float]:
    return {
        "clients/accuracy_mean": pytest.approx(mean),
        "clients/accuracy_worst": pytest.approx(worst),
        "clients/accuracy_p10": pytest.approx(tenth),
    }


@pytest.mark.parametrize("clients", ["all", 3])
def test_a_client_is_judged_on_the_test_texts_of_its_own_authors(
    clients: object, bert: str, tmp_path: Path
) -> None:
    """Against a loop over clients and texts; a stranger's texts count for nobody."""
    tested = [*sorted(SHARES) * 3, *["Zed"] * 5]
    np.random.default_rng(0).shuffle(tested)
    made = Federation(prepare(natural(bert, write(tmp_path / "letters", TRAIN, tested), clients)))
    right = np.random.default_rng(1).random(len(tested)) < 0.5
    by_client = []
    for client in made.partition["clients"]:
        own = [right[i] for i, name in enumerate(tested) if name in client["groups"]]
        assert len(own) == client["num_test_examples"] > 0
        by_client.append(sum(own) / len(own))
    expected = words(float(np.mean(by_client)), min(by_client), np.percentile(by_client, 10))
    assert judged(made, right) == expected
    strangers = np.array([name == "Zed" for name in tested])
    assert judged(made, right | strangers) == expected


@pytest.mark.parametrize("tested", ["none of one client's", "without the column"])
def test_where_a_client_has_no_test_text_all_are_judged_by_their_classes(
    tested: str, bert: str, tmp_path: Path
) -> None:
    folder = Path(write(tmp_path / "letters", TRAIN, [*sorted(SHARES)[:-1]] * 3))
    if tested == "without the column":
        table = (folder / "test.csv").read_text()
        (folder / "test.csv").write_text(table.replace("author", "editor", 1))
    made = Federation(prepare(natural(bert, str(folder))))
    told = [client.get("num_test_examples") for client in made.partition["clients"]]
    assert told == ([None] * 7 if tested == "without the column" else [3] * 6 + [0])
    labels = made.splits["test"].labels.numpy()
    right = np.random.default_rng(1).random(len(labels)) < 0.5
    counts = np.array([client["labels"] for client in made.partition["clients"]])
    predictions = torch.from_numpy(np.where(right, labels, 1 - labels))
    by_client = client_accuracies(counts, labels, predictions.numpy() == labels)
    assert judged(made, right) == words(
        by_client.mean(), by_client.min(), np.percentile(by_client, 10)
    )


def test_an_interrupted_trial_goes_on_bit_for_bit(
    bert: str, data: str, tmp_path: Path, every_round: None, rounds_run: list[int]
) -> None:
    config = natural(bert, data, participation=0.5, strategy="fedavgm")
    whole = run(config)
    assert all("clients/accuracy_worst" in record for record in whole)
    take(simulate(config, tmp_path), 2)
    assert rounds_run == [1, 2, 3, 1]
    assert run(config.replace(clients=7), tmp_path) == whole
    assert rounds_run == [1, 2, 3, 1, 2, 3]
    assert [json.loads(line) for line in log_lines(config, tmp_path)] == whole
    partition_file = json.loads((folder_of(config, tmp_path).path / "partition.json").read_text())
    assert [client["groups"] for client in partition_file["clients"]] == [[name] for name in SHARES]


def test_owners_are_found_by_group_alone() -> None:
    made = Partition([torch.tensor([0, 3]), torch.tensor([1, 2])])
    groups = np.array([4, 1, 2, 4])
    assert made.owners(groups, np.array([0, 1, 2, 3, 4, 5])).tolist() == [-1, 1, 1, -1, 0, -1]
    assert made.owners(groups, groups).tolist() == [0, 1, 1, 0]


def test_the_partition_reads_labels_and_groups_apart(bert: str) -> None:
    config = quick(bert, partition="natural", client_column="author", clients=2)
    groups = np.array([5, 9, 5, 9, 9])
    made = partition(np.zeros(5, np.int64), config, groups)
    assert [examples.tolist() for examples in made.clients] == [[0, 2], [1, 3, 4]]
